"""Where everything stands in JSON text: a position-aware scan, linear and not recursive.

Python's own reader says whether the text is JSON; the scan then keeps positions
only for what pointers (RFC 6901) lead to.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mtpfix.errors import BrokenFileError, UsageError
from mtpfix.model import Json

BOM = b"\xef\xbb\xbf"
STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
KEY = re.compile(STRING + rb"(\s*:\s*)", re.DOTALL)
# `lastgroup` says what a token is (`text` or None: a scalar); commas are passed over.
TOKEN = re.compile(
    rb"(?P<text>" + STRING + rb")(?P<key>\s*:)?|(?P<open>[\[{])|(?P<close>[\]}])"
    rb'|[^][{},:"\s]+',
    re.DOTALL,
)


@dataclass(slots=True, eq=False)
class Node:
    """A value that pointers lead to or through, and what the edits do to its items."""

    token: str = ""
    parent: Node | None = None
    kind: str = ""  # first character: `{`, `[`, or that of a scalar
    children: dict[str, Node] = field(default_factory=dict)  # asked for, maybe absent
    met: int = 0  # how often the text holds it: more than once if a key is repeated
    index: int = 0  # its place among the items of its parent
    start: int = 0
    begin: int = 0
    end: int = 0
    starts: array[int] = field(default_factory=lambda: array("q"))  # of all its items
    ends: array[int] = field(default_factory=lambda: array("q"))

    claimed: bool = False  # an edit replaces, removes or makes it: no other may touch it
    created: list[Json] = field(default_factory=list)  # its items, if `/-` makes this list
    removed: set[int] = field(default_factory=set)
    replaced: dict[int, Json] = field(default_factory=dict)
    added: dict[int, list[tuple[str | None, Json]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def reach(self, path: Sequence[str]) -> Node:
        """The node at `path` below this one, made where it is missing."""
        node = self
        for token in path:
            if token not in node.children:
                node.children[token] = Node(token, node)
            node = node.children[token]
        return node

    def enter(self, kind: str, key: str, start: int, begin: int) -> Node | None:
        """Notes that an item begins in the text; gives its node if it is asked for."""
        index = len(self.starts)
        self.starts.append(start)
        node = self.children.get(key if self.kind == "{" else str(index))
        if node:
            node.met += 1
            node.kind, node.index, node.start, node.begin = kind, index, start, begin
        return node

    def child(self, token: str, where: str) -> Node:
        """The node of a token, once it is sure which place in the text it means."""
        if self.kind not in ("{", "["):
            raise BrokenFileError(f"{where}: {token!r} cannot stand in a value without items")
        node = self.children[token]
        if node.met > 1:
            raise BrokenFileError(
                f"{where}: the key {token!r} stands {node.met} times in one object",
                "keep one of them: programs disagree on which one counts",
            )
        return node


def line_of(raw: bytes, pointer: str) -> int | None:
    """The 1-based line on which a value begins; None if absent or behind a repeated key."""
    return lines_of(raw, [pointer])[0]


def lines_of(raw: bytes, pointers: Sequence[str]) -> tuple[int | None, ...]:
    """`line_of` for many pointers, from one scan.

    Raises:
        UsageError: a pointer is malformed.
        BrokenFileError: the text is not JSON.
    """
    paths = [path_of(pointer) for pointer in pointers]
    load(raw)
    holder = scan(raw, paths)
    newlines = [newline.start() for newline in re.finditer(rb"\n", raw)]
    lines: list[int | None] = []
    for path in paths:
        way = [holder.reach(path[: depth + 1]) for depth in range(len(path))]
        once = all(node.met == 1 for node in way)
        lines.append(bisect(newlines, way[-1].begin) + 1 if once else None)
    return tuple(lines)


def path_of(pointer: str) -> tuple[str, ...]:
    """The tokens of a pointer, below a list ("holder") whose one item is the document."""
    if (pointer and not pointer.startswith("/")) or re.search(r"~(?![01])", pointer):
        raise UsageError(f"{pointer!r} is not a JSON pointer")
    parts = pointer.split("/")[1:]
    return ("0", *(part.replace("~1", "/").replace("~0", "~") for part in parts))


def load(raw: bytes) -> Json:
    """Reads UTF-8 JSON."""
    try:
        return json.loads(raw.removeprefix(BOM).decode())
    except RecursionError:
        raise BrokenFileError("not usable as JSON: nested too deeply") from None
    except ValueError as error:  # also: not UTF-8, or an integer beyond Python's limit
        raise BrokenFileError(f"not valid JSON: {error}") from None


def scan(raw: bytes, paths: Sequence[Sequence[str]]) -> Node:
    """Finds all paths in one scan of text that is JSON; returns the holder."""
    holder = Node(kind="[")
    for path in paths:
        holder.reach(path)
    opened: list[Node | None] = [holder]  # None: nothing in there is asked for
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


def follow(holder: Node, path: Sequence[str], where: str) -> Node:
    """The node at a path that the text must hold once."""
    node = holder
    for depth, token in enumerate(path):
        node = node.child(token, where)
        if not node.met:
            raise UsageError(f"{where}: there is no /{'/'.join(path[1 : depth + 1])}")
    return node
