"""How an MTP block is stored, share by share, by the names that engines ask about. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.scheme import Numbers, Scheme, about_inputs, likely_packings, scheme
from mtpfix.engines.base import EngineCase
from mtpfix.model import JsonFile, Kind, ModuleReport, State
from mtpfix.quant.schemes.share import Block, Names, Share
from mtpfix.repair.exact import MtpNames, mtp_names, shortest_root
from mtpfix.repair.verdicts import Views, distinct

_CACHE = (".k_scale", ".v_scale", ".q_scale", ".prob_scale")
"""How the names of tensors end that scale a KV cache."""
_LATENT = ".kv_b_proj"
"""How the name of a module ends that only attention with a latent cache has."""


@dataclass
class _Found:
    """One module of the block, by what some releases call it."""

    kind: Kind
    name: str
    ways: frozenset[Scheme | None]
    """How its members are stored, each way once; none where their tensors do not tell."""
    wrong: bool = False
    """Whether a release builds it otherwise than it is stored."""
    asked: dict[str, None] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)


def block(cases: Sequence[EngineCase], views: Views, configs: Mapping[str, JsonFile]) -> Block:
    """Return the block as it is stored, without modules that no metadata can be right for.

    Args:
        cases: the releases.
        views: the metadata, as each engine reads them.
        configs: the files that state it, by name.
    """
    different = distinct(cases, views)
    found = _modules(different, views)
    roots = tuple(dict.fromkeys(root for case in cases for root in case.disk_roots))
    disk = cases[0].disk("trunk")
    outside = (name for name in disk.modules() if not f"{name}.".startswith(roots))
    states = {name: disk.one(name).state for name in outside}
    names = mtp_names(cases, states)
    ways = dict.fromkeys(way for each in found if len(each.ways) == 1 for way in each.ways)
    return Block(
        view=views[cases[0].engine],
        configs=configs,
        shares=tuple(_share(way, found, names) for way in ways),
        trunk=tuple(name for name, state in states.items() if state is State.QUANTIZED),
        plain=tuple(name for name, state in states.items() if state is State.UNQUANTIZED),
        trunk_names=tuple(_quantized(different, views)),
        cache_scales=any(name.endswith(_CACHE) for name in disk.names),
        latent=any(name.endswith(_LATENT) for name in disk.modules()),
    )


def untargeted(cases: Sequence[EngineCase], views: Views) -> Mapping[Scheme, list[str]]:
    """Return modules of the target model that are quantized and that no target fits, by scheme.

    So is an output head that the draft shares with it. They go by the names that engines ask
    about; those that end in a dot stand for all below them.
    """
    found: dict[Scheme, dict[str, None]] = {}
    different = distinct(cases, views)
    widths = _widths(different[0])
    usual = _usual(different[0], widths)
    for case in different:
        view = views[case.engine]
        shared = (r for r in case.part(view, "draft") if not _is_in_block(case, r))
        for report in (*case.part(view, "trunk"), *shared):
            decision = report.decision
            if report.disk.state is not State.QUANTIZED or report.agrees is not False:
                continue
            if not decision.module.name or (decision.because is not None and not decision.halved):
                continue
            disk = case.disk("trunk")
            ways = _ways(disk, report, widths, usual) or _by_names(disk, report)
            way = next(iter(ways)) if len(ways) == 1 else None
            if way is not None:
                below = "." if decision.module.kind == "experts" else ""
                found.setdefault(way, {})[f"{decision.module.name}{below}"] = None
    return {way: list(names) for way, names in found.items()}


def _quantized(cases: Sequence[EngineCase], views: Views) -> dict[str, None]:
    """Return the names of the target model's modules that some release builds quantized."""
    reports = (report for case in cases for report in case.part(views[case.engine], "trunk"))
    return dict.fromkeys(
        report.decision.module.name
        for report in reports
        if report.decision.built == "quantized" and report.decision.module.name
    )


def _modules(cases: Sequence[EngineCase], views: Views) -> list[_Found]:
    """Return the modules that are on disk, those of one name and one way together."""
    widths = _widths(cases[0])
    usual = _usual(cases[0], widths)
    found: dict[tuple[str, tuple[str, ...]], _Found] = {}
    for case in cases:
        for report in case.part(views[case.engine], "draft"):
            module = report.decision.module
            if report.disk.state is State.MISSING:
                continue
            key = module.name, report.members
            if key not in found:
                ways = _ways(case.disk("draft"), report, widths, usual)
                found[key] = _Found(module.kind, module.name, ways)
            # A draft class may ask about no module because of an entry, which can go, and ask
            # about one more where the metadata are of another form.
            asked = (name for name in case.asked(replace(module, asks=True)) if name)
            asks = module.asks or report.decision.because is not None
            found[key].wrong |= asks and report.agrees is False
            found[key].asked.update(dict.fromkeys(asked))
            found[key].members.update(dict.fromkeys(report.members))
    return list(found.values())


def _ways(
    disk: Inventory,
    report: ModuleReport,
    widths: frozenset[int],
    usual: Counter[Numbers],
) -> frozenset[Scheme | None]:
    """Return how the members of a module are stored; none where one of them does not tell."""
    if report.disk.state is State.UNQUANTIZED:
        return frozenset({None})
    layers = disk.layers(report.members)
    ways = frozenset(scheme(each.tensors, widths, usual, each.inputs) for each in layers)
    return frozenset() if None in ways else ways


def _is_in_block(case: EngineCase, report: ModuleReport) -> bool:
    return any(f"{name}.".startswith(case.disk_roots) for name in report.members)


def _by_names(disk: Inventory, report: ModuleReport) -> frozenset[Scheme | None]:
    """Return how modules are stored whose headers were not read: without numbers."""
    form = report.disk.format
    if form is None or disk.layers(report.members):
        return frozenset()
    return frozenset(
        Scheme(form, inputs=about_inputs(disk.tensors(each))) for each in report.members
    )


def _widths(case: EngineCase) -> frozenset[int]:
    """Return the sizes of what is stored as a row in the block: norms have the model's width."""
    disk = case.disk("draft")
    rows = (
        tensor.shape[0]
        for group in disk.below(case.disk_roots)
        for name in group[:1]
        for tensor in disk.tensors(name).values()
        if tensor is not None and len(tensor.shape) == 1
    )
    return frozenset(rows)


def _usual(case: EngineCase, widths: frozenset[int]) -> Counter[Numbers]:
    """Return bits and group sizes, and how many modules of the block have a known width by them."""
    disk = case.disk("draft")
    names = tuple(name for group in disk.below(case.disk_roots) for name in group[:1])
    found = ((each, likely_packings(each.tensors, each.inputs)) for each in disk.layers(names))
    return Counter(
        Numbers(way.bits, way.group_size)
        for layer, ways in found
        for way in ways
        if way.width in widths or way.width == layer.inputs
    )


def _share(way: Scheme | None, found: Iterable[_Found], names: MtpNames) -> Share:
    ours: list[_Found] = []
    others: list[_Found] = []
    for module in found:
        (ours if module.ways == {way} else others).append(module)
    # A name that the target model has too can have no scheme of its own.
    asked = _without(_asked(ours), names.target)
    wrong = _without(_asked(module for module in ours if module.wrong), names.target)
    theirs = {*names.target, *_asked(others)}.difference(asked)
    return Share(
        scheme=way,
        names=tuple(asked),
        modules=tuple(dict.fromkeys((module.kind, module.name) for module in ours)),
        selectors=tuple(
            tuple(_fewest(wanted, names, spared))
            for wanted in (wrong, asked)
            for spared in (theirs, names.target)
        ),
        on_disk=tuple(dict.fromkeys(name for module in ours for name in module.members)),
        wrong=_names([module for module in ours if module.wrong]),
    )


def _names(found: Sequence[_Found]) -> Names:
    members = (name for module in found for name in module.members)
    return Names(
        on_disk=tuple(dict.fromkeys(members)),
        built=tuple(dict.fromkeys(module.name for module in found if module.name)),
        asked=tuple(_asked(found)),
    )


def _without(names: Iterable[str], others: Collection[str]) -> dict[str, None]:
    return dict.fromkeys(name for name in names if name not in others)


def _asked(found: Iterable[_Found]) -> dict[str, None]:
    return dict.fromkeys(name for module in found for name in module.asked)


def _fewest(asked: Iterable[str], names: MtpNames, spared: Iterable[str]) -> Iterator[str]:
    """Yield the shortest prefixes of MTP modules alone that hold `asked`, and none of `spared`.

    A name that shares no prefix with another stands for itself.
    """
    wanted, others = list(asked), tuple(spared)
    taken: tuple[str, ...] = ()
    for name in wanted:
        if taken and name.startswith(taken):
            continue
        root = shortest_root(name, names, others, anywhere=False)
        if root is not None and sum(other.startswith(root) for other in wanted) > 1:
            taken = (*taken, root)
            yield root
        else:
            yield name
