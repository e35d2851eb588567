"""Makes tiny checkpoints whose MTP block is stored by a scheme that the metadata do not state.

    python -m tools.blocks deepseek_v3 OUT --trunk ct-w4a16 --block ct-fp8-block [--mtp mixed]

The metadata are those of the trunk's quantizer, as it writes them where it leaves the block alone.
`tools.prove_schemes` has a real vLLM load such checkpoints; the ones that it asks about stand here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import schemes, tiny
from tools.forge import Forged, Mtp, forge

STORED: tuple[Mtp, ...] = ("quantized", "mixed")
"""How a block can be stored by a scheme of its own."""
FAMILIES = (
    *("deepseek_v3", "glm4_moe", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "deepseek_v4"),
    *("nemotron_h", "nemotron_h_vl", "mimo", "hy_v3", "step3p5", "ernie4_5_moe"),
)
"""Tiny models: blocks under `mtp.` and `model.layers.N`, in wrappers, dense and with experts."""

Block = tuple[str, Mtp]
"""A scheme of a block, and how much of it is quantized."""

WHOLE: Mapping[str, tuple[str, ...]] = {
    "ct-fp8-channel": (),
    "ct-w4a16": ("ct-w4a16-group-64",),
    "ct-nvfp4": (),
}
"""Trunks of compressed-tensors, and blocks that only they are asked about with."""
ANY = (
    *("ct-fp8-block", "ct-fp8-channel", "ct-w8a16", "ct-nvfp4", "ct-mxfp4", "ct-mxfp8"),
    "ct-int8",
)
VISION = {
    "compressed-tensors": "re:.*visual.*",
    "modelopt": "*visual*",
    "gptq": "-:.*visual.*",
    "auto-round": ".*visual.*",
    "quark": "re:.*visual.*",
}
"""By what entry each method leaves a vision tower unquantized."""
MODELOPT = ("modelopt-nvfp4", "modelopt-fp8")
MODELOPT_BLOCKS: tuple[Block, ...] = (
    ("modelopt-fp8", "quantized"),
    ("modelopt-fp8-block", "quantized"),
    ("modelopt-fp8-block-inv", "quantized"),
    ("modelopt-fp8-block-inv", "mixed"),
    ("modelopt-nvfp4", "mixed"),
    ("modelopt-mxfp8", "quantized"),
)


@dataclass(frozen=True)
class Asked:
    """A checkpoint to make.

    Attributes:
        family: tiny model.
        trunk: scheme of the trunk, and of the metadata.
        block: scheme of the MTP block.
        mtp: `quantized`, or `mixed` for a block with BF16 beside its quantized experts.
    """

    family: str
    trunk: str
    block: str
    mtp: Mtp = "quantized"

    def __str__(self) -> str:
        """Return one line that names it."""
        return " ".join((self.family, self.trunk, self.block, self.mtp))

    @property
    def variant(self) -> str:
        """The variant of the tiny model."""
        return tiny.variant(self.family, self.trunk)

    @property
    def ignore(self) -> tuple[str, ...]:
        """What the trunk's quantizer leaves unquantized, in the words of its method."""
        seeing = "vision_config" in tiny.config(self.family, self.variant)
        method = schemes.dialect(self.trunk)
        return ("lm_head", *([VISION[method]] if seeing and method in VISION else ()))

    @property
    def sound(self) -> bool:
        """Whether both schemes fit the family."""
        return not {self.trunk, self.block} & tiny.unfit(self.family).keys()

    def made(self, folder: Path, shards: int = 1) -> Forged:
        """Write the checkpoint into a folder and return what was written."""
        return forge(
            self.family,
            folder,
            self.trunk,
            variant=self.variant,
            block=self.block,
            mtp=self.mtp,
            ignore=self.ignore,
            shards=shards,
        )


def _of_families(trunk: str, blocks: Sequence[Block]) -> Iterator[Asked]:
    """Yield a trunk with each of some blocks, except with the one that its metadata state."""
    for block, mtp in blocks:
        if (block, mtp) != (trunk, "quantized"):
            asked = (Asked(family, trunk, block, mtp) for family in FAMILIES)
            yield from (each for each in asked if each.sound)


def compressed_tensors() -> Iterator[Asked]:
    """Yield the blocks beside trunks of compressed-tensors."""
    for trunk, own in WHOLE.items():
        whole: list[Block] = [(block, "quantized") for block in (*ANY, *own)]
        yield from _of_families(trunk, [*whole, ("ct-fp8-channel", "mixed")])


def modelopt() -> Iterator[Asked]:
    """Yield the blocks beside trunks of ModelOpt."""
    for trunk in MODELOPT:
        yield from _of_families(trunk, MODELOPT_BLOCKS)


def auto_round() -> Iterator[Asked]:
    """Yield blocks of other bits, or groups, than the rest of an auto-round checkpoint."""
    blocks = ("auto-round-8-bit", "auto-round-group-64")
    yield from _of_families("auto-round", [(block, "quantized") for block in blocks])


def gptq() -> Iterator[Asked]:
    """Yield blocks of other bits, or groups, than the rest of a GPTQ checkpoint."""
    blocks = ("gptq-8-bit", "gptq-group-64")
    yield from _of_families("gptq", [(block, "quantized") for block in blocks])


def quark() -> Iterator[Asked]:
    """Yield FP8 blocks beside an MXFP4 trunk of Quark."""
    blocks = ("quark-fp8", "quark-fp8-block")
    yield from _of_families("quark-mxfp4", [(block, "quantized") for block in blocks])


PARTS: Mapping[str, Callable[[], Iterator[Asked]]] = {
    "compressed-tensors": compressed_tensors,
    "modelopt": modelopt,
    "auto-round": auto_round,
    "gptq": gptq,
    "quark": quark,
}
"""What is asked about, by method."""
TRUNKS = tuple(schemes.named())
BLOCKS = (*schemes.named(), *schemes.of_blocks())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("family", choices=tiny.families())
    parser.add_argument("out", type=Path)
    parser.add_argument("--trunk", required=True, choices=TRUNKS)
    parser.add_argument("--block", required=True, choices=BLOCKS)
    parser.add_argument("--mtp", default="quantized", choices=STORED)
    parser.add_argument("--shards", type=int, default=1)
    args = parser.parse_args()
    asked = Asked(args.family, args.trunk, args.block, args.mtp)
    made = asked.made(args.out, args.shards)
    print(f"{made.folder}: {len(made.mtp)} MTP tensors, {len(made.quantized)} quantized modules")


if __name__ == "__main__":
    main()
