"""Makes tiny pairs: a base that has its MTP block, and a quantized target that lost it.

    python -m tools.pairs glm4_moe OUT --scheme ct-w4a16 [--kind count-0] [--donor fp8-block]

Writes `OUT/base` and `OUT/target`. Both come from the same random weights, so what the target
leaves unquantized is bit-equal to the base's; the target still declares the MTP block, as the
quantizers do that drop its tensors.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import load_file, save_file

from tools import tiny
from tools.forge import NONE, SCHEMES, Forged, Mtp, forge

Kind = Literal["plain", "shards", "count-0", "no-count", "cut-lists", "norms", "other-weights"]
"""What is special about a pair.

plain: each is a lone `model.safetensors`; shards: both have several files and an index; count-0,
no-count: the target declares no MTP layer, or leaves the field out; cut-lists: its per-layer
lists end with the trunk; norms: the quantizer moved its norms; other-weights: the base is another
model of the same shape.
"""
COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Fields that say how many MTP layers there are."""
INDEX = "model.safetensors.index.json"
SHARDS = 3
FP8 = "fp8-block"
"""The scheme of a base in FP8."""
NATIVE = ("deepseek-v4-fp4", "deepseek-v4-fp8")
"""The schemes that DeepSeek-V4 is published in."""


@dataclass(frozen=True)
class Pair:
    """A base and a target on disk.

    Attributes:
        family: tiny model of the target.
        scheme: quantization of its trunk.
        donor: scheme of the base; `none` is BF16.
        kind: what is special.
        base: folder of the base.
        target: folder of the target.
        declared: folder of the target as it would be if it declared the whole model: the same as
            `target` but for kinds that change `config.json`.
        modules: modules of the MTP block, in the target -> in the base.
    """

    family: str
    scheme: str
    donor: str
    kind: Kind
    base: Path
    target: Path
    declared: Path
    modules: Mapping[str, str]


def pair(
    family: str,
    folder: Path,
    scheme: str,
    *,
    kind: Kind = "plain",
    donor: str = NONE,
    base: str | None = None,
    variant: str = tiny.BASE,
) -> Pair:
    """Writes a pair into `folder` and returns it.

    Args:
        family: tiny model of the target.
        folder: where `base` and `target` are made.
        scheme: quantization of the target's trunk.
        kind: what is special.
        donor: scheme of the base: `none`, or one for trunk and MTP block alike.
        base: tiny model of the base, where it is another wrapper of the same layers.
        variant: of the tiny model.
    """
    shards = SHARDS if kind == "shards" else 1
    lost = forge(family, folder / "target", scheme, variant=variant, mtp="lost", shards=shards)
    seed = int(kind == "other-weights")
    stored: Mtp = "bf16" if donor == NONE else "quantized"
    made = forge(
        base or family,
        folder / "base",
        donor,
        variant=tiny.variant(base or family, donor) if donor in NATIVE else variant,
        mtp=stored,
        shards=shards,
        seed=seed,
    )
    declared = lost.folder
    if kind in ("count-0", "no-count", "cut-lists"):
        declared = Path(shutil.copytree(lost.folder, folder / "declared"))
        _undeclare(lost.folder / "config.json", kind)
    elif kind == "norms":
        _move_norms(lost.folder / "model.safetensors")
    modules = dict(zip(_modules(lost), _modules(made), strict=True))
    return Pair(family, scheme, donor, kind, made.folder, lost.folder, declared, modules)


def _modules(forged: Forged) -> dict[str, None]:
    """Return the modules of the MTP block in order, each once."""
    return dict.fromkeys(name.rpartition(".")[0] for name in forged.mtp)


def _undeclare(file: Path, kind: Kind) -> None:
    """Take from a `config.json` what says that there is an MTP block."""
    config = json.loads(file.read_text(encoding="utf-8"))
    text = tiny.text(config)
    layers = text["num_hidden_layers"]
    for part in (config, text):
        for field, value in list(part.items()):
            if kind == "cut-lists" and isinstance(value, list) and len(value) > layers:
                part[field] = value[:layers]
            elif kind == "count-0" and field in COUNTS:
                part[field] = 0
            elif kind == "no-count" and field in COUNTS:
                del part[field]
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _move_norms(file: Path) -> None:
    """Scale the norms, as methods do that smooth activations into the weights before them."""
    weights = load_file(file)
    for name, weight in weights.items():
        if name.endswith("norm.weight"):
            weights[name] = (weight.float() * 0.75).to(weight.dtype)
    save(file.parent, weights)


def save(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write tensors into the one file of a folder."""
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})


def expected(pair: Pair) -> dict[str, torch.Tensor]:
    """Return the MTP block's tensors of the base, by their names in the target."""
    into = {base: target for target, base in pair.modules.items()}
    found = {}
    for name, tensor in tensors(pair.base).items():
        module, _, last = name.rpartition(".")
        if module in into:
            found[f"{into[module]}.{last}"] = tensor
    return found


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor that an engine reads from a folder, by name.

    Raises:
        ValueError: two files that are read hold a tensor of the same name.
    """
    index = folder / INDEX
    files = sorted(folder.glob("*.safetensors"))
    if index.exists():
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [folder / name for name in sorted(named)]
    found: dict[str, torch.Tensor] = {}
    for file in files:
        held = load_file(file)
        if twice := found.keys() & held.keys():
            raise ValueError(f"{min(twice)} is in two files")
        found.update(held)
    return found


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors agree in type, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    left, right = (t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return bool(torch.equal(left, right))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("family", choices=tiny.families())
    parser.add_argument("out", type=Path)
    parser.add_argument("--scheme", default="ct-w4a16", choices=SCHEMES)
    parser.add_argument("--kind", default="plain", choices=get_args(Kind))
    parser.add_argument("--donor", default=NONE, choices=(NONE, FP8, *NATIVE))
    parser.add_argument("--base", choices=tiny.families(), help="another wrapper of the layers")
    options = vars(parser.parse_args())
    made = pair(options.pop("family"), options.pop("out"), options.pop("scheme"), **options)
    print(f"{made.base} has {len(expected(made))} MTP tensors that {made.target} has lost")


if __name__ == "__main__":
    main()
