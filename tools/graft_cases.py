"""The pairs that `tools.prove_graft` proves, by the part of its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtpfix.grafts.attempts import Precision
from tools import pairs, tiny
from tools.forge import NONE
from tools.pairs import FP8, Kind, Pair

SCHEMES = (
    "ct-fp8-channel",
    "ct-w4a16",
    "ct-nvfp4",
    "fp8-block",
    "modelopt-nvfp4",
    "awq",
    "gptq",
)
"""Quantizations of the target."""
ALONE = ("gemma4_assistant",)
"""Tiny models whose draft is a model of its own, which no quantizer loses."""
UNHEARD = (("nemotron_h_vl", "fp8-block"),)
"""Pairs that vLLM gives no answer about, on a CPU: with the block or without."""
FP8_FAMILIES = (
    *("deepseek_v3", "glm_moe_dsa", "glm4_moe", "qwen3_next", "qwen3_5", "mimo", "ernie4_5_moe"),
    "nemotron_h",
)
"""Families with a base in FP8 blocks."""
FP8_SCHEMES = ("ct-w4a16", "ct-nvfp4", "ct-fp8-channel", "fp8-block", "modelopt-nvfp4", "awq")
NATIVE = (
    ("deepseek_v4", "deepseek-v4-fp4"),
    ("deepseek_v4_dspark", "deepseek-v4-fp4"),
    ("deepseek_v41", "deepseek-v4-fp8"),
)
"""Families, and the scheme that their base is published in."""
NATIVE_SCHEMES = ("ct-w4a16", "ct-nvfp4", "ct-fp8-channel", "modelopt-nvfp4", "awq", "gptq")
KINDS: Mapping[Kind, tuple[str, ...]] = {
    "shards": ("deepseek_v3", "glm4_moe", "qwen3_5", "mimo", "minimax_m3"),
    "count-0": ("deepseek_v3", "glm4_moe", "mimo", "qwen3_5", "nemotron_h", "minimax_m3"),
    "no-count": ("deepseek_v3", "glm4_moe", "mimo", "qwen3_5", "nemotron_h", "qwen3_next"),
    "cut-lists": ("step3p5", "step3p7", "deepseek_v4"),
    "norms": ("glm4_moe", "mimo", "qwen3_5"),
    "other-weights": ("glm4_moe", "mimo", "qwen3_5"),
}
"""Kinds of pairs, and families that they are proved on."""
KIND_SCHEMES = ("ct-w4a16", "modelopt-nvfp4")
WRAPPED = ("ct-w4a16", "ct-nvfp4", "modelopt-nvfp4", "gptq")
WRAPPERS = (
    ("qwen3_5", "qwen3_5_text"),
    ("qwen3_5_moe", "qwen3_5_moe_text"),
    ("nemotron_h_vl", "nemotron_h"),
    ("bailing_v3_vl", "bailing_v3"),
)
"""Families of the same layers, with and without a vision tower."""


@dataclass(frozen=True)
class Asked:
    """A pair to make.

    Attributes:
        family: tiny model of the target.
        scheme: quantization of its trunk.
        donor: scheme of the base.
        kind: what is special.
        base: tiny model of the base, where it is another.
        precision: as `mtpfix graft` takes it.
    """

    family: str
    scheme: str
    donor: str = NONE
    kind: Kind = "plain"
    base: str | None = None
    precision: Precision = "auto"

    def __str__(self) -> str:
        """Return one line that names it."""
        base = f"from {self.base}" if self.base else ""
        words = (self.family, self.scheme, self.donor, self.kind, base, self.precision)
        return " ".join(filter(None, words))

    def made(self, folder: Path) -> Pair:
        """Write the pair into a folder and return it."""
        return pairs.pair(
            self.family,
            folder,
            self.scheme,
            kind=self.kind,
            donor=self.donor,
            base=self.base,
            variant=self.variant,
        )

    @property
    def variant(self) -> str:
        """The variant of the tiny model."""
        if self.kind == "cut-lists":  # the others leave out the list that the pair is about
            return tiny.BASE
        return tiny.variant(self.family, self.scheme)


def _sound(family: str, scheme: str) -> bool:
    return scheme not in tiny.unfit(family) and (family, scheme) not in UNHEARD


def plain() -> Iterator[Asked]:
    """Yield every family and scheme, from a base in BF16."""
    for scheme in SCHEMES:
        for family in tiny.families():
            if family not in ALONE and _sound(family, scheme):
                yield Asked(family, scheme)


def fp8() -> Iterator[Asked]:
    """Yield pairs whose base is in FP8."""
    for precision in ("auto", "bf16"):
        for scheme in FP8_SCHEMES:
            for family in FP8_FAMILIES:
                if _sound(family, scheme):
                    yield Asked(family, scheme, FP8, precision=precision)


def native() -> Iterator[Asked]:
    """Yield pairs whose base is in the formats that DeepSeek-V4 is published in."""
    for precision in ("auto", "bf16"):
        for family, donor in NATIVE:
            for scheme in NATIVE_SCHEMES:
                if _sound(family, scheme):
                    yield Asked(family, scheme, donor, precision=precision)
    yield from (Asked(family, donor, donor) for family, donor in NATIVE)


def kinds() -> Iterator[Asked]:
    """Yield pairs with something special."""
    for kind, families in KINDS.items():
        for scheme in KIND_SCHEMES:
            for family in families:
                yield Asked(family, scheme, kind=kind)


def newer() -> Iterator[Asked]:
    """Yield pairs that a later release loads, and 0.32.0 does not."""
    for family in ("step3p5", "step3p7"):
        for scheme in ("modelopt-nvfp4", "fp8-block"):
            yield Asked(family, scheme, kind="cut-lists")


def wrappers() -> Iterator[Asked]:
    """Yield targets with a vision tower whose base has none, and the reverse."""
    for scheme in WRAPPED:
        for one, other in WRAPPERS:
            for family, base in ((one, other), (other, one)):
                if _sound(family, scheme):
                    yield Asked(family, scheme, base=base)


PARTS: Mapping[str, Callable[[], Iterator[Asked]]] = {
    "plain": plain,
    "fp8": fp8,
    "native": native,
    "kinds": kinds,
    "wrappers": wrappers,
    "newer": newer,
}
"""The parts of the page."""
NEWER = "0.33.0"
"""The release of the part of that name."""
