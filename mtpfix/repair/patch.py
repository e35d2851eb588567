"""Edits applied to JSON text so that every byte they do not concern stays.

All edits of one call speak of the ORIGINAL document: indexes are those of the
list as it was read, and nothing that one edit adds or removes shifts another.
`add` at a list index goes before the original item of that index, `/-` after the
last one; additions to one place keep the order of the edits. `add` of a key that
exists replaces its value, as RFC 6902 has it. Two edits of one value, or an edit
inside a value that another edit replaces or removes, are refused.

Python's own reader says whether the text is JSON. Then one scan, linear and not
recursive, finds where everything stands that the edits concern. What comes out
is read again and compared with the edits applied to plain values.
"""

from __future__ import annotations

import difflib
import io
import json
import re
from array import array
from bisect import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mtpfix.errors import BrokenFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mtpfix.model import Edit, Json

_BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY = re.compile(_STRING + rb"(\s*:\s*)", re.DOTALL)
# `lastgroup` says what a token is (`text` or None: a scalar); commas are passed over.
_TOKEN = re.compile(
    rb"(?P<text>" + _STRING + rb")(?P<key>\s*:)?|(?P<open>[\[{])|(?P<close>[\]}])"
    rb'|[^][{},:"\s]+',
    re.DOTALL,
)

_Cut = tuple[int, int, bytes]
"""Bytes `begin:end` of the old text, and what stands there in the new one."""


class Span(NamedTuple):
    """Where a value stands in the text, in bytes from the beginning of the file."""

    begin: int
    end: int
    start: int
    """First byte of the whole item: its key inside an object, else `begin`."""


@dataclass(slots=True, eq=False)
class _Node:
    """A value that pointers lead to or through, and what the edits do to its items."""

    token: str = ""
    parent: _Node | None = None
    kind: str = ""  # first character: `{`, `[`, or that of a scalar
    children: dict[str, _Node] = field(default_factory=dict)  # asked for, maybe absent
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

    def reach(self, path: Sequence[str]) -> _Node:
        """The node at `path` below this one, made where it is missing."""
        node = self
        for token in path:
            if token not in node.children:
                node.children[token] = _Node(token, node)
            node = node.children[token]
        return node

    def enter(self, kind: str, key: str, start: int, begin: int) -> _Node | None:
        """Notes that an item begins in the text; gives its node if it is asked for."""
        index = len(self.starts)
        self.starts.append(start)
        node = self.children.get(key if self.kind == "{" else str(index))
        if node:
            node.met += 1
            node.kind, node.index, node.start, node.begin = kind, index, start, begin
        return node

    def child(self, token: str, where: str) -> _Node:
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


def locate(raw: bytes, pointer: str) -> Span:
    """Finds the value at `pointer` (RFC 6901) in JSON text.

    Raises:
        UsageError: the pointer is malformed, or nothing stands there.
        BrokenFileError: the text is not JSON, or a key on the way stands twice.
    """
    path = _path(pointer)
    _load(raw)
    node = _follow(_scan(raw, [path]), path, pointer)
    return Span(node.begin, node.end, node.start)


def line_of(raw: bytes, pointer: str) -> int | None:
    """The 1-based line on which a value begins; None if absent or behind a repeated key."""
    return lines_of(raw, [pointer])[0]


def lines_of(raw: bytes, pointers: Sequence[str]) -> tuple[int | None, ...]:
    """`line_of` for many pointers, from one scan.

    Raises:
        UsageError: a pointer is malformed.
        BrokenFileError: the text is not JSON.
    """
    paths = [_path(pointer) for pointer in pointers]
    _load(raw)
    holder = _scan(raw, paths)
    newlines = [newline.start() for newline in re.finditer(rb"\n", raw)]
    lines: list[int | None] = []
    for path in paths:
        way = [holder.reach(path[: depth + 1]) for depth in range(len(path))]
        once = all(node.met == 1 for node in way)
        lines.append(bisect(newlines, way[-1].begin) + 1 if once else None)
    return tuple(lines)


def apply(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """Applies edits of one file to its text; all other bytes stay as they are.

    New items imitate their neighbours (own line or inline, indentation,
    separators), and the document where they have none. A list that is missing
    is created when `/-` is added to it. Non-ASCII text is written raw if the
    file holds any, else escaped. A container that loses all its items becomes
    `[]` or `{}`.

    Args:
        raw: the file as read: UTF-8, with or without BOM.
        edits: what to change, in the sense of the module docstring.

    Raises:
        UsageError: an edit is malformed, contradicts another, or names a place
            that does not exist.
        BrokenFileError: the text is not JSON, is too deeply nested for Python's
            reader, repeats a key on the way, or holds another type there.
    """
    if len({edit.file for edit in edits}) > 1:
        raise UsageError("the edits of one call must concern one file")
    paths = [_path(edit.pointer) for edit in edits]
    value = _load(raw)
    holder = _scan(raw, paths)
    for path, edit in zip(paths, edits, strict=True):
        _note(holder, path, edit)
    for path, edit in zip(paths, edits, strict=True):
        above = holder.reach(path).parent
        while above:
            if above.claimed:
                raise UsageError(f"{edit.file}: {edit.pointer}: another edit changes what holds it")
            above = above.parent
    new = _splice(raw, holder)
    # As text, for == does not tell 1, 1.0 and true apart.
    if json.dumps(_load(new)) != json.dumps(_edited(value, edits)):
        raise RuntimeError("internal error: the edited text does not say what the edits ask for")
    return new


def diff(old: bytes, new: bytes, name: str) -> str:
    r"""A unified diff with three lines of context; empty if nothing differs.

    Lines end at `\n` only, so a `\r` before it is kept as part of the line; a
    missing final newline is marked the way git marks it.
    """
    before, after = (
        list(io.StringIO(text.decode("utf-8", "replace"), newline="\n")) for text in (old, new)
    )
    lines = [f"--- a/{name}\n", f"+++ b/{name}\n"]
    for hunk in _Matcher(before, after).get_grouped_opcodes(3):
        (_, begin, _, start, _), (_, _, end, _, stop) = hunk[0], hunk[-1]
        lines.append(f"@@ -{_range(begin, end)} +{_range(start, stop)} @@\n")
        for tag, first, last, low, high in hunk:
            if tag == "equal":
                lines += (f" {line}" for line in before[first:last])
            else:
                lines += (f"-{line}" for line in before[first:last])
                lines += (f"+{line}" for line in after[low:high])
    marked = (ln if ln.endswith("\n") else f"{ln}\n\\ No newline at end of file\n" for ln in lines)
    return "".join(marked) if old != new else ""


class _Matcher(difflib.SequenceMatcher[str]):
    """Meets differences from the top down, looking near first.

    The matcher of the library looks for the longest run of the whole text each
    time, which takes minutes for a long list with many changes.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self.before, self.after = before, after
        super().__init__(None, before, after)

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        """The equal lines at the top; if there are none, the longest run in reach."""
        ends = len(self.before) if ahi is None else ahi, len(self.after) if bhi is None else bhi
        size, most = 0, min(ends[0] - alo, ends[1] - blo)
        while size < most and self.before[alo + size] == self.after[blo + size]:
            size += 1
        reach = 256
        while not size:
            near = min(ends[0], alo + reach), min(ends[1], blo + reach)
            match = super().find_longest_match(alo, near[0], blo, near[1])
            if match.size or near == ends:
                return match
            reach *= 2
        return difflib.Match(alo, blo, size)


def _range(begin: int, end: int) -> str:
    """Lines `begin:end`, counted from 0, the way a hunk header writes them."""
    size = end - begin
    return f"{begin + (size > 0)}" if size == 1 else f"{begin + (size > 0)},{size}"


# --- reading the text --------------------------------------------------------


def _path(pointer: str) -> tuple[str, ...]:
    """The tokens of a pointer, below a list ("holder") whose one item is the document."""
    if (pointer and not pointer.startswith("/")) or re.search(r"~(?![01])", pointer):
        raise UsageError(f"{pointer!r} is not a JSON pointer")
    parts = pointer.split("/")[1:]
    return ("0", *(part.replace("~1", "/").replace("~0", "~") for part in parts))


def _load(raw: bytes) -> Json:
    """Reads UTF-8 JSON."""
    try:
        return json.loads(raw.removeprefix(_BOM).decode())
    except RecursionError:
        raise BrokenFileError("not usable as JSON: nested too deeply") from None
    except ValueError as error:  # also: not UTF-8, or an integer beyond Python's limit
        raise BrokenFileError(f"not valid JSON: {error}") from None


def _scan(raw: bytes, paths: Sequence[Sequence[str]]) -> _Node:
    """Finds all paths in one scan of text that is JSON; returns the holder."""
    holder = _Node(kind="[")
    for path in paths:
        holder.reach(path)
    opened: list[_Node | None] = [holder]  # None: nothing in there is asked for
    key, start = "", 0
    for token in _TOKEN.finditer(raw, len(_BOM) if raw.startswith(_BOM) else 0):
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


def _follow(holder: _Node, path: Sequence[str], where: str) -> _Node:
    """The node at a path that the text must hold once."""
    node = holder
    for depth, token in enumerate(path):
        node = node.child(token, where)
        if not node.met:
            raise UsageError(f"{where}: there is no /{'/'.join(path[1 : depth + 1])}")
    return node


def _note(holder: _Node, path: Sequence[str], edit: Edit) -> None:
    """Writes an edit down at the container that it changes."""
    where, last, op = f"{edit.file}: {edit.pointer}", path[-1], edit.op
    if op == "add" and last == "-" and _create(holder, path, edit):
        return
    inside = _follow(holder, path[:-1], where)
    leaf, count = inside.child(last, where), len(inside.starts)
    if op == "add" and inside.kind == "[" and edit.pointer:
        if not leaf.met and last not in ("-", str(count)):
            raise UsageError(f"{where}: a list of {count} items has no such place")
        inside.added[leaf.index if leaf.met else count].append((None, edit.value))
        return
    if leaf.claimed:
        raise UsageError(f"{where}: two edits change this value")
    leaf.claimed = True
    if op == "remove" and leaf.met and edit.pointer:
        inside.removed.add(leaf.index)
    elif op != "remove" and leaf.met:
        inside.replaced[leaf.index] = edit.value
    elif op == "add":
        inside.added[count].append((last, edit.value))
    else:
        raise UsageError(f"{where}: there is nothing to {op}")


def _create(holder: _Node, path: Sequence[str], edit: Edit) -> bool:
    """Notes an addition to a list that is missing; False if something stands there."""
    where = f"{edit.file}: {edit.pointer}"
    above = _follow(holder, path[:-2], where)
    missing = above.child(path[-2], where)
    if missing.kind == "{":
        raise BrokenFileError(f"{where}: an object stands where a list is expected")
    if above.kind != "{" or missing.met:
        return False
    if not missing.created:
        above.added[len(above.starts)].append((missing.token, missing.created))
    missing.created.append(edit.value)
    return True


# --- writing the text --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Style:
    """How a document is written, for places that have no neighbour to imitate."""

    raw: bytes
    newline: str
    unit: str  # one step of indentation
    colon: str
    comma: str  # between items of one line
    escape: bool
    inline_lists: bool  # most lists stand on one line, whatever the objects do

    def render(self, value: Json, indent: str | None) -> bytes:
        """Writes a value; `indent` is that of its line, None keeps it on one line."""
        flat = indent is None or (self.inline_lists and isinstance(value, list))
        text = json.dumps(
            value,
            ensure_ascii=self.escape,
            indent=None if flat else self.unit,
            separators=(self.comma if flat else ",", self.colon),
        )
        # A lone surrogate has no raw spelling; its replacement is just its JSON escape.
        return text.replace("\n", f"{self.newline}{indent}").encode("utf-8", "backslashreplace")

    def margin(self, offset: int) -> str:
        """The indentation of the line that holds `offset`."""
        line = self.raw[self.raw.rfind(b"\n", 0, offset) + 1 : offset]
        return line[: len(line) - len(line.lstrip(b" \t"))].decode()

    def indent(self, node: _Node) -> str | None:
        """The indentation of the items of a container; None if they stand on one line."""
        if node.parent is None:
            return None
        if node.starts:
            _, newline, indent = self.raw[node.begin + 1 : node.starts[0]].rpartition(b"\n")
            return indent.decode() if newline else None
        # An empty container does as the one around it.
        if (self.inline_lists and node.kind == "[") or self.indent(node.parent) is None:
            return None
        return self.margin(node.begin) + self.unit


def _style(raw: bytes) -> _Style:
    """Reads the style off the text; a wrong guess costs beauty, never validity."""
    unit = re.search(rb"\n([ \t]+)\S", raw)
    found = re.search(rb'(?<!\\)"([ \t]*:[ \t]*)', raw)
    colon = found[1].decode() if found else ": "
    lists = Counter(re.findall(rb'":\s*\[[ \t\r]*(\n?)\s*[^\s\]]', raw))
    return _Style(
        raw=raw,
        newline="\r\n" if re.match(rb"[^\n]*\r\n", raw) else "\n",
        unit=unit[1].decode() if unit else "",
        colon=colon,
        comma=", " if colon.endswith(" ") else ",",
        escape=raw.removeprefix(_BOM).isascii(),
        inline_lists=lists[b""] > lists[b"\n"],
    )


def _splice(raw: bytes, holder: _Node) -> bytes:
    """Carries out all edits that the nodes hold."""
    style, cuts, nodes = _style(raw), list[_Cut](), [holder]
    while nodes:
        node = nodes.pop()
        nodes += node.children.values()
        cuts += _replacements(style, node)
        if node.added or node.removed:
            cuts += _moves(style, node)
    parts, done = list[bytes](), 0
    for begin, end, text in sorted(cuts, key=lambda cut: cut[:2]):
        parts += (raw[done:begin], text)
        done = end
    return b"".join((*parts, raw[done:]))


def _replacements(style: _Style, node: _Node) -> Iterator[_Cut]:
    """Puts new values in the place of old ones, spread over lines as those were."""
    for index, value in node.replaced.items():
        begin, end = node.starts[index], node.ends[index]
        if node.kind == "{" and (key := _KEY.match(style.raw, begin)):
            begin = key.end()
        old = style.raw[begin:end]
        filled = old[:1] in (b"{", b"[") and old[1:-1].strip()
        spread = b"\n" in old if filled else style.indent(node) is not None
        yield begin, end, style.render(value, style.margin(begin) if spread else None)


def _moves(style: _Style, node: _Node) -> Iterator[_Cut]:
    """Takes items out and puts items in, each with one comma."""
    starts, ends, count = node.starts, node.ends, len(node.starts)
    new = dict(_texts(style, node))
    first = next(index for index in range(count + 1) if index not in node.removed)
    if first == count:  # nothing stays
        yield _refill(style, node, [text for index in sorted(new) for text in new[index]])
        return
    # Up to the first item that stays, an item goes with the comma after it, later
    # ones with the comma before; new items bring theirs likewise.
    for index in node.removed:
        ahead = index < first
        begin, end = (starts[index], starts[index + 1]) if ahead else (ends[index - 1], ends[index])
        yield begin, end, b""
    for index, texts in new.items():
        glue = _glue(style, node, index)
        if index > first:
            yield ends[index - 1], ends[index - 1], b"".join(glue + text for text in texts)
        else:
            yield starts[index], starts[index], b"".join(text + glue for text in texts)


def _texts(style: _Style, node: _Node) -> Iterator[tuple[int, list[bytes]]]:
    """The new items of a container as text, by the index that they go before."""
    indent, colon = style.indent(node), style.colon.encode()
    if node.kind == "{" and node.starts and (near := _KEY.match(style.raw, node.starts[-1])):
        colon = near[1]
    for index, items in node.added.items():
        yield (
            index,
            [
                (b"" if key is None else style.render(key, None) + colon)
                + style.render(value, indent)
                for key, value in items
            ],
        )


def _glue(style: _Style, node: _Node, index: int) -> bytes:
    """What stands between a new item and its neighbour: what the old ones have there."""
    near, indent = min(max(index - 1, 0), len(node.starts) - 2), style.indent(node)
    if near >= 0:
        return style.raw[node.ends[near] : node.starts[near + 1]]
    return (style.comma if indent is None else f",{style.newline}{indent}").encode()


def _refill(style: _Style, node: _Node, texts: Sequence[bytes]) -> _Cut:
    """Gives a container, all of whose items go, new ones or none."""
    body = _glue(style, node, 0).join(texts)
    if texts and node.starts:
        return node.starts[0], node.ends[-1], body
    indent = style.indent(node)
    if texts and indent is not None:
        line, last = f"{style.newline}{indent}", f"{style.newline}{style.margin(node.begin)}"
        body = line.encode() + body + last.encode()
    return node.begin + 1, node.end - 1, body


# --- checking the work -------------------------------------------------------


def _edited(value: Json, edits: Sequence[Edit]) -> Json:
    """What valid edits mean, on parsed values; `value` is changed in place."""
    holder: list[Json] = [value]
    lists: dict[int, tuple[list[Json], list[tuple[int, Edit]]]] = {}
    for edit in edits:
        *way, last = _path(edit.pointer)
        inside: Json = holder
        for token in way:
            inside = (
                inside[int(token)] if isinstance(inside, list) else inside.setdefault(token, [])
            )
        if not edit.pointer:
            holder[0] = edit.value
        elif isinstance(inside, list):
            index = len(inside) if last == "-" else int(last)
            lists.setdefault(id(inside), (inside, []))[1].append((index, edit))
        elif edit.op == "remove":
            del inside[last]
        else:
            inside[last] = edit.value
    for items, changes in lists.values():
        items[:] = _rebuilt(items, changes)
    return holder[0]


def _rebuilt(items: Sequence[Json], changes: Sequence[tuple[int, Edit]]) -> list[Json]:
    """A list after edits whose indexes all speak of `items`."""
    slots: list[list[Json]] = [*([item] for item in items), []]
    before: list[list[Json]] = [[] for _ in slots]
    for index, edit in changes:
        if edit.op == "add":
            before[index].append(edit.value)
        else:
            slots[index] = [edit.value] if edit.op == "replace" else []
    return [item for new, old in zip(before, slots, strict=True) for item in (*new, *old)]
