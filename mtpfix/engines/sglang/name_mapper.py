"""SGLang's name mapper, applied to the entries of a quantization config. Pure.

Target and draft each have a config object of their own, read anew from the files, so that no mapper
of the one reaches the other. Source: `WeightsMapper._map_name` of `models/utils.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.family import MapperRow
from mtpfix.engines.sglang import methods
from mtpfix.engines.sglang.policy import Policy
from mtpfix.model import Entry, Part, QuantView


def map_name(name: str, mapper: MapperRow) -> str:
    """Return a name after the rules: of each kind the longest that fits runs, once."""
    old = _longest(mapper.substr, lambda part: part in name)
    if old is not None:
        name = name.replace(old, mapper.substr[old], 1)
    old = _longest(mapper.prefix, name.startswith)
    if old is not None:
        name = name.replace(old, mapper.prefix[old], 1)
    old = _longest(mapper.suffix, name.endswith)
    if old is not None:
        name = mapper.suffix[old].join(name.rsplit(old, 1))
    return name


def _longest(rules: Mapping[str, str], fits: Callable[[str], bool]) -> str | None:
    """Return the longest of the rules that fits; of equals the first."""
    return next((old for old in sorted(rules, key=len, reverse=True) if fits(old)), None)


def in_force(view: QuantView, policy: Policy, context: Context, part: Part) -> QuantView:
    """Return the view as it is in force while one part is built."""
    mapper = mapper_of(policy, context, part)
    if mapper is None:
        return view

    def rename(entry: Entry) -> Entry:
        text = map_name(entry.text, mapper)
        return entry if text == entry.text else replace(entry, text=text, written=entry.spelling)

    renamed = methods.of(view.method).renamed
    groups = (replace(group, targets=renamed(group.targets, rename)) for group in view.groups)
    return replace(view, ignore=renamed(view.ignore, rename), groups=tuple(groups))


def mapper_of(policy: Policy, context: Context, part: Part) -> MapperRow | None:
    """Return the rules of the class of one part; None: it has no mapper."""
    known = policy.record
    mapper = first(known.mappers if part == "draft" else known.trunk_mappers, context)
    return None if mapper is None else _filled(mapper, context)


def _filled(mapper: MapperRow, context: Context) -> MapperRow:
    """Return the rules with the number of the draft's layer in the place of `{N}`."""
    number = str(context.fields.get("num_hidden_layers"))

    def fill(rules: Mapping[str, str]) -> dict[str, str]:
        return {old.replace("{N}", number): new for old, new in rules.items()}

    return MapperRow(
        substr=fill(mapper.substr), prefix=fill(mapper.prefix), suffix=fill(mapper.suffix)
    )
