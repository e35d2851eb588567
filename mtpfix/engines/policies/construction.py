"""From a configuration and a policy to the modules that an engine constructs.

Pure: the names, kinds, classes and fused members of every module that the engine
asks a quantization method for, in the order in which it asks, and of those
that it builds unquantized without asking.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from msgspec import UNSET

from mtpfix.engines.policies.condition import Condition
from mtpfix.engines.policies.context import Context, first, fits, in_releases, unnoted
from mtpfix.engines.policies.expression import ExprError, Expression, Template, Value
from mtpfix.engines.policies.family import Family
from mtpfix.engines.policies.module import ModuleRow, Section
from mtpfix.engines.policies.policy import Policy
from mtpfix.errors import UnknownError
from mtpfix.model import Module, Part, Plain, Platform

MOST_LAYERS = 1024
"""More layers than any model has: a larger number is a mistake or an attack."""

MOST_EXPERTS = 1_000_000
"""More routed experts, over all layers, than any model has."""

AnyPolicy = Policy[Family]


@dataclass(frozen=True, slots=True)
class _Position:
    """Where the rows of a block stand: on which prefixes, in which layer."""

    prefix: str
    disk: str
    param: str
    layer: int | None
    asks: bool = True

    def inside(self, row: ModuleRow) -> _Position:
        """The place of a block that `row` puts below this one."""
        return replace(
            self,
            prefix=self.prefix + row.prefix,
            disk=self.disk + (row.prefix if row.disk is None else row.disk),
            param=self.param + (row.param if isinstance(row.param, str) else row.prefix),
            asks=self.asks and row.asks,
        )


ROOT = "block_root"
"""The field with the beginning of the MTP block's names on disk, where a loader takes several."""
FILES = "files_beside"
"""The field with the names of the JSON files that lie beside the draft's `config.json`."""
TOP_LEVEL = "top_level"
"""The field with the whole of `config.json`, whose values a text configuration may hide."""


def context(
    policy: AnyPolicy,
    config: Mapping[str, Value],
    release: str,
    platform: Platform,
    method: str = "compressed-tensors",
) -> Context:
    """The context that rows of `policy` are judged in, for one `config.json`.

    The fields are those of the text configuration, then those of the top level,
    then the engine's defaults for fields that the file leaves out.
    """
    known = policy.record
    nested = config.get(known.text) if known.text else None
    text = nested if isinstance(nested, Mapping) else config
    fields = {FILES: [], **known.defaults, **config, **text, TOP_LEVEL: config}
    for name, expression in known.derived.items():
        fields[name] = expression.value(fields)
    fields["mtp_layers"] = known.mtp_layers.value(fields)
    fields[ROOT] = next(iter(known.block_roots), "")
    bare = Context(release, platform, fields, depth=policy.knowledge.depth)
    return under_method(policy, bare, method)


def under_method(policy: AnyPolicy, context: Context, method: str) -> Context:
    """The context under metadata of another method: a release may hand them on to a third."""
    bare = replace(context, method=method)
    bare = replace(bare, method=policy.knowledge.method(policy, bare))
    return replace(bare, grade=policy.knowledge.grade(policy, bare))


def newest(policy: AnyPolicy, config: Mapping[str, Value]) -> Context:
    """The context where no release is chosen: for what is on disk they hardly differ."""
    return context(policy, config, policy.knowledge.newest, "cuda")


def counts(policy: AnyPolicy, context: Context) -> tuple[int, int]:
    """Number of trunk layers and of MTP layers that the configuration declares.

    Raises:
        UnknownError: a count is missing or not a number that a model can have.
    """
    known = policy.record.num_hidden_layers
    layers = _count(policy, known, known.value(context.fields))
    return layers, _mtp_layers(policy, context)


def _mtp_layers(policy: AnyPolicy, context: Context) -> int:
    granted = context.fields.get("mtp_layers")
    known = policy.record.mtp_layers
    return _count(policy, known, known.value(context.fields) if granted is None else granted)


def _count(policy: AnyPolicy, known: Expression, value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_LAYERS:
        field = next(iter(known.fields), str(known))
        raise UnknownError(
            f"{policy.title}: {field} = {value!r:.60} is not a number of layers",
            f"set {field} in config.json to a number from 0 to {MOST_LAYERS}",
        )
    return value


def spelled(policy: AnyPolicy, context: Context, stored: Collection[str]) -> Context:
    """The context with the beginning that the names of the MTP block have on disk.

    Args:
        policy: the family.
        context: what the configuration declares.
        stored: names of the tensors on disk.
    """
    for root in policy.record.block_roots:
        if any(name.startswith(root) for name in stored):
            return context.with_fields(**{ROOT: root})
    return context


def drafting(policy: AnyPolicy, context: Context, stored: Collection[str]) -> Context:
    """The context with the MTP layers that the engine takes for granted, by their names on disk.

    Some configuration classes take one layer where a file declares none; that is of
    interest only where tensors of it are stored.

    Args:
        policy: the family.
        context: what the configuration declares.
        stored: names of the tensors on disk.
    """
    context = spelled(policy, context, stored)
    row = first(policy.record.undeclared, context)
    if row is None or context.fields["mtp_layers"]:
        return context
    granted = context.with_fields(mtp_layers=row.value)
    roots = disk_roots(policy, granted)
    return granted if any(name.startswith(roots) for name in stored) else context


def modules(policy: AnyPolicy, context: Context, part: Part) -> tuple[Module, ...]:
    """Every module of one part, in the order of construction.

    Raises:
        UnknownError: the configuration does not fit the policy's rules.
    """
    found = tuple(_modules(policy, unnoted(context), part))
    if sum(module.experts for module in found) > MOST_EXPERTS:
        raise ExprError("more routed experts than any model has")
    return found


def modules_key(policy: AnyPolicy, context: Context, part: Part) -> Hashable:
    """What of a release and a platform the modules of a part rest on.

    Under one configuration, releases and platforms that share it build the same modules.
    """
    said, context = _conditions(policy, part), unnoted(context)
    return (
        part,
        tuple(in_releases(each, context.release, context.depth) for each in said.releases),
        context.platform if said.platforms else "",
        context.method,
        context.grade,
        repr(context.fields["mtp_layers"]),  # whatever a file may hold there
        policy.knowledge.class_of("experts", context.release),
    )


class _Conditions(NamedTuple):
    """What rows about modules hold for: every specifier, and whether any names platforms."""

    releases: tuple[str, ...]
    platforms: bool


@cache
def _conditions(policy: AnyPolicy, part: Part) -> _Conditions:
    known = policy.record
    sections = known.draft if part == "draft" else known.trunk
    inside = (row for section in sections for row in _rows_below(policy, section.modules))
    found: tuple[Condition, ...] = (*known.per_layer, *sections, *inside)
    releases = dict.fromkeys(row.releases for row in found)
    return _Conditions(tuple(releases), any(row.platforms is not None for row in found))


def _rows_below(policy: AnyPolicy, rows: Iterable[ModuleRow]) -> Iterator[ModuleRow]:
    """Some rows, with those of the blocks that they use."""
    for row in rows:
        yield row
        yield from _rows_below(policy, () if row.use is None else policy.knowledge.block(row.use))


def _modules(policy: AnyPolicy, context: Context, part: Part) -> Iterator[Module]:
    for row, place, inner in _rows_of(policy, context, part):
        if row.name is not None:
            yield _module(policy, row, place, inner, part)


def plain(policy: AnyPolicy, context: Context) -> tuple[Plain, ...]:
    """Every parameter of the draft that belongs to none of its modules, such as a norm.

    One that several tensors fill, each a part, is there once for each.

    Raises:
        UnknownError: the configuration does not fit the policy's rules.
    """
    found: dict[str, tuple[Plain, ...]] = {}
    for row, place, _ in _rows_of(policy, unnoted(context), "draft"):
        if row.plain is None:
            continue
        names = row.plain
        spelled = names.items() if isinstance(names, dict) else zip(names, names, strict=True)
        at = place.inside(row)
        own: dict[str, tuple[Plain, ...]] = {}
        for stored, param in spelled:
            path = param[1:] if param.startswith("/") else at.param + param
            part = Plain(_on_disk(stored, at), path, place.layer, row.optional)
            own[path] = (*own.get(path, ()), part)
        for path, parts in own.items():
            found.setdefault(path, parts)
    return tuple(part for parts in found.values() for part in parts)


_Placed = tuple[ModuleRow, _Position, Context]
"""A row of a policy, and where it stands."""


def _rows_of(policy: AnyPolicy, context: Context, part: Part) -> Iterator[_Placed]:
    """The rows of one part that hold for the configuration, layer by layer."""
    for section, place, inner in _sections(policy, context, part):
        yield from _rows(policy, section.modules, place, inner)


def target_layers(policy: AnyPolicy, context: Context) -> dict[str, str]:
    """What the names of the target's layers begin with on disk -> in the module tree.

    Raises:
        UnknownError: the configuration does not fit the policy's rules.
    """
    places = (place for _, place, _ in _sections(policy, context, "trunk"))
    return {place.disk: place.param for place in places if place.layer is not None}


def _sections(
    policy: AnyPolicy, context: Context, part: Part
) -> Iterator[tuple[Section, _Position, Context]]:
    """The sections of one part that hold, as often as they are repeated."""
    for section in policy.record.draft if part == "draft" else policy.record.trunk:
        if not fits(section, context):
            continue
        repeat = 1 if section.repeat is None else section.repeat.value(context.fields)
        if not isinstance(repeat, int) or not 0 <= repeat <= MOST_LAYERS:
            raise ExprError(f"{section.repeat} = {repeat!r:.60} is not a number of layers")
        for i in range(repeat):
            inner = context.with_fields(i=i)
            layer = None if section.layer is None else _number(section.layer, inner)
            inner = inner if layer is None else _in_layer(policy, inner, layer)
            place = _Position(
                prefix=section.prefix.filled(inner.fields),
                disk=(section.disk or section.prefix).filled(inner.fields),
                param=(section.param or section.prefix).filled(inner.fields),
                layer=layer,
            )
            yield section, place, inner


def _number(written: Template, context: Context) -> int:
    """Return the number of a layer."""
    text = written.filled(context.fields)
    try:
        return int(text)
    except ValueError:
        raise ExprError(f"{text!r:.60} is not the number of a layer") from None


def _in_layer(policy: AnyPolicy, context: Context, layer: int) -> Context:
    """The context of one layer: its index, and what the policy derives from it."""
    inner = context.with_fields(layer=layer)
    rows = policy.record.per_layer
    inner = inner.with_fields(**dict.fromkeys(row.name for row in rows))
    derived: dict[str, Value] = {}
    for row in rows:
        if row.name not in derived and fits(row, inner):
            derived[row.name] = row.value.value(inner.fields)
    return inner.with_fields(**derived)


def _rows(
    policy: AnyPolicy, rows: Iterable[ModuleRow], place: _Position, context: Context
) -> Iterator[_Placed]:
    for row in rows:
        if not fits(row, context):
            continue
        if row.use is not None:
            yield from _rows(policy, policy.knowledge.block(row.use), place.inside(row), context)
        else:
            yield row, place, context


def _module(
    policy: AnyPolicy, row: ModuleRow, place: _Position, context: Context, part: Part
) -> Module:
    name = row.name or ""
    asked = name if row.absolute else place.prefix + name
    members = [name] if row.members is None else row.members
    return Module(
        part=part,
        name=asked,
        kind=row.kind,
        cls=row.cls or policy.knowledge.class_of(row.kind, context.release),
        members=tuple(_on_disk(m, place) for m in members),
        stacked=tuple(_on_disk(m, place) for m in row.stacked),
        param=_in_tree(name if row.param is UNSET else row.param, place),
        asks=place.asks and row.asks,
        lenient=row.lenient,
        probe=row.probe,
        experts=_experts(row.experts, context),
        parts=_parts(row.parts, context),
        layer=place.layer,
        optional=row.optional,
        tied=row.tied,
        if_quantized=tuple(place.prefix + other for other in row.if_quantized),
        unless_quantized=tuple(place.prefix + other for other in row.unless_quantized),
        alike=tuple(place.prefix + other for other in row.alike),
        unlike=tuple(place.prefix + other for other in row.unlike),
        refuses=row.refuses and row.refuses.replace("{name}", asked),
        grade=row.grade or context.grade,
    )


def disk_roots(policy: AnyPolicy, context: Context) -> tuple[str, ...]:
    """Prefixes of tensor names on disk that belong to an MTP layer, declared or not."""
    layers = max(1, _mtp_layers(policy, context))
    roots = (
        root.filled({**context.fields, "i": i})
        for i in range(layers)
        for root in policy.record.disk_roots
    )
    return tuple(dict.fromkeys(roots))


def _on_disk(member: str, place: _Position) -> str:
    """A name on disk; a leading `/` marks one that does not stand below the layer."""
    return member[1:] if member.startswith("/") else place.disk + member


def _in_tree(param: str | None, place: _Position) -> str:
    """The path in the module tree; empty for a layer that the model throws away again."""
    return "" if param is None else place.param + param


def _parts(known: Iterable[Expression], context: Context) -> tuple[int, ...]:
    """Rows of the parts of a module; none where the configuration does not tell all of them."""
    try:
        rows = [each.value(context.fields) for each in known]
    except ExprError:
        return ()
    numbers = tuple(each for each in rows if isinstance(each, int) and each > 0)
    return numbers if len(numbers) == len(rows) else ()


def _experts(known: Expression | None, context: Context) -> int:
    if known is None:
        return 0
    number = known.value(context.fields)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= 1 << 16:
        raise ExprError(f"{known} = {number!r:.60} is not a number of experts")
    return number
