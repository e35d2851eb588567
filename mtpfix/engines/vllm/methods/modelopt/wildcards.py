"""ModelOpt's `is_layer_excluded`: exact names, then parts of names, then wildcards. Pure.

Source: `ModelOptQuantConfigBase` in `quantization/modelopt.py` of each release. What it says
of the names behind `language_model.` adds nothing: what is part of the rest is part of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate

from mtpfix.engines.policies.method import Packed
from mtpfix.engines.vllm.methods.shared.names import Names, skipped
from mtpfix.model import Entry
from mtpfix.patterns import PatternError, bounded


class Excluded:
    """A list of names, parts of names, and wildcards.

    Args:
        entries: in the order of the list.

    Raises:
        PatternError: a wildcard is no valid pattern, or there are too many of them.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        unique: dict[str, Entry] = {}
        for entry in entries:
            unique.setdefault(entry.text, entry)
        self._entries = tuple(bounded(unique.values(), lambda entry: _is_pattern(entry.text)))
        self._names = Names(self._entries)
        self._patterns = tuple(
            (entry, _compiled(entry)) for entry in self._entries if _is_pattern(entry.text)
        )

    def first(self, name: str) -> Entry | None:
        """The first entry that fits `name`, as a name, as a part of it or as a wildcard."""
        return self._names.first(name) or self._loosely(name)

    def exempts(self, name: str, packed: Packed, release: str) -> Entry | None:
        """The entry that exempts the module `name`, or None if it is not exempt.

        Raises:
            ShardsDifferError: the list names only some shards of a fused layer.
        """
        return skipped(name, self._names, packed, release) or self._loosely(name)

    def _loosely(self, name: str) -> Entry | None:
        return next(self._loose(name), None)

    def _loose(self, name: str) -> Iterator[Entry]:
        yield from (e for e in self._entries if e.text != name and e.text in name)
        yield from (entry for entry, pattern in self._patterns if pattern.match(name))


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _compiled(entry: Entry) -> re.Pattern[str]:
    try:
        return re.compile(translate(entry.text))
    except re.error as error:
        raise PatternError(entry, f"error: {error}", hangs=False) from error


def spread(text: str) -> tuple[str, ...]:
    """An entry as the mapper of a model class leaves it: `X*` becomes `X` and `X.*`.

    The first of them is then a part of every name that begins with it.
    Source: `apply_vllm_mapper`.
    """
    if text.endswith("*") and not text.endswith(".*") and text != "*":
        return (text[:-1], f"{text[:-1]}.*")
    return (text,)
