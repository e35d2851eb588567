"""vLLM's name mapper, applied to the entries of a quantization config.

A target model class renames checkpoint names to its own, and the entries too, as far
as the quantization method lets it (`apply_vllm_mapper` of each configuration class,
`WeightsMapper.map_name`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.expr import evaluate
from mtpfix.engines.vllm.policy import Context, Policy, Row, filled, fitting, in_releases
from mtpfix.model import Entry, Part, QuantView


def map_name(name: str, mapper: Row) -> str:
    """`name` after the substring, prefix and suffix rules of one mapper.

    Rules run one after another: a later one sees what an earlier one made.
    """
    for old, new in mapper.get("substr", {}).items():
        name = name.replace(old, new, 1)
    for old, new in mapper.get("prefix", {}).items():
        if name.startswith(old):
            name = name.replace(old, new, 1)
    for old, new in mapper.get("suffix", {}).items():
        if name.endswith(old):
            name = new.join(name.rsplit(old, 1))
    return _shifted(name, mapper["shift"]) if "shift" in mapper else name


def _shifted(name: str, shift: Row) -> str:
    """A name below `prefix`, the numbers behind `after` larger by `by`."""
    if not name.startswith(shift["prefix"]):
        return name
    numbers = rf"(?<={re.escape(shift['after'])})\d+"
    return re.sub(numbers, lambda found: str(shift["by"] + int(found[0])), name)


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
    return _mapped(view, tuple(fitting(policy.rows("mappers"), context)))


def _by_ends(view: QuantView, policy: Policy, context: Context, part: Part) -> QuantView:
    """The view with its entries marked where a model class has them fit the ends of names.

    Modules of the trunk that are built before the class says so are outside of `within`.
    """
    row = policy.pick("suffix_match", context)
    if row is None:
        return view
    within = row.get("within", "") if part == "trunk" else ""
    return replace(view, ignore=tuple(replace(entry, within=within) for entry in view.ignore))


def mapped_for_draft(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The view after the draft class has mapped the entries once more.

    Where a rule speaks of one layer it is made for each of `layers`, with `i`. Those that
    are `added` leave the entries, and put what they make of them behind the list.
    """
    mappers = [
        _for_layer(row, inner)
        for row in fitting(policy.rows("draft_mappers"), context)
        for i in range(evaluate(row.get("layers", "1"), context.fields))
        for inner in [context.with_fields(i=i)]
    ]
    after = _mapped(view, tuple(row for row in mappers if not row.get("added")))
    made = (_mapped(view, (row,)).ignore for row in mappers if row.get("added"))
    new = (e for ignore in made for e in ignore if e not in view.ignore)
    return replace(after, ignore=(*after.ignore, *new))


def _for_layer(row: Row, context: Context) -> Row:
    """A mapper of the draft, with the values of one layer filled in."""
    found = dict(row)
    if "prefix" in row:
        rules = row["prefix"].items()
        found["prefix"] = {filled(a, context): filled(b, context) for a, b in rules}
    if "shift" in row:
        found["shift"] = {**row["shift"], "by": evaluate(row["shift"]["by"], context.fields)}
    return found


def _mapped(view: QuantView, mappers: tuple[Row, ...]) -> QuantView:
    if not mappers:
        return view
    renamed = methods.of(view.method).renamed

    def rename(entry: Entry) -> Entry:
        text = entry.text
        for mapper in mappers:
            text = map_name(text, mapper)
        return entry if text == entry.text else replace(entry, text=text, written=entry.spelling)

    groups = (replace(group, targets=renamed(group.targets, rename)) for group in view.groups)
    return replace(view, ignore=renamed(view.ignore, rename), groups=tuple(groups))
