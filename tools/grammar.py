"""Makes questions for matchers: names, lists, mappings and mappers from a small grammar.

Every question follows from its number alone, and from nothing but `random()`, whose sequence
Python promises to keep. So the questions need not be stored, only the answers. Patterns that
take forever are left out: mtpfix refuses them on purpose.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

MATCHES, MAPS = 3000, 1000
"""Number of questions about lists, and about mappers."""

T = TypeVar("T")


class Match(NamedTuple):
    """Is `name` ignored, and which target does it fall under?"""

    name: str
    cls: str
    ignore: tuple[str, ...]
    targets: tuple[str, ...]
    packed: dict[str, list[str]]


class Map(NamedTuple):
    """What does a name mapper make of a list?"""

    entries: tuple[str, ...]
    tables: dict[str, dict[str, str]]


def matches(number: int = MATCHES) -> Iterator[Match]:
    """The questions about lists."""
    return (_match(_Dice(f"match {i}")) for i in range(number))


def maps(number: int = MAPS) -> Iterator[Map]:
    """The questions about mappers."""
    return (_map(_Dice(f"map {i}")) for i in range(number))


def digest() -> str:
    """Names the questions: changes whenever one of them does."""
    text = "\n".join(map(repr, (*matches(), *maps())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Dice:
    """Choices that are the same in every version of Python."""

    def __init__(self, seed: str) -> None:
        number = int(hashlib.sha256(seed.encode()).hexdigest()[:16], 16)
        self._random = random.Random(number).random  # noqa: S311 - not for secrets

    def below(self, number: int) -> int:
        return int(self._random() * number)

    def odds(self, chance: float) -> bool:
        return self._random() < chance

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, most: int, make: Callable[[_Dice], T]) -> list[T]:
        return [make(self) for _ in range(self.below(most + 1))]


# --- names -----------------------------------------------------------------------

ROOTS = ("model.", "language_model.model.", "model.language_model.", "mtp.", "model.mtp.", "")
LAYERS = ("layers.0.", "layers.3.", "layers.61.", "layers.61.mtp_block.", "mtp_layers.0.", "0.", "")
BLOCKS = ("self_attn.", "mlp.", "attn.", "mlp.experts.0.", "ffn.shared_experts.", "mixer.", "")
LASTS = ("q_proj", "o_proj", "fc", "gate", "lm_head", "head", "eh_proj", "w1", "experts", "in_proj")
SHARDS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "gate_proj",
    "up_proj",
    "w1",
    "w3",
    "wq_a",
    "wkv",
    "q_a_proj",
    "kv_a_proj_with_mqa",
    "in_proj_b",
    "indexer.index_qk_proj",
)
FUSED = (
    "qkv_proj",
    "gate_up_proj",
    "fused_qkv_a_proj",
    "fused_wqa_wkv",
    "in_proj_ba",
    "proj",
    "q_proj",
    "w13",
    "qkv",
)
CLASSES = (
    "QKVParallelLinear",
    "MergedColumnParallelLinear",
    "RowParallelLinear",
    "ReplicatedLinear",
    "ParallelLMHead",
    "VocabParallelEmbedding",
    "RoutedExperts",
    "FusedMoE",
)


def _packed(dice: _Dice) -> dict[str, list[str]]:
    """Fused names with shards: mostly sensible, sometimes odd; never none, vLLM would raise."""
    found = {}
    for _ in range(dice.below(4)):
        key = dice.one(FUSED)
        shards = [dice.one(SHARDS) for _ in range(1 + dice.below(3))]
        if dice.odds(0.1):
            shards = dice.one(([key], [f"{key}.a", f"{key}.b"], [""], shards * 2))
        found[key] = shards
    return found


def _name(dice: _Dice, packed: dict[str, list[str]]) -> str:
    fused = packed and dice.odds(0.6)
    last = dice.one(list(packed)) if fused else dice.one((*LASTS, *SHARDS, *FUSED))
    name = dice.one(ROOTS) + dice.one(LAYERS) + dice.one(BLOCKS) + last
    return _odd(dice, name, last) if dice.odds(0.15) else name


def _odd(dice: _Dice, name: str, last: str) -> str:
    """A name that no model has, but that a matcher must not choke on."""
    return dice.one(
        (
            "",
            ".",
            f".{last}",
            f"{name}.",
            name.replace(".", ".."),
            name.upper(),
            name.title(),
            f"{name}_{last}",
            f"x{last}",
            f"{last}.{last}.{last}",
            f"{last}.{name}",
            f" {name}",
            f"{name}\n",
            f"{name}.weight",
            name.replace("proj", "prøj"),
        )
    )


def _spelled(dice: _Dice, name: str, packed: dict[str, list[str]]) -> str:
    """The name, one of its shards, or a name near it."""
    last = name.rpartition(".")[2]
    shards = packed.get(last) or [last]
    chosen = dice.one((name, name, *(name.replace(last, s) for s in shards if last)))
    return chosen if dice.odds(0.8) else _name(dice, packed)


# --- entries ---------------------------------------------------------------------


def _entry(dice: _Dice, name: str, packed: dict[str, list[str]]) -> str:
    text = _spelled(dice, name, packed)
    return _pattern(dice, text) if dice.odds(0.5) else _exact(dice, text)


def _exact(dice: _Dice, text: str) -> str:
    parent, _, last = text.rpartition(".")
    plain = (text, text, text, parent, last, f"{text}.weight")
    odd = (text.upper(), text.lower(), f"{text}*", f"*{last}", f" {text}", f"{text}.", "", "*")
    return dice.one(plain if dice.odds(0.7) else odd)


def _pattern(dice: _Dice, text: str) -> str:
    """A regular expression about a name, put together from pieces; or a hostile one."""
    if dice.odds(0.08):
        return "re:" + dice.one(("", "^", "$", "^$", ".", "(", "*", "[", "re:.*", "(?P<a>", "\\"))
    pieces = (_piece(dice, part) for part in text.split("."))
    body = dice.one((r"\.", r"\.", ".")).join(pieces)
    begin = dice.one(("", "", "^", "^", ".*", r".*\.", "(?i)", f"(?!{dice.one(ROOTS)})", "(?:.*)"))
    end = dice.one(("", "", "$", "$", ".*", r"\Z", r"(?!\.)", ".+", r"(\..*)?$"))
    cut = body[: dice.below(len(body))] if dice.odds(0.1) else body
    return f"{dice.one(('re:', 're:', 're:', 're:', 'RE:', 're: '))}{begin}{cut}{end}"


def _piece(dice: _Dice, part: str) -> str:
    """One part of a dotted name as a regular expression."""
    if part.isdigit() and dice.odds(0.5):
        return dice.one((r"\d+", "[0-9]+", r"\d", f"({part}|62)", f"[{part[0]}-9]"))
    if part.endswith("_proj") and dice.odds(0.4):
        head = part.removesuffix("_proj")
        return dice.one((f"({head}|k|up)_proj", ".*_proj", f"{head}(_proj)?", "[a-z_]+", "(q|k|v)"))
    return dice.one((re.escape(part), re.escape(part), "[^.]+", ".*", re.escape(part[:3]) + ".*"))


def _target(dice: _Dice, name: str, packed: dict[str, list[str]]) -> str:
    if dice.odds(0.6):
        return _entry(dice, name, packed)
    cls = dice.one(CLASSES)
    part = cls[dice.below(4) : 5 + dice.below(len(cls))]
    return dice.one(("Linear", "linear", cls, cls.upper(), part, f"re:{part}", f"re:.*{part}$", ""))


# --- questions -------------------------------------------------------------------


def _match(dice: _Dice) -> Match:
    packed = _packed(dice)
    name = _name(dice, packed)
    ignore = dice.some(4, lambda d: _entry(d, name, packed))
    targets = dice.some(4, lambda d: _target(d, name, packed))
    return Match(name, dice.one(CLASSES), tuple(ignore), tuple(dict.fromkeys(targets)), packed)


def _map(dice: _Dice) -> Map:
    packed = _packed(dice)
    names = [_name(dice, packed) for _ in range(1 + dice.below(4))]
    entries = [_entry(dice, name, packed) for name in names]
    tables = {
        kind: dict(dice.some(3, lambda d, k=kind: _rule(d, d.one(names), k)))  # type: ignore[misc]
        for kind in ("substr", "prefix", "suffix")
    }
    return Map(tuple(entries), tables)


def _rule(dice: _Dice, name: str, kind: str) -> tuple[str, str]:
    """An old and a new piece of a name; a suffix is never empty, vLLM would raise."""
    parts = name.split(".")
    number = 1 + dice.below(2)
    old = {
        "prefix": dice.one((".".join(parts[:number]) + ".", *ROOTS)),
        "suffix": dice.one((parts[-1], "." + parts[-1], ".weight", "proj")) or "x",
        "substr": dice.one((f".{dice.one(parts)}.", dice.one(parts), "proj", ".layers.", "")),
    }[kind]
    return old, dice.one((old, "", "model.", f"{old}{old}", old.replace("model", "m"), "x.y.", "."))
