"""Construction-time names, and the entries for a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from json import dumps

from rich.text import Text

from mtpfix import facts
from mtpfix.errors import RefusedError
from mtpfix.quant.tools import spelled_otherwise
from mtpfix.recipe import Named, Names
from mtpfix.report import grid, ranges, wording
from mtpfix.report.grid import Block, Cell
from mtpfix.report.inert_text import ASCII, inert, inert_json
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.names/1"

Group = tuple[tuple[str, ...], tuple[Named, ...]]
"""Labels of releases, and the modules that they name alike."""


def text(found: Names, width: int, *, color: bool, ascii: bool) -> str:  # noqa: A002
    """A table for the newest releases, what differs in older ones, then the entries as YAML."""
    page = Page(width, color=color)
    for number, engine in enumerate(found.engines):
        if number:
            page.line()
        _put_engine(page, found, engine)
    page.line()
    for line in _about_entries(found):
        page.item(Text("# "), mooded(line, "quiet"))
    for line in yaml(found).splitlines():
        if not line.startswith("# "):
            page.line(line)
    shown = page.text()
    return shown.translate(ASCII) if ascii else shown


def _put_engine(page: Page, found: Names, engine: str) -> None:
    """Write what one engine calls the modules: its newest releases, then what differs in others."""
    groups = [(_own(labels, found, engine), named) for labels, named in found.groups]
    groups = [group for group in groups if group[0]]
    newest, *olders = sorted(groups, key=_age, reverse=True)
    page.line(mooded(f"{engine} {_span(newest[0], groups)}", "strong"))
    _put(page, newest[1])
    for releases, named in olders:
        page.line()
        as_new = f"{engine} {_span(releases, groups)}: the same, except"
        page.line(mooded(as_new, "strong"))
        _put(page, named, leave=newest[1])
        gone = {*map(_called, newest[1])} - {*map(_called, named)}
        if gone:
            page.item(mooded("  not there: ", "quiet"), Text(", ".join(map(inert, sorted(gone)))))


def _called(one: Named) -> str:
    """Return the name of a module, or where it stands if the engine has none for it."""
    return one.module.name or one.module.param


def _own(labels: Iterable[str], found: Names, engine: str) -> tuple[str, ...]:
    """Return the labels of one engine, without its title."""
    start = f"{engine} " if len(found.engines) > 1 else ""
    return tuple(label.removeprefix(start) for label in labels if label.startswith(start))


def _span(labels: Iterable[str], groups: Iterable[Group]) -> str:
    """Return releases of one engine as ranges."""
    known = [ranges.parse_label(label) for own, _ in groups for label in own]
    return ranges.labels([ranges.parse_label(label) for label in labels], known)


def _places(labels: Iterable[str], found: Names) -> str:
    """Return releases as ranges, each with its engine."""
    labels = tuple(labels)
    spans = []
    for engine in found.engines:
        groups = [(_own(each, found, engine), named) for each, named in found.groups]
        if own := _own(labels, found, engine):
            spans.append(f"{engine} {_span(own, groups)}")
    return " and ".join(spans)


def _about_entries(found: Names) -> Iterator[str]:
    """For which releases the entries are right, as comments above them."""
    far = ", as far as is known" if found.assumed else ""
    unserved = _places(found.unserved, found)
    what = "These entries are" if found.metadata is None else "This metadata is"
    if reason := why_empty(found):
        yield reason
    elif not found.unserved:
        yield f"{what} right for every release above{far}:"
    elif found.exit_code == 1:
        yield f"{what} not right for {unserved}; no others would be."
    else:
        right = _places(found.decisive, found)
        yield f"{what} right for {right}{far}."
        yield f"They are not right for {unserved}; no others would be."
    tool = spelled_otherwise(found.method) if found.entries else None
    if tool is not None:
        yield f"{tool.title} itself takes them in another spelling: `--for {tool.name}`."
    for name in found.other_lists:
        title = wording.engine(name)
        yield f"{title} reads another list: `--engine {name}` names its entries."


def why_empty(found: Names) -> str:
    """Return why there is no entry; empty where there is one, or other metadata."""
    if found.entries or found.metadata is not None:
        return ""
    if found.exit_code == RefusedError.exit_code:
        return f"No entry of {found.method} is right for {_places(found.unserved, found)}."
    if not any(one.module.asks for _, named in found.groups for one in named):
        return "No entry is needed: no module of the MTP block is ever quantized."
    right = _places(found.decisive, found)
    return f"No entry is needed: {right} builds the MTP block unquantized without one."


def not_right(found: Names) -> str:
    """Return for which releases the entries leave something wrong."""
    return f"Not right for {_places(found.unserved, found)}; no other entries would be."


def _age(group: Group) -> tuple[object, ...]:
    """Sorting key: the newest release of a group; where platforms part, CUDA leads."""
    release, platform = ranges.parse_label(max(group[0], key=ranges.age))
    return ranges.age(release), platform in ("", "cuda")


def yaml(found: Names) -> str:
    """The entries as YAML, under the key that the quantization method has for them.

    What a block that is to be quantized needs is JSON, which is YAML too. Where there is no entry,
    a comment says why.
    """
    if found.metadata is not None:
        return inert_json(dumps(found.metadata, indent=2)) + "\n"
    quoted = ["'" + inert(entry).replace("'", "''") + "'" for entry in found.entries]
    *above, key = found.key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate([*above, key])]
    indent = "  " * len(lines)
    if not quoted:
        lines[-1] += " []" if found.value is None else " {}"
    elif found.value is None:
        lines += [f"{indent}- {entry}" for entry in quoted]
    else:
        lines += [f"{indent}{entry}: {dumps(found.value)}" for entry in quoted]
    if reason := why_empty(found):
        lines.insert(0, f"# {reason}")
    return "\n".join(lines) + "\n"


def json(found: Names) -> str:
    """A document of schema `mtpfix.names/1`."""
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "family": found.family,
        "groups": [
            {"releases": releases, "modules": [_view(one) for one in named]}
            for releases, named in found.groups
        ],
        "method": found.method,
        "key": found.key,
        "value": found.value,
        "entries": found.entries,
        "stored": found.stored,
        "metadata": found.metadata,
        "assumed": found.assumed,
        "decisive": found.decisive,
        "unserved": found.unserved,
        "other_lists": found.other_lists,
        "exit_code": found.exit_code,
    }
    return f"{inert_json(dumps(document, indent=2, ensure_ascii=False))}\n"


def _view(one: Named) -> dict[str, object]:
    module = one.module
    return {
        "name": module.name,
        "kind": module.kind,
        "members": module.members,
        "asks": module.asks,
        "asked": one.asked,
    }


# --- rows --------------------------------------------------------------------


def _put(page: Page, named: Sequence[Named], leave: Sequence[Named] = ()) -> None:
    """The modules as a table, without those in `leave`."""
    grid.put(page, ("module", "kind", "on disk", "asked about"), list(_blocks(named, leave)))


def _blocks(named: Sequence[Named], leave: Sequence[Named]) -> Iterator[Block]:
    """Modules by layer; those outside of a layer first."""
    layers: dict[str, list[Named]] = {"": []}
    for one in named:
        layers.setdefault(grid.in_layer(one.module.name)[0], []).append(one)
    for root, members in layers.items():
        disk = _common(member for one in members for member in one.module.members)
        heading = f"{inert(root)}*" if root else ""
        if heading and disk and disk != root:
            heading += f"  on disk {inert(disk)}*"
        shown = [_row(one, root, disk if root else "") for one in members if one not in leave]
        if shown:
            yield Block(heading, shown)


def _row(one: Named, root: str, disk: str) -> tuple[Cell, Cell, Cell, Cell]:
    module = one.module
    name = module.name.removeprefix(root)
    stored = braced([inert(member.removeprefix(disk)) for member in module.members])
    return (
        grid.cell(inert(name) or f'"" ({inert(module.param.rpartition(".")[2])})'),
        grid.cell(module.kind, mood="quiet" if module.kind == "linear" else ""),
        grid.cell(stored, mood="quiet" if stored == name else ""),
        [_asked(one)],
    )


def _asked(one: Named) -> Text:
    """What the matcher compares, in short: the name itself, its shards, or below it."""
    name = one.module.name
    if not one.module.asks:
        return Text("never: always unquantized")
    if not one.asked:
        return mooded("nothing: no entry has an effect", "unsure")
    if not name:
        return mooded("as the empty name", "unsure")
    if one.asked[:1] != (name,):
        below = [inert(asked.removeprefix(name)) for asked in one.asked]
        return Text(f"only {braced(below)}")
    parent = name.rpartition(".")[0] + "."
    shards = [asked.removeprefix(parent) for asked in one.asked[1:]]
    return Text(", ".join(["itself", *map(inert, shards)]))


def braced(names: Sequence[str]) -> str:
    """Names with their common beginning written once: `mlp.{gate_proj,up_proj}`."""
    if len(names) < 2:  # noqa: PLR2004
        return "".join(names)
    start = names[0][: -len(names[0].rpartition(".")[2])]
    if not all(name.rpartition(".")[0] == start[:-1] for name in names):
        return ", ".join(names)
    return f"{start}{{{','.join(name.removeprefix(start) for name in names)}}}"


def _common(names: Iterable[str]) -> str:
    """The dotted prefix that all names share, with its last dot; empty if there is none."""
    parts = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1 or column[0] == "*":
            break
        shared.append(column[0])
    return "".join(f"{part}." for part in shared)
