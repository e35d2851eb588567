"""vLLM's name mapper, applied to the entries of a quantization config.

A target model class renames checkpoint names to its own, and the entries too, as far
as the quantization method lets it (`apply_vllm_mapper` of each configuration class,
`WeightsMapper.map_name`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial

from mtpfix.engines.policies.context import Context, first, fitting, in_releases
from mtpfix.engines.policies.family import MapperRow
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.records.family import DraftMapperRow, Shift
from mtpfix.engines.vllm.same import Same
from mtpfix.model import Entry, Group, Part, QuantView

_Rename = Callable[[str], str]


def map_name(name: str, mapper: MapperRow) -> str:
    """`name` after the substring, prefix and suffix rules of one mapper.

    Rules run one after another: a later one sees what an earlier one made.
    """
    for old, new in mapper.substr.items():
        name = name.replace(old, new, 1)
    for old, new in mapper.prefix.items():
        if name.startswith(old):
            name = name.replace(old, new, 1)
    for old, new in mapper.suffix.items():
        if name.endswith(old):
            name = new.join(name.rsplit(old, 1))
    return name


def in_force(view: QuantView, policy: Policy, context: Context, part: Part) -> QuantView:
    """The view as it is in force while one part is built: a draft may read it anew."""
    if view.unread is not None and in_releases(view.unread.releases, context.release):
        view = replace(view, ignore=())
    own = part == "draft" and policy.reads_its_own(context)
    after = view if own else _renamed(view, policy, context)
    after = mapped_for_draft(after, policy, context) if part == "draft" else after
    return _by_ends(after, policy, context, part)


def mapped(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The view after the mappers of the target model have run over its entries."""
    return in_force(view, policy, context, "trunk")


def _renamed(view: QuantView, policy: Policy, context: Context) -> QuantView:
    rows = tuple(fitting(policy.record.mappers, context))
    if not rows:
        return view
    groups = _renamed_groups(view.method, Same(view.groups), tuple(map(Same, rows)))
    after = _mapped(replace(view, groups=()), [partial(map_name, mapper=row) for row in rows])
    return replace(after, groups=groups)


@lru_cache(maxsize=4)
def _renamed_groups(
    method: str, groups: Same[tuple[Group, ...]], rows: tuple[Same[MapperRow], ...]
) -> tuple[Group, ...]:
    """Groups after the mappers of the target model: of many releases they are the same."""
    renamed = methods.of(method).renamed
    rename = _renaming([partial(map_name, mapper=row.value) for row in rows])
    return tuple(replace(g, targets=renamed(g.targets, rename)) for g in groups.value)


def _by_ends(view: QuantView, policy: Policy, context: Context, part: Part) -> QuantView:
    """The view with its entries marked where a model class has them fit the ends of names.

    Modules of the trunk that are built before the class says so are outside of `within`.
    """
    row = first(policy.record.suffix_match, context)
    if row is None:
        return view
    within = row.within if part == "trunk" else ""
    return replace(view, ignore=tuple(replace(entry, within=within) for entry in view.ignore))


def mapped_for_draft(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The view after the draft class has mapped the entries once more.

    Where a rule speaks of one layer it is made for each of `layers`, with `i`. Those that
    are `added` leave the entries, and put what they make of them behind the list.
    """
    mappers = [
        (row.added, _for_layer(row, context.with_fields(i=i)))
        for row in fitting(policy.record.draft_mappers, context)
        for i in range(row.layers.value(context.fields))
    ]
    after = _mapped(view, tuple(rename for added, rename in mappers if not added))
    made = (_mapped(view, (rename,)).ignore for added, rename in mappers if added)
    new = (e for ignore in made for e in ignore if e not in view.ignore)
    return replace(after, ignore=(*after.ignore, *new))


def _for_layer(row: DraftMapperRow, context: Context) -> _Rename:
    """A mapper of the draft, with the values of one layer filled in."""
    fields = context.fields
    prefix = {old.filled(fields): new.filled(fields) for old, new in row.prefix.items()}
    rename = partial(map_name, mapper=MapperRow(substr=row.substr, prefix=prefix))
    if row.shift is None:
        return rename
    shift, by = row.shift, row.shift.by.value(fields)
    return lambda name: _shifted(rename(name), shift, by)


def _shifted(name: str, shift: Shift, by: int) -> str:
    """A name below `prefix`, the numbers behind `after` larger by `by`."""
    if not name.startswith(shift.prefix):
        return name
    numbers = rf"(?<={re.escape(shift.after)})\d+"
    return re.sub(numbers, lambda found: str(by + int(found[0])), name)


def _mapped(view: QuantView, mappers: Iterable[_Rename]) -> QuantView:
    if not mappers:
        return view
    renamed, rename = methods.of(view.method).renamed, _renaming(mappers)
    groups = (replace(group, targets=renamed(group.targets, rename)) for group in view.groups)
    return replace(view, ignore=renamed(view.ignore, rename), groups=tuple(groups))


def _renaming(mappers: Iterable[_Rename]) -> Callable[[Entry], Entry]:
    """What some mappers, one after another, make of an entry."""

    def rename(entry: Entry) -> Entry:
        text = entry.text
        for mapper in mappers:
            text = mapper(text)
        return entry if text == entry.text else replace(entry, text=text, written=entry.spelling)

    return rename
