"""Real artifacts that mtpfix once judged wrongly, made small, judged and loaded by a real vLLM.

    python -m tools.artifacts [--home DIR]

Each is made from the tiny checkpoint of its family, as the published one is odd. The releases are
those that tell something. Prints docs/artifacts.md, and exits 1 where vLLM does what was not said.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.engines.vllm.live import Server
from tools import environments, tiny
from tools.forge import NONE, forge
from tools.prove import outcome
from tools.quantizers import QUANTIZERS

NEWEST = "0.32.0"
"""The release that metadata are repaired for, and the one that is asked where nothing is said."""
DROPPING = "0.28.0"
"""A release whose GLM-OCR draft drops its tensors."""


class Artifact(NamedTuple):
    """One odd checkpoint, and the releases that it is asked of."""

    title: str
    make: Callable[[Path], None]
    releases: tuple[str, ...] = (NEWEST,)


def exempt(family: str, scheme: str = "ct-fp8-channel") -> Callable[[Path], None]:
    """A BF16 block with the entries that it needs."""

    def make(folder: Path) -> None:
        forge(family, folder, scheme, variant=tiny.variant(family, scheme))
        mtpfix.rewrite(folder, vllm=[NEWEST], platforms=["cuda"], allow_partial=True, write=True)

    return make


def plain(family: str, variant: str = tiny.BASE, *, block: bool = True) -> Callable[[Path], None]:
    """A model without quantization, with its MTP block or without it."""

    def make(folder: Path) -> None:
        made = forge(family, folder, NONE, variant=variant)
        if not block:
            rename(folder, dict.fromkeys(made.mtp))

    return make


def stored(family: str, scheme: str, pieces: Mapping[str, str]) -> Callable[[Path], None]:
    """A quantized block, with other pieces in the names of its tensors: old -> new."""

    def make(folder: Path) -> None:
        made = forge(family, folder, scheme, mtp="quantized")
        rename(folder, spellings(made.mtp, pieces))

    return make


def with_extra(family: str, name: str) -> Callable[[Path], None]:
    """An exempt block with a tensor more."""

    def make(folder: Path) -> None:
        exempt(family)(folder)
        file = folder / "model.safetensors"
        save_file({**load_file(file), name: torch.zeros(4)}, file, metadata={"format": "pt"})

    return make


def spelled(family: str, pieces: Mapping[str, str]) -> Callable[[Path], None]:
    """An exempt block, with other pieces in the names of its tensors: old -> new."""

    def make(folder: Path) -> None:
        exempt(family)(folder)
        rename(folder, spellings(load_file(folder / "model.safetensors"), pieces))

    return make


def spellings(names: Iterable[str], pieces: Mapping[str, str]) -> dict[str, str | None]:
    """Names, and what they become when one piece after the other is replaced."""
    found: dict[str, str | None] = {}
    for name in names:
        new = name
        for old, piece in pieces.items():
            new = new.replace(old, piece)
        found[name] = new
    return found


def split(folder: Path) -> None:
    """GLM-OCR with the halves of its fused layer."""
    exempt("glm_ocr")(folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if "gate_up_proj" in name and ".layers.2." in name]:
        gate, up = tensors.pop(name).chunk(2)
        tensors[name.replace("gate_up_proj", "gate_proj")] = gate.contiguous()
        tensors[name.replace("gate_up_proj", "up_proj")] = up.contiguous()
    save_file(tensors, file, metadata={"format": "pt"})


def quantized_head(folder: Path) -> None:
    """A BF16 head that a target builds quantized."""
    exempt("deepseek_v3")(folder)
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    metadata = config["quantization_config"]
    metadata["config_groups"]["group_0"]["targets"].append("ParallelLMHead")
    metadata["ignore"] = ["lm_head", r"re:^model\.layers\.2\.(?!head).*"]
    file.write_text(json.dumps(config), encoding="utf-8")


def quantized_embedding(folder: Path) -> None:
    """Qwen3.5 whose embedding is packed, with a group of its own."""
    exempt("qwen3_5", "ct-w4a16")(folder)
    file, name = folder / "model.safetensors", "model.language_model.embed_tokens"
    tensors = load_file(file)
    tensors.update(QUANTIZERS["ct-w4a16"](name, tensors.pop(f"{name}.weight")))
    save_file(tensors, file, metadata={"format": "pt"})
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    groups = config["quantization_config"]["config_groups"]
    groups["group_1"] = {**groups["group_0"], "targets": ["re:.*embed_tokens$"]}
    file.write_text(json.dumps(config), encoding="utf-8")


def rename(folder: Path, names: Mapping[str, str | None]) -> None:
    """Gives tensors other names; None leaves one out."""
    file = folder / "model.safetensors"
    found = {names.get(name, name): tensor for name, tensor in load_file(file).items()}
    kept = {name: tensor for name, tensor in found.items() if name is not None}
    save_file(kept, file, metadata={"format": "pt"})


MIXED = "modelopt-mixed-fp8-block"
ARTIFACTS = (
    Artifact("GLM-OCR, its block exempt", exempt("glm_ocr"), (DROPPING, NEWEST)),
    Artifact("ModelOpt mixed, block-FP8 experts", stored("qwen4_exp", MIXED, {})),
    Artifact(
        "the same with `weight_scale`",
        stored("qwen4_exp", MIXED, {".weight_scale_inv": ".weight_scale"}),
    ),
    Artifact("`rot.weight` in the layer", with_extra("deepseek_v3", "model.layers.2.rot.weight")),
    Artifact(
        "`hc_attn_base` in the layer",
        with_extra("glm5_next", "model.language_model.layers.2.hc_attn_base"),
    ),
    Artifact("GLM-OCR, `gate_proj` and `up_proj`", split),
    Artifact("HY-V3, `mlp.gate`", spelled("hy_v3", {".mlp.router.gate.": ".mlp.gate."})),
    Artifact(
        "Bailing-V2.5, `self_attn.*`",
        spelled(
            "bailing_v2_5",
            {".attention.dense.": ".self_attn.o_proj.", ".attention.": ".self_attn."},
        ),
    ),
    Artifact(
        "Bailing-V3, `self_attn.dense`",
        spelled("bailing_v3", {".attention.o_proj.": ".self_attn.dense."}),
    ),
    Artifact("Step-3.5, which has `layer_types` (vllm 40000)", plain("step3p5")),
    Artifact("Step-3.5 without them", plain("step3p5", "no_layer_types")),
    Artifact("Step-3.7", plain("step3p7")),
    Artifact("Intern-S2-Preview", plain("interns2_preview")),
    Artifact("GLM-OCR in BF16", plain("glm_ocr"), (DROPPING, NEWEST)),
    Artifact("MTP declared, and absent", plain("deepseek_v3", block=False)),
    Artifact("HY-V3, ModelOpt NVFP4", exempt("hy_v3", "modelopt-nvfp4")),
    Artifact("a BF16 head that a target takes", quantized_head),
    Artifact("Qwen3.5, a quantized embedding", quantized_embedding),
    Artifact(
        "Qwen4-Exp, `model.language_model.mtp.*`",
        spelled("qwen4_exp", {"mtp.": "model.language_model.mtp."}),
    ),
    Artifact("Nemotron-H VL, `mtp.*`", spelled("nemotron_h_vl", {"language_model.mtp.": "mtp."})),
)


class Row(NamedTuple):
    """What was said of an artifact, and what a release did."""

    title: str
    release: str
    said: str
    did: str

    @property
    def right(self) -> bool:
        """Whether the outcome is the one that was said."""
        return self.did.startswith(self.said)


def row(artifact: Artifact, release: str, server: Server, folder: Path) -> Row:
    """Makes, judges and loads one artifact."""
    artifact.make(folder)
    said = mtpfix.inspect(folder, vllm=[release]).engines[0].outcome
    return Row(artifact.title, release, said, outcome(server.ask(folder, load=True)))


_TOP = """# Real artifacts, made small

Each row is a published checkpoint or a reported case that mtpfix once judged wrongly, made from
the tiny checkpoint of its family; a real vLLM loads it, and mtpfix judges the same folder
(`python -m tools.artifacts`).

| artifact | vLLM | mtpfix says | vLLM does |
|---|---|---|---|"""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=environments.HOME)
    home = environments.Home(parser.parse_args().home)
    rows: list[Row] = []
    for release in (DROPPING, NEWEST):
        asked = [each for each in ARTIFACTS if release in each.releases]
        with home.server(release) as server:
            for each in asked:
                with tempfile.TemporaryDirectory() as scratch:
                    rows.append(row(each, release, server, Path(scratch)))
    print(_TOP)
    for made in rows:
        mark = "" if made.right else " (WRONG)"
        print(f"| {made.title} | {made.release} | {made.said}{mark} | {made.did} |")
    return int(not all(made.right for made in rows))


if __name__ == "__main__":
    sys.exit(main())
