"""How SGLang spells the entries of an fp8 list anew: with `model.` before them, and without. Pure.

Source: `Fp8Config.from_config`, before any name mapper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mtpfix.model import Entry

_MODEL = "model."


def spelled(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield both spellings of each entry; of those that have been through it, the one."""
    for entry in entries:
        if entry.written is not None:
            yield entry
            continue
        base = entry.text.removeprefix(_MODEL)
        for text in (base, f"{_MODEL}{base}"):
            yield replace(entry, text=text, written=entry.spelling)
