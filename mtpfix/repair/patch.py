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

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mtpfix.checkpoint.document import BOM, KEY, JsonDocument, Node, path_of
from mtpfix.errors import BrokenFileError, UsageError
from mtpfix.model import Edit, Json

_Cut = tuple[int, int, bytes]
"""Bytes `begin:end` of the old text, and what stands there in the new one."""


@dataclass(slots=True, eq=False)
class _EditedNode(Node):
    """A value, and what the edits do to its items."""

    claimed: bool = False  # an edit replaces, removes or makes it: no other may touch it
    created: list[Json] = field(default_factory=list)  # its items, if `/-` makes this list
    removed: set[int] = field(default_factory=set)
    replaced: dict[int, Json] = field(default_factory=dict)
    added: dict[int, list[tuple[str | None, Json]]] = field(
        default_factory=lambda: defaultdict(list)
    )


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
    paths = [path_of(edit.pointer) for edit in edits]
    document = JsonDocument(raw)
    holder = document.scan(paths, _EditedNode(kind="["))
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
    if json.dumps(JsonDocument(new).value) != json.dumps(_edited(document.value, edits)):
        raise RuntimeError("internal error: the edited text does not say what the edits ask for")
    return new


def apply_all(edits: Sequence[Edit], raw: Callable[[str], bytes]) -> dict[str, bytes]:
    """Applies edits of several files: path -> new text of each that is edited; as `apply`.

    Args:
        edits: what to change.
        raw: from the path of a file to its text.
    """
    names = dict.fromkeys(edit.file for edit in edits)
    return {name: apply(raw(name), [e for e in edits if e.file == name]) for name in names}


# --- reading the text --------------------------------------------------------


def _note(holder: _EditedNode, path: Sequence[str], edit: Edit) -> None:
    """Writes an edit down at the container that it changes."""
    where, last, op = f"{edit.file}: {edit.pointer}", path[-1], edit.op
    if op == "add" and last == "-" and _create(holder, path, edit):
        return
    inside = holder.follow(path[:-1], where)
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


def _create(holder: _EditedNode, path: Sequence[str], edit: Edit) -> bool:
    """Notes an addition to a list that is missing; False if something stands there."""
    where = f"{edit.file}: {edit.pointer}"
    above = holder.follow(path[:-2], where)
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

    def indent(self, node: Node) -> str | None:
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
        escape=raw.removeprefix(BOM).isascii(),
        inline_lists=lists[b""] > lists[b"\n"],
    )


def _splice(raw: bytes, holder: _EditedNode) -> bytes:
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


def _replacements(style: _Style, node: _EditedNode) -> Iterator[_Cut]:
    """Puts new values in the place of old ones, spread over lines as those were.

    What says the same already stays as it is spelled.
    """
    for index, value in node.replaced.items():
        begin, end = node.starts[index], node.ends[index]
        if node.kind == "{" and (key := KEY.match(style.raw, begin)):
            begin = key.end()
        old = style.raw[begin:end]
        if json.dumps(json.loads(old)) == json.dumps(value):
            continue
        filled = old[:1] in (b"{", b"[") and old[1:-1].strip()
        spread = b"\n" in old if filled else style.indent(node) is not None
        yield begin, end, style.render(value, style.margin(begin) if spread else None)


def _moves(style: _Style, node: _EditedNode) -> Iterator[_Cut]:
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


def _texts(style: _Style, node: _EditedNode) -> Iterator[tuple[int, list[bytes]]]:
    """The new items of a container as text, by the index that they go before."""
    indent, colon = style.indent(node), style.colon.encode()
    if node.kind == "{" and node.starts and (near := KEY.match(style.raw, node.starts[-1])):
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


def _glue(style: _Style, node: _EditedNode, index: int) -> bytes:
    """What stands between a new item and its neighbour: what the old ones have there."""
    near, indent = min(max(index - 1, 0), len(node.starts) - 2), style.indent(node)
    if near >= 0:
        return style.raw[node.ends[near] : node.starts[near + 1]]
    return (style.comma if indent is None else f",{style.newline}{indent}").encode()


def _refill(style: _Style, node: _EditedNode, texts: Sequence[bytes]) -> _Cut:
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
        *way, last = path_of(edit.pointer)
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
