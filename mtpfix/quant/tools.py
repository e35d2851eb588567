"""Quantizers: what each takes as exclusions, in its spelling, and what it leaves behind. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mtpfix.errors import UsageError
from mtpfix.model import Json
from mtpfix.quant.spelling import demand, patterns

_ESCAPED = re.compile(r"\\(\W)")
_QUARK = patterns(lambda name: name, mark="re:")
"""How entries of Quark's metadata are read; its quantizer reads wildcards."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One quantizer.

    Attributes:
        name: as the command line has it.
        title: as people spell it.
        aliases: other names that people give it, such as that of its package.
        methods: the methods whose metadata it writes, the usual one first.
        forms: for each form of an answer the keys around it, or text around `{value}`.
        where: which call takes it.
        after: what was seen to remain to be done after it has saved.
        evidence: what that was seen of: `run`, or only `read`, and the release.
        entries: how it reads entries, where not as the engines read its metadata: `wildcards`,
            `quantizers` (wildcards for names below those of modules), or `brackets` (patterns, but
            an escaped character must stand in brackets).
        usual: what its own recipes exclude.
        item: what each entry becomes in a list; None: itself.
        value: what each entry is the key of; None: they are a list.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    methods: tuple[str, ...]
    forms: Mapping[str, str | list[str]]
    where: str
    after: tuple[str, ...]
    evidence: str
    entries: str = "stored"
    usual: tuple[str, ...] = ()
    item: Mapping[str, Json] | None = None
    value: Json = None

    def spelled(self, entry: str) -> tuple[str, ...]:
        """Return an entry of the metadata as this tool reads it; two where it has no single one."""
        if self.entries == "brackets":
            # It escapes every dot that is not in brackets, even one that is escaped already.
            return (_ESCAPED.sub(r"[\1]", entry),)
        if self.entries == "quantizers":
            return (entry if entry.endswith("*") else f"{entry}.*",)
        if self.entries == "wildcards":
            return tuple(_wildcards(entry))
        return (entry,)

    def exclusions(self, entries: tuple[str, ...]) -> Json:
        """Return what the tool takes, without the keys around it.

        Args:
            entries: those of the metadata.
        """
        spelled = [*self.usual, *(text for entry in entries for text in self.spelled(entry))]
        if self.value is not None:
            return dict.fromkeys(spelled, self.value)
        if self.item is None:
            return list(spelled)
        return [
            {key: text if value == "{entry}" else value for key, value in self.item.items()}
            for text in spelled
        ]


def _wildcards(entry: str) -> Iterator[str]:
    wanted = demand(entry, _QUARK)
    if wanted is None:
        return
    if wanted.ends == "open":
        yield f"{wanted.text}*"
        return
    yield wanted.text
    if wanted.ends == "component":
        yield f"{wanted.text}.*"


def names() -> tuple[str, ...]:
    """Return every tool."""
    return tuple(_tools())


def tool(name: str) -> Tool:
    """Return a tool by its name or an alias, however it is written.

    Raises:
        UsageError: it is none.
    """
    found = _find(name)
    if found is None:
        raise UsageError(
            f"mtpfix does not know the tool {name!r:.60}", f"choose one of: {', '.join(names())}"
        )
    return found


def method_named(name: str) -> str:
    """Return the method that is meant by a name, which may be that of a tool.

    Args:
        name: a method, a tool, or an alias of a tool; what is none of them is returned as it is.
    """
    found = _find(name)
    return name if found is None or name in found.methods else found.methods[0]


def method_for(found: Tool, method: str | None) -> str:
    """Return the method that a tool is to write.

    Args:
        found: the tool.
        method: a method, or a tool by which it is meant; None: what the tool usually writes.

    Raises:
        UsageError: the tool does not write it.
    """
    if method is None:
        return found.methods[0]
    meant = method_named(method)
    if meant not in found.methods:
        raise UsageError(
            f"{found.title} does not write the method {method!r:.60}",
            f"choose one of: {', '.join(found.methods)}",
        )
    return meant


def spelled_otherwise(method: str) -> Tool | None:
    """Return the tool that writes a method's metadata and takes entries in another spelling."""
    own = (each for each in _tools().values() if each.entries != "stored")
    return next((each for each in own if method in each.methods), None)


def _find(name: str) -> Tool | None:
    plain = name.lower().replace("_", "-")
    fits = (found for found in _tools().values() if plain in {found.name, *found.aliases})
    return next(fits, None)


@cache
def _tools() -> dict[str, Tool]:
    data = files("mtpfix.quant") / "tools.json"
    rows = json.loads(data.read_text("utf-8"))["tools"]
    return {name: _parsed(name, row) for name, row in rows.items()}


def _parsed(name: str, row: Mapping[str, Any]) -> Tool:
    lists = ("aliases", "methods", "after", "usual")
    values: dict[str, Any] = {key: tuple(v) if key in lists else v for key, v in row.items()}
    return Tool(name, **values)
