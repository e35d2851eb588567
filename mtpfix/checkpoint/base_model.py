"""The base of a checkpoint, as model cards name it: `base_model`, and that of the base in turn."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mtpfix.checkpoint.source import Source
from mtpfix.errors import MtpfixError

CARD = "README.md"
CARD_LIMIT = 1 << 20
"""Bytes of the longest model card that is read."""
ENTRY_LIMIT = 1 << 12
"""Characters of the longest `base_model` entry that is parsed."""
MOST_BRACKETS = 16
"""Brackets that may be opened in it; the time of the parser grows with the square of them."""
LONGEST_ID = 96
"""Characters of the longest name of a repo."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<![.-])", re.ASCII)
_KEY = re.compile(r"([\"']?)base_model\1\s*:")
_MORE = re.compile(r"[ \t#-]|$")
_BRACKET = re.compile(r"[\[{]")
_LINES = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Visit:
    """A repo on the way from a checkpoint to its base.

    Attributes:
        name: `org/name`, as the model card has it.
        found: whether it holds an MTP block; `unreadable`: nobody knows.
        reason: why it is unreadable, in one line.
        revision: hash of the commit that was looked at; None: it could not be opened.
    """

    name: str
    found: Literal["block", "no block", "unreadable"]
    reason: str = ""
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """The way from a checkpoint to the first base that holds an MTP block.

    Attributes:
        visits: the repos that were looked at, in order.
        donor: name of the one that holds the block; None: there is none.
        reason: why there is none, in one line.
    """

    visits: tuple[Visit, ...]
    donor: str | None
    reason: str = ""

    @property
    def revision(self) -> str | None:
        """Return the commit of the donor that was looked at."""
        return self.visits[-1].revision if self.donor is not None else None


def base_models(card: str) -> tuple[str, ...]:
    """Return the repos that a model card names as `base_model`, in order, each of them once.

    A card that nobody vouches for: of its front matter only the lines of this entry are parsed,
    so that faults in others do no harm, and names that cannot be those of a repo are left out.
    """
    entry = _entry(card[:CARD_LIMIT])
    if entry is None or len(entry) > ENTRY_LIMIT or len(_BRACKET.findall(entry)) > MOST_BRACKETS:
        return ()
    import yaml  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        parsed = yaml.safe_load(entry)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ()
    value = parsed.get("base_model") if isinstance(parsed, dict) else None
    names = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and is_repo(name)))


def is_repo(name: str) -> bool:
    """Return whether a text can be the name of a repo: `org/name`."""
    return (
        len(name) <= LONGEST_ID
        and _REPO.fullmatch(name) is not None
        and not any(part in name for part in ("--", ".."))
        and not name.endswith(".git")
    )


def _entry(card: str) -> str | None:
    """Return the lines of the `base_model` entry of the front matter."""
    first, *lines = _LINES.split(card.lstrip("\ufeff \t\r\n"))
    if first.rstrip() != "---":
        return None
    end = next((at for at, line in enumerate(lines) if line.rstrip() == "---"), 0)
    start = next((at for at, line in enumerate(lines[:end]) if _KEY.match(line)), None)
    if start is None:
        return None
    # It goes on as far as lines are indented, or are items, comments or empty.
    after = (at for at in range(start + 1, end) if not _MORE.match(lines[at]))
    return "\n".join(lines[start : next(after, end)])


def follow(
    source: Source,
    open_source: Callable[[str], Source],
    has_block: Callable[[Source], bool],
    limit: int = 8,
) -> Trail:
    """Return the way from a checkpoint to the first of its bases that holds an MTP block.

    A quantization names the model that was quantized, that one the model that it was tuned from,
    and so on. Where a card names several, they are looked at in order, before their own bases.

    Args:
        source: the checkpoint to begin at; whether it holds a block is not asked.
        open_source: opens a repo by its name.
        has_block: whether a repo holds an MTP block.
        limit: repos that are looked at.
    """
    visits: list[Visit] = []
    names, reason = _bases(source)
    seen, waiting = {source.target().name.lower()}, deque(names)
    while waiting:
        name = waiting.popleft()
        if name.lower() in seen:
            reason = f"the model cards lead back to {name}"
            continue
        if len(visits) == limit:
            return Trail(tuple(visits), None, f"none of the first {limit} repos has a block")
        seen.add(name.lower())
        try:
            opened = open_source(name)
        except MtpfixError as error:
            visits.append(Visit(name, "unreadable", error.message))
            reason = error.message
            continue
        visits.append(_visit(name, opened, has_block))
        if visits[-1].found == "block":
            return Trail(tuple(visits), name)
        names, reason = _bases(opened)
        waiting.extend(names)
    return Trail(tuple(visits), None, reason)


def _visit(name: str, source: Source, has_block: Callable[[Source], bool]) -> Visit:
    revision = source.target().revision
    try:
        return Visit(name, "block" if has_block(source) else "no block", revision=revision)
    except MtpfixError as error:  # such as a repo of another format: its card may help all the same
        return Visit(name, "unreadable", error.message, revision)


def _bases(source: Source) -> tuple[tuple[str, ...], str]:
    """Return the bases that a checkpoint names, or why it names none."""
    name = source.target().name
    if CARD not in source.list():
        return (), f"{name}: it has no model card"
    try:
        card = source.read(CARD, limit=CARD_LIMIT)
    except MtpfixError as error:
        return (), error.message
    found = base_models(card.decode("utf-8", "replace"))
    return found, "" if found else f"{name}: its model card names no base_model"
