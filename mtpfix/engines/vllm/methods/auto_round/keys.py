"""The keys of auto-round's `extra_config`, as each release compares them with names. Pure.

Source: `INCConfigParser` in `quantization/inc/config_parser.py`, and
`INCConfig.get_layer_config` before 0.24.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Entry
from mtpfix.patterns import PatternError, bounded, found_in

SPECIAL = frozenset(r"*+?^$()[]{}|\\")
"""A key that holds one of these characters is tried as a regex."""


class Keys:
    """The keys of `extra_config`, as one release compares them with names.

    Args:
        entries: the keys, as the mappers left them; of two alike, the last counts.
        release: the release.
    """

    def __init__(self, entries: Iterable[Entry], release: str) -> None:
        self._all = {entry.text: entry for entry in entries}
        self._patterns = [e for e in bounded(self._all.values(), _special) if _special(e)]
        self._suffixes: bool = rules("auto_round_suffixes", release)

    def __bool__(self) -> bool:
        return bool(self._all)

    def first(self, name: str) -> Entry | None:
        """The key that is about `name`, whatever kind of module it is."""
        whole = next(self.wholes(name), None)
        return whole or self.suffix(name) or self.explicit(name)

    def wholes(self, name: str) -> Iterator[Entry]:
        """The keys that are spelled like `name`, or like it with `model.` before it."""
        spelled = (name, f"model.{name}") if name else ()
        return (entry for text, entry in self._all.items() if text in spelled)

    def exact(self, name: str) -> Entry | None:
        """The key that is spelled like `name`."""
        return self._all.get(name)

    def suffix(self, name: str) -> Entry | None:
        """The first key that `name` ends in, after a dot."""
        if not self._suffixes:
            return None
        return next((e for text, e in self._all.items() if name.endswith(f".{text}")), None)

    def below(self, name: str) -> list[Entry]:
        """The keys that begin with `name`."""
        return [entry for text, entry in self._all.items() if text.startswith(name)]

    def explicit(self, name: str) -> Entry | None:
        """The key that is spelled like `name`, else the first whose regex is found in it."""
        return self._all.get(name) or next(self._found(name), None)

    def _found(self, name: str) -> Iterator[Entry]:
        number = len(self._patterns)
        return (entry for entry in self._patterns if _fits(entry, name, number))


def _special(entry: Entry) -> bool:
    return not SPECIAL.isdisjoint(entry.text)


def _fits(entry: Entry, name: str, among: int) -> bool:
    """Whether a regex is found in a name; vLLM passes over what is no regex."""
    try:
        return found_in(entry, name, among)
    except PatternError as error:
        if error.hangs:
            raise
        return False
