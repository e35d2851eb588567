"""Lists of what stays unquantized (AWQ, fp8), with entries that hit an MTP block too. Pure.

Of these methods nothing gives a module numbers of its own. But an entry that takes the scheme from
modules of the block, and that modules of the target model need, can give way to their names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence

from mtpfix.model import Edit, Entry
from mtpfix.quant.schemes.share import Block, Proposal

Narrow = Callable[[str, str], str]
"""From an entry, and a name that holds it, to a narrower entry."""


def proposals(block: Block) -> Iterator[Proposal]:
    """Yield lists of narrower entries: of parts of names, and of whole names."""
    ours = "\n".join(name for share in block.quantized for name in share.names)
    entries = (entry for entry in block.view.ignore if entry.text and not entry.derived)
    wide = dict.fromkeys(entry.text for entry in entries if entry.text in ours)
    spared = "\n".join((ours, *block.trunk))

    def tail(entry: str, name: str) -> str:
        return _tail(part(entry, name), spared)

    for narrow in (tail, part, _whole):
        yield _proposal(block, wide, narrow)


def _proposal(block: Block, wide: Iterable[str], narrow: Narrow) -> Proposal:
    """Return the edits by which entries give way to names of the target model that they hit."""
    hits = {text: [name for name in block.plain if text in name] for text in wide}
    parts = {text: dict.fromkeys(narrow(text, name) for name in hits[text]) for text in hits}
    new = dict.fromkeys(part for found in parts.values() for part in found)
    view = block.view
    edits = [*_edits(view.file, view.ignore_pointer, view.ignore, parts, new)]
    for twin in view.twins:
        edits += _edits(twin.file, twin.pointer, twin.ignore, parts, new)
    schemes = (f"`{text}` gives way to {_listed(found)}" for text, found in parts.items())
    return Proposal(tuple(edits), tuple(schemes), len(new))


def _listed(names: Collection[str]) -> str:
    """Return the first of some names of the target model, and how many there are."""
    if not names:
        return "nothing"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"`{next(iter(names))}`{more}"


def _edits(
    file: str,
    pointer: str,
    entries: Sequence[Entry],
    gone: Container[str],
    new: Iterable[str],
) -> Iterator[Edit]:
    there = {entry.text for entry in entries}
    for entry in entries:
        if entry.text in gone:
            yield Edit(file, entry.pointer, "remove")
    if there:
        yield from (Edit(file, f"{pointer}/-", "add", text) for text in new if text not in there)


def part(entry: str, name: str) -> str:
    """Return a name up to the end of the word that an entry ends in."""
    end = name.index(entry) + len(entry)
    if entry.endswith("."):
        return name[:end]
    dot = name.find(".", end)
    return name if dot < 0 else name[:dot]


def _tail(name: str, spared: str) -> str:
    """Return the shortest end of a name, from the beginning of a word, that spares some names."""
    words, found = name.split("."), name
    for start in range(1, len(words)):
        rest = ".".join(words[start:])
        if rest in spared:
            break
        if not words[start].isdecimal():
            found = rest
    return found


def _whole(entry: str, name: str) -> str:  # noqa: ARG001 - one of two ways
    return name
