"""Makes tiny but real checkpoints: safetensors with the names that a family has on disk.

    python -m tools.forge deepseek_v4 OUT --scheme ct-nvfp4+fp8-block [--mtp quantized] [--shards 3]

The trunk is quantized where vLLM would quantize it; the MTP block as asked. Needs torch and
safetensors, no vLLM: names and shapes come from the `tiny_shapes.json` of the families.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from safetensors.torch import save_file

from tools import schemes, tiny
from tools.quantizers import QUANTIZERS
from tools.recording import with_quantization
from tools.tiny import Stored, tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Mtp = Literal["bf16", "quantized", "mixed", "lost", "main_proj"]
"""How the MTP block is stored; mixed: its experts quantized (or its MLP), the rest not; main_proj:
all quantized but for this layer of a DSpark draft."""

NONE = "none"
"""The scheme of a checkpoint that is not quantized."""
COPIES = {
    ".embed_tokens.weight": (
        "model.embed_tokens.weight",
        "model.language_model.embed_tokens.weight",
        "language_model.model.embed_tokens.weight",
    ),
    ".tok_emb.weight": ("embed.weight",),
    ".head.weight": ("head.weight", "lm_head.weight", "language_model.lm_head.weight"),
    ".output.weight": ("lm_head.weight",),
}
"""Ends of names in the MTP block, and the tensors of the trunk that they repeat."""
COARSE = (
    "ct-fp8-block",
    "fp8-block",
    "modelopt-fp8-block",
    "modelopt-mixed-fp8-block",
    "awq",
    "gptq",
    "gptq-blocks",
    "auto-round",
)
"""Schemes whose blocks or words are larger than the smallest matrices, which are left out."""
SCANNED = ("awq", "gptq")
"""Schemes that need no list: the engine then reads the headers."""
SCHEMES = (NONE, *schemes.named())


@dataclass(frozen=True)
class Forged:
    """What was written."""

    folder: Path
    mtp: tuple[str, ...]
    """Names of the tensors of the MTP block, written or lost."""
    mtp_modules: tuple[str, ...]
    """Modules of the MTP block that hold a matrix, whether quantized or not."""
    quantized: tuple[str, ...]
    """Modules that are stored quantized, of both parts."""


def forge(
    family: str,
    out: Path,
    scheme: str = "ct-fp8-channel",
    *,
    variant: str = tiny.BASE,
    block: str | None = None,
    mtp: Mtp = "bf16",
    ignore: Sequence[str] | None = ("lm_head",),
    shards: int = 1,
    seed: int = 0,
) -> Forged:
    """Writes a checkpoint into `out`.

    Args:
        family: a tiny model (`tools.tiny`).
        out: the folder; made where it does not exist.
        scheme: one of `SCHEMES`.
        variant: a variant of the family.
        block: scheme of the MTP block, where the configuration speaks of the trunk alone; None: the
            trunk's.
        mtp: how the MTP block is stored.
        ignore: what the configuration leaves unquantized, as names or as entries in the form of
            the dialect; None leaves the key out.
        shards: number of files; more than one gets an index, and the MTP block the last file.
        seed: of the random weights.
    """
    config = tiny.config(family, variant)
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    quantized: dict[str, str] = {}
    trunk = tensors(family, variant, "trunk")
    present = {stored.name for stored in trunk}
    draft = [s for s in tensors(family, variant, "draft") if s.name not in present]
    kept = uncut(trunk, config, scheme) if scheme in COARSE else []
    chosen = {s.name for s in trunk if s.quantizable} | wanted(draft, mtp)
    chosen -= {f"{module}.weight" for module in kept}
    parts = [(stored, scheme) for stored in trunk]
    parts += [(stored, block or scheme) for stored in draft]
    for stored, own in parts:
        weight = copied(stored, weights) if stored.name not in present else None
        weight = random(stored, generator) if weight is None else weight
        module = stored.name.removesuffix(".weight")
        quantizer = choose(own, module) if stored.name in chosen else None
        if quantizer is None:
            weights[stored.name] = weight
        else:
            weights.update(QUANTIZERS[quantizer](module, weight))
            quantized[module] = quantizer
    modules = tuple(s.name.removesuffix(".weight") for s in draft if s.matrix)
    owned = {s.name.rpartition(".")[0] for s in draft}
    brought = tuple(name for name in weights if name.rpartition(".")[0] in owned)
    out.mkdir(parents=True, exist_ok=True)
    if mtp == "lost":
        save(out, {name: t for name, t in weights.items() if name not in set(brought)}, (), shards)
    else:
        save(out, weights, brought, shards)
    absent = ignore is None and (not kept or scheme in SCANNED)
    listed = None if absent else [*(ignore or ()), *kept]
    spoken = {m: q for m, q in quantized.items() if block is None or f"{m}.weight" in present}
    stated = None if scheme == NONE else quantization(scheme, spoken)
    config = with_quantization(config, stated, listed)
    for file, value in {"config.json": config, **schemes.companions(config)}.items():
        (out / file).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return Forged(out, brought, modules, tuple(quantized))


def quantization(scheme: str, quantized: Mapping[str, str]) -> schemes.Quantization:
    """The quantization configuration of a scheme for a checkpoint.

    Args:
        scheme: the name of the scheme.
        quantized: the modules that are stored quantized, and by which quantizer.
    """
    stated = schemes.quantization(scheme)
    if "quantized_layers" in stated:
        algorithms = {name: schemes.algorithm(name) for name in quantized.values()}
        stated["quantized_layers"] = {
            module: {"quant_algo": algorithms[name]} for module, name in quantized.items()
        }
    return stated


def uncut(trunk: Iterable[Stored], config: tiny.Config, scheme: str) -> list[str]:
    """What is too small to be cut into blocks or words, and no recipe quantizes."""
    names = (stored.name.removesuffix(".weight") for stored in trunk)
    ends = (".in_proj_a", ".in_proj_b", *((".g_proj",) if scheme == "awq" else ()))
    small = [name for name in names if name.endswith(ends)]
    vision = "vision_config" in config and schemes.dialect(scheme) == "compressed-tensors"
    return [*small, "re:.*visual.*"] if vision else small


def wanted(draft: Iterable[Stored], mtp: Mtp) -> set[str]:
    """The tensors of the MTP block to quantize."""
    able = [stored.name for stored in draft if stored.quantizable]
    if mtp == "quantized":
        return set(able)
    if mtp == "main_proj":
        return {name for name in able if not name.endswith(".main_proj.weight")}
    if mtp == "mixed":
        some = {name for name in able if ".experts." in name}
        return some or {name for name in able if ".mlp." in name}
    return set()


def choose(scheme: str, module: str) -> str | None:
    """The quantizer for one module; None where no part of the scheme takes it."""
    if scheme == NONE:
        return None
    parts = schemes.parts(scheme)
    return next((part.quantizer for part in parts if re.search(part.pattern, module)), None)


def copied(stored: Stored, weights: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """The trunk's embedding or head, for those of the MTP block of their size: copies."""
    for copy, originals in COPIES.items():
        if stored.name.endswith(copy):
            found = (weights[name] for name in originals if name in weights)
            return next((w.clone() for w in found if tuple(w.shape) == stored.shape), None)
    return None


def random(stored: Stored, generator: torch.Generator) -> torch.Tensor:
    """Weights for one tensor; zeros where they are indices."""
    dtype: torch.dtype = getattr(torch, stored.dtype)
    if not dtype.is_floating_point:
        return torch.zeros(stored.shape, dtype=dtype)
    return torch.randn(stored.shape, generator=generator).mul_(0.05).to(dtype)


def save(out: Path, weights: dict[str, torch.Tensor], block: Sequence[str], shards: int) -> None:
    """Writes one file, or several and an index: the block in the last, if there is one."""
    if shards == 1:
        write(out / "model.safetensors", weights, weights)
        return
    trunk = [name for name in weights if name not in set(block)]
    some = shards - bool(block)
    parts = [trunk[i::some] for i in range(some)] + ([list(block)] if block else [])
    where = {}
    for number, names in enumerate(parts, 1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        write(out / file, weights, names)
        where.update(dict.fromkeys(names, file))
    size = sum(weight.numel() * weight.element_size() for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    text = json.dumps(index, indent=2) + "\n"
    (out / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def write(path: Path, weights: dict[str, torch.Tensor], names: Iterable[str]) -> None:
    """Writes one safetensors file."""
    tensors = {name: weights[name].contiguous() for name in names}
    save_file(tensors, path, metadata={"format": "pt"})


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("family", choices=tiny.families())
    parser.add_argument("out", type=Path)
    parser.add_argument("--scheme", default="ct-fp8-channel", choices=SCHEMES)
    parser.add_argument("--variant", default=tiny.BASE)
    parser.add_argument("--mtp", default="bf16", choices=get_args(Mtp))
    parser.add_argument("--ignore", default='["lm_head"]', help="JSON list, or null")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    options["ignore"] = json.loads(options["ignore"])
    made = forge(options.pop("family"), options.pop("out"), options.pop("scheme"), **options)
    print(f"{made.folder}: {len(made.mtp)} MTP tensors, {len(made.quantized)} quantized modules")


if __name__ == "__main__":
    main()
