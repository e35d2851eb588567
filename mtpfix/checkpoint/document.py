"""A JSON document and where everything stands in its text.

Python's own reader says whether the text is JSON; a scan, linear and not recursive, then keeps
positions only for what pointers (RFC 6901) lead to.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from mtpfix.errors import BrokenFileError, UsageError
from mtpfix.model import Json

if TYPE_CHECKING:
    from typing_extensions import Self

BOM = b"\xef\xbb\xbf"
STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
KEY = re.compile(STRING + rb"(\s*:\s*)", re.DOTALL)
# `lastgroup` says what a token is; commas are passed over.
TOKEN = re.compile(
    rb"(?P<text>" + STRING + rb")(?P<key>\s*:)?|(?P<open>[\[{])|(?P<close>[\]}])"
    rb"|(?P<constant>-?Infinity|NaN)"
    rb"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(?P<word>true|false|null)",
    re.DOTALL,
)


@dataclass(slots=True, eq=False)
class Node:
    """A value that pointers lead to or through."""

    token: str = ""
    parent: Self | None = None
    kind: str = ""  # first character: `{`, `[`, or that of a scalar
    children: dict[str, Self] = field(default_factory=dict)  # asked for, maybe absent
    met: int = 0  # how often the text holds it: more than once if a key is repeated
    index: int = 0  # its place among the items of its parent
    start: int = 0
    begin: int = 0
    end: int = 0
    starts: array[int] = field(default_factory=lambda: array("q"))  # of all its items
    ends: array[int] = field(default_factory=lambda: array("q"))

    def reach(self, path: Sequence[str]) -> Self:
        """Return the node at `path` below this one, made where it is missing."""
        node = self
        for token in path:
            if token not in node.children:
                node.children[token] = type(self)(token, node)
            node = node.children[token]
        return node

    def enter(self, kind: str, key: str, start: int, begin: int) -> Self | None:
        """Note that an item begins in the text; return its node if it is asked for."""
        index = len(self.starts)
        self.starts.append(start)
        node = self.children.get(key if self.kind == "{" else str(index))
        if node:
            node.met += 1
            node.kind, node.index, node.start, node.begin = kind, index, start, begin
        return node

    def child(self, token: str, where: str) -> Self:
        """Return the node of a token, once it is sure which place in the text it means."""
        if self.kind not in ("{", "["):
            raise BrokenFileError(f"{where}: {token!r} cannot stand in a value without items")
        node = self.children[token]
        if node.met > 1:
            raise BrokenFileError(
                f"{where}: the key {token!r} stands {node.met} times in one object",
                "keep one of them: programs disagree about which one counts",
            )
        return node

    def follow(self, path: Sequence[str], where: str) -> Self:
        """Return the node at a path that the text must hold once."""
        node = self
        for depth, token in enumerate(path):
            node = node.child(token, where)
            if not node.met:
                raise UsageError(f"{where}: there is no /{'/'.join(path[1 : depth + 1])}")
        return node


_Holder = TypeVar("_Holder", bound=Node)


class JsonDocument:
    """JSON text: what it says, and where.

    Args:
        raw: UTF-8, with or without BOM.

    Raises:
        BrokenFileError: the text is not JSON.

    Attributes:
        raw: the text.
        value: what it says, as Python's reader has it.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.value: Json
        try:
            self.value = json.loads(raw.removeprefix(BOM).decode())
        except RecursionError:
            raise BrokenFileError("not usable as JSON: nested too deeply") from None
        except ValueError as error:  # also: not UTF-8, or an integer beyond Python's limit
            raise BrokenFileError(f"not valid JSON: {error}") from None

    def line_of(self, pointer: str) -> int | None:
        """Return the 1-based line of a value; None if absent or behind a repeated key.

        Raises:
            UsageError: the pointer is malformed.
        """
        return self.lines_of([pointer])[0]

    def lines_of(self, pointers: Sequence[str]) -> tuple[int | None, ...]:
        """Return what `line_of` says of many pointers, from one scan."""
        paths = [path_of(pointer) for pointer in pointers]
        holder = self.scan(paths, Node(kind="["))
        newlines = [newline.start() for newline in re.finditer(rb"\n", self.raw)]
        lines: list[int | None] = []
        for path in paths:
            way = [holder.reach(path[: depth + 1]) for depth in range(len(path))]
            once = all(node.met == 1 for node in way)
            lines.append(bisect(newlines, way[-1].begin) + 1 if once else None)
        return tuple(lines)

    def scan(self, paths: Sequence[Sequence[str]], holder: _Holder) -> _Holder:
        """Find all paths in one scan; return the holder, with what stands below it."""
        raw = self.raw
        for path in paths:
            holder.reach(path)
        opened: list[_Holder | None] = [holder]  # None: nothing in there is asked for
        key, start = "", 0
        for token in TOKEN.finditer(raw, len(BOM) if raw.startswith(BOM) else 0):
            begin, end = token.span()
            kind, inside, node = token.lastgroup, opened[-1], None
            if kind == "close":
                node = opened.pop()
                inside = opened[-1]
            elif kind == "key":
                if inside:
                    text = token["text"]
                    key, start = json.loads(text) if b"\\" in text else text[1:-1].decode(), begin
                continue
            elif inside:
                first = start if inside.kind == "{" else begin
                node = inside.enter(chr(raw[begin]), key, first, begin)
            if kind == "open":
                opened.append(node)
                continue
            if inside:
                inside.ends.append(end)
            if node:
                node.end = end
        return holder


def path_of(pointer: str) -> tuple[str, ...]:
    """Return the tokens of a pointer, below a list ("holder") whose one item is the document."""
    if (pointer and not pointer.startswith("/")) or re.search(r"~(?![01])", pointer):
        raise UsageError(f"{pointer!r} is not a JSON pointer")
    parts = pointer.split("/")[1:]
    return ("0", *(part.replace("~1", "/").replace("~0", "~") for part in parts))


def value_at(value: Json, pointer: str, otherwise: Json = None) -> Json:
    """Return what stands at a pointer of a document that was read.

    Args:
        value: the document.
        pointer: a JSON pointer.
        otherwise: what is returned where nothing stands there.
    """
    for token in path_of(pointer)[1:]:
        if isinstance(value, Mapping) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return otherwise
    return value
