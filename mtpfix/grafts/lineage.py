"""Whether the base is the model that the target was made from, by bytes that both have. Pure.

Norms, router gates and embeddings are left as they are by most quantizers. AWQ and SmoothQuant move
norms and what follows them; a fine-tune moves everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["norm", "router", "embedding"]
Verdict = Literal["same weights", "norms differ", "other weights", "unknown"]

_KINDS: Mapping[Kind, re.Pattern[str]] = {
    "norm": re.compile(r"norm\.weight$"),
    "router": re.compile(r"\.(?:gate|router)\.weight$"),
    "embedding": re.compile(r"(?:embed_tokens|tok_emb|embeddings?|embed)\.weight$"),
}
_ENOUGH: Mapping[Kind, int] = {"norm": 8, "router": 4, "embedding": 1}
"""How many of a kind are compared."""
SLICE = 1 << 16
"""Bytes that are compared of each tensor."""
_WRAPPER = re.compile(r"(?:^|(?<=\.))(?:language_model|model)\.")


class Pair(NamedTuple):
    """A tensor that both have."""

    kind: Kind
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """What the comparison came to.

    Attributes:
        compared: of each kind, how many tensors were compared, and how many are equal.
    """

    compared: Mapping[Kind, tuple[int, int]]

    @property
    def verdict(self) -> Verdict:
        """What the base is to the target."""
        differing = {kind for kind, (count, equal) in self.compared.items() if equal < count}
        if not self.compared:
            return "unknown"
        if not differing:
            return "same weights"
        count, equal = self.compared.get("embedding", (0, 0))
        return "norms differ" if count and equal == count else "other weights"


def chosen(ours: Iterable[str], theirs: Iterable[str], near: Sequence[str]) -> tuple[Pair, ...]:
    """Return the tensors that are compared.

    Args:
        ours: names in the target, outside the MTP block.
        theirs: the same of the base.
        near: those of the base whose headers are read anyway.
    """
    known = {_plain(name): name for name in theirs}
    cheap = set(near)
    found: list[Pair] = []
    names = list(ours)
    for kind, pattern in _KINDS.items():
        pairs = [
            Pair(kind, name, known[_plain(name)])
            for name in names
            if pattern.search(name) and _plain(name) in known
        ]
        few = [pair for pair in pairs if pair.theirs in cheap]
        found += _spread(few if len(few) >= _ENOUGH[kind] else pairs, _ENOUGH[kind])
    return tuple(found)


def _plain(name: str) -> str:
    """Return a name without what wraps the text model, which a text-only export leaves out."""
    return _WRAPPER.sub("", name)


def _spread(pairs: Sequence[Pair], count: int) -> Iterable[Pair]:
    """Return some of many, evenly."""
    step = max(1, len(pairs) // count)
    return pairs[::step][:count]


def judged(results: Iterable[tuple[Pair, bool]]) -> Lineage:
    """Return what comparing came to.

    Args:
        results: each pair that could be compared, and whether it is equal.
    """
    counts: dict[Kind, tuple[int, int]] = {}
    for pair, equal in results:
        count, same = counts.get(pair.kind, (0, 0))
        counts[pair.kind] = count + 1, same + equal
    return Lineage(counts)
