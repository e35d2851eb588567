"""vLLM's name mapper, applied to the entries of a quantization config.

A target model class renames checkpoint names to its own, and the entries too, as far
as the quantization method lets it (`apply_vllm_mapper` of each configuration class,
`WeightsMapper.map_name`).
"""

from __future__ import annotations

from dataclasses import replace

from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.expr import evaluate
from mtpfix.engines.vllm.policy import Context, Policy, Row, filled, fitting
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
    return name


def in_force(view: QuantView, policy: Policy, context: Context, part: Part) -> QuantView:
    """The view as it is in force while one part is built: a draft may read it anew."""
    own = part == "draft" and policy.pick("own_config", context) is not None
    after = view if own else mapped(view, policy, context)
    return mapped_for_draft(after, policy, context) if part == "draft" else after


def mapped(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The view after the mappers of the target model have run over its entries."""
    return _mapped(view, tuple(fitting(policy.rows("mappers"), context)))


def mapped_for_draft(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The view after the draft class has mapped the entries once more.

    Where a rule speaks of one layer it is made for each of `layers`, with `i`.
    """
    mappers = [
        {**row, "prefix": {filled(a, inner): filled(b, inner) for a, b in row["prefix"].items()}}
        for row in fitting(policy.rows("draft_mappers"), context)
        for i in range(evaluate(row.get("layers", "1"), context.fields))
        for inner in [context.with_fields(i=i)]
    ]
    return _mapped(view, tuple(mappers))


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
