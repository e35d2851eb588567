"""SGLang's `is_layer_skipped`: lists of dotted paths, with fused layers and experts. Pure.

Source: `_module_path_match` and `is_layer_skipped` in `quantization/utils.py`, unchanged from
0.5.13 to 0.5.23.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mtpfix.engines.policies.method import Packed
from mtpfix.engines.sglang.methods.shared.shards import of_shards
from mtpfix.model import Entry

_FALLBACK: Mapping[str, Sequence[str]] = {
    "qkv_proj": ["q_proj", "k_proj", "v_proj"],
    "gate_up_proj": ["gate_proj", "up_proj"],
}
"""Shards where the packed mapping names none."""
_HALF = (
    "ValueError: Detected some but not all shards of {name} are quantized. "
    "All shards of fused layers to have the same precision."
)


class Paths:
    """A list of dotted paths: an entry fits every name that holds it between dots.

    Args:
        entries: in the order of the list.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_path: dict[str, tuple[int, Entry]] = {}
        self._texts: dict[str, Entry] = {}
        for number, entry in enumerate(entries):
            self._by_path.setdefault(entry.text.rstrip("."), (number, entry))
            self._texts.setdefault(entry.text, entry)
        self._experts = [e for text, e in self._texts.items() if "experts" in text]

    def first(self, name: str) -> Entry | None:
        """Return the entry that is about `name`: that fits it, or speaks of one of its experts."""
        return self.fits(name) or self._of_experts(name)

    def fits(self, name: str) -> Entry | None:
        """Return the first entry of the list that `name` holds between dots."""
        found = (self._by_path[path] for path in _within(name) if path in self._by_path)
        return min(found, default=(0, None), key=lambda each: each[0])[1]

    def skips(self, name: str, packed: Packed) -> Entry | None:
        """Return the entry that exempts the module `name`; None: it is not exempt.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
        """
        last = name.rpartition(".")[2]
        shards = packed[last] if last in packed else _FALLBACK.get(last)
        if shards is not None:
            return of_shards(name, shards, self.fits, _HALF.format(name=name))
        if "gate_up_proj" in name:
            return self._of_halves(name) or self.fits(name)
        return self.first(name)

    def _of_halves(self, name: str) -> Entry | None:
        """Return an entry where both halves of what holds a fused name are spelled out."""
        halves = [
            self._texts.get(name.replace("gate_up_proj", h)) for h in ("gate_proj", "up_proj")
        ]
        return halves[0] if None not in halves else None

    def _of_experts(self, name: str) -> Entry | None:
        """Return the first entry about experts that holds `name`: one expert stands for all."""
        if "experts" not in name:
            return None
        return next((entry for entry in self._experts if name in entry.text), None)


def _within(name: str) -> Iterator[str]:
    """Yield all that stands between dots of a name, of one part or of several."""
    parts = name.rstrip(".").split(".")
    for begin in range(len(parts)):
        for end in range(begin + 1, len(parts) + 1):
            yield ".".join(parts[begin:end])
