"""One release of SGLang, judged for one checkpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import msgspec

from mtpfix.checkpoint.inventory import NOTHING, Inventory
from mtpfix.engines.absence import block_absent
from mtpfix.engines.base import Engine
from mtpfix.engines.policies.case import PARTS, PolicyCase
from mtpfix.engines.policies.context import first, fitting
from mtpfix.engines.policies.family import PackedRow
from mtpfix.engines.policies.method import (
    Decide,
    HalvedError,
    Method,
    Packed,
    RaisesError,
    Setting,
    UnmappedMethod,
    plain,
)
from mtpfix.engines.registry import engine
from mtpfix.engines.sglang import load_outcome, methods
from mtpfix.engines.sglang.context import under_view
from mtpfix.engines.sglang.methods.modelopt import selection
from mtpfix.engines.sglang.methods.shared.classes import capability
from mtpfix.engines.sglang.name_mapper import in_force, map_name, mapper_of
from mtpfix.engines.sglang.policy import DEVICES, Policy, formats
from mtpfix.engines.sglang.records import (
    BreakRow,
    DropRow,
    LimitPhase,
    LimitRow,
    LoaderRow,
    Parameters,
)
from mtpfix.model import (
    Built,
    Consequence,
    Decision,
    EngineReport,
    Entry,
    Limit,
    Module,
    ModuleReport,
    Outcome,
    Part,
    Plain,
    Platform,
    QuantView,
)
from mtpfix.patterns import PatternError

_PHASES: Sequence[LimitPhase] = get_args(LimitPhase)
"""When an engine fails, earliest first."""

_ALWAYS: Mapping[str, Packed] = {
    "quark": {
        "gate_up_proj": ["gate_proj", "up_proj"],
        "fused_qkv_a_proj_with_mqa": ["q_a_proj", "kv_a_proj_with_mqa"],
    }
}
"""What the loader adds to the mapping of every class, by method."""


@dataclass(frozen=True)
class Case(PolicyCase):
    """A checkpoint seen by one release of SGLang: the modules that it would build, and the disk."""

    policy: Policy
    apart: Case | None = None
    """That of the checkpoint that the MTP block is loaded from, if it is another one."""
    by_itself: bool = False
    """Whether the draft alone is loaded from these files: see `alone`."""

    # --- what is known before anything is judged ---------------------------------

    @cached_property
    def engine(self) -> Engine:
        """The engine that this is a case of."""
        return engine("sglang")

    @cached_property
    def platform(self) -> Platform:
        """The device that it builds for."""
        stated = capability(self.context)
        return next(name for name, known in DEVICES.items() if known == stated)

    def rules_of(self, method: str) -> Method:
        """Return what SGLang makes of a quantization method."""
        return methods.of(method)

    @cached_property
    def draft_roots(self) -> tuple[str, ...]:
        """Beginnings of names that SGLang gives to modules of the draft alone.

        The draft is built as a model of its own, so that names of it need not say that.
        """
        taken = {start for module in self.trunk for start in _beginnings(module.name)}
        roots: dict[str, None] = {}
        for module in self.draft:
            free = (start for start in _beginnings(module.name) if start not in taken)
            start = next(free, "") if module.asks else ""
            roots.update({f"{start}.": None} if start and start != module.name else {})
        return tuple(roots)

    @property
    def reads_its_own(self) -> bool:
        """A draft always has a config object of its own, from the files of its own folder."""
        return True

    def disk(self, part: Part) -> Inventory:
        """Return what is on disk for target or draft."""
        if part == "trunk":
            return NOTHING if self.by_itself else self.inventory
        return self.inventory if self.apart is None else self.apart.inventory

    def alone(self) -> Case:
        """Return the case of a folder that the draft alone is loaded from."""
        return replace(self, by_itself=True)

    @cached_property
    def draft(self) -> tuple[Module, ...]:
        """Modules of the draft, in construction order."""
        return self._modules("draft") if self.apart is None else self.apart.draft

    @cached_property
    def trunk(self) -> tuple[Module, ...]:
        """Modules of the target, in construction order."""
        return () if self.by_itself else self._modules("trunk")

    @cached_property
    def plain(self) -> tuple[Plain, ...]:
        """Parameters of the draft that belong to none of its modules, such as norms."""
        return self._plain() if self.apart is None else self.apart.plain

    @cached_property
    def unfilled(self) -> tuple[Plain, ...]:
        """Parameters of the draft outside its modules, such as norms, that are not on disk."""
        if self.apart is not None:
            return self.apart.unfilled
        if not self.mtp_layers:
            return ()
        return tuple(each for each in self.plain if each.name not in self.inventory.names)

    @cached_property
    def _loader(self) -> LoaderRow:
        return first(self.policy.record.loader, self.context) or LoaderRow()

    @cached_property
    def _trunk_loader(self) -> LoaderRow:
        """What is known of the loader of the target model: how it calls what is on disk."""
        own = self._loader
        return LoaderRow(
            renames=own.renames,
            same_formats=own.same_formats,
            joins=own.joins,
            dequantizes=own.dequantizes,
            stacked=own.stacked,
            reads=own.reads,
            unjoined=own.unjoined,
            first_scalar=own.first_scalar,
        )

    @cached_property
    def _packed(self) -> Mapping[Part, Packed]:
        """The packed-modules mapping in force for each part."""
        known = self.policy.record
        return {
            "draft": self._mapping(known.packed),
            "trunk": self._mapping(known.trunk_packed or known.packed),
        }

    def _mapping(self, rows: Sequence[PackedRow]) -> Packed:
        """Return the mapping that some rows say.

        The loader hands the one of a class to methods whose entries it maps; to the others goes
        what the constructor of the target model writes itself: rows that name the method.
        """
        row = first(rows, self.context)
        own = {} if row is None else row.value
        if isinstance(methods.of(self.context.method), UnmappedMethod):
            own = own if row is not None and row.methods is not None else {}
        return {**_ALWAYS.get(self.context.method, {}), **own}

    @property
    def serving(self) -> tuple[str, ...]:
        """What is to be said of how the draft is served."""
        flags = " ".join(self.policy.record.flags)
        return (f"serve this draft with `{flags}` in SGLang",) if flags else ()

    def fingerprint(self, view: QuantView) -> Hashable:
        """Return what the verdict rests on; see `PolicyCase.fingerprint`.

        Lists of modules, and rows, hang on the capability of the device.
        """
        return super().fingerprint(view), self.platform

    @property
    def _traits(self) -> Hashable:
        """What decisions rest on besides rows: values of the context that releases differ in."""
        return super()._traits, self.platform

    def under(self, view: QuantView) -> Case:
        """Return the case where the metadata are `view`: they may be of another method."""
        if view.method == self.view.method:
            return self
        if view.method not in self._others:
            context = under_view(self.policy, self.context, view)
            self._others[view.method] = replace(self, context=context, shared_modules={}, view=view)
        return self._others[view.method]

    @cached_property
    def _others(self) -> dict[str, Case]:
        """The case under other methods, by name."""
        return {}

    # --- decisions ---------------------------------------------------------------

    def decisions(self, view: QuantView, modules: Sequence[Module]) -> Iterable[Decision]:
        """Return what SGLang builds for `modules` under `view`, and why."""
        deciders = {part: self._asked(view, part) for part in {m.part for m in modules}}
        return [deciders[module.part](module) for module in modules]

    def _asked(self, view: QuantView, part: Part) -> Decide:
        """Return the decisions for one part; a draft from elsewhere goes by its own metadata."""
        if part == "draft" and self.apart is not None:
            return self.apart._decider(self.apart.view, part)
        return self._decider(view, part)

    def _decider(self, view: QuantView, part: Part) -> Decide:
        """Return the decisions for one part; an exception is a decision, too."""
        drop = self._drop(view) if part == "draft" else None
        spared = self._spared(view)
        broken: RaisesError | PatternError | None = None
        ask: Decide = plain
        try:
            setting = Setting(self.in_force(view, part), self.context, part, self._packed[part])
            ask = methods.of(view.method).decider(setting)
        except (RaisesError, PatternError) as error:
            broken = error

        def decide(module: Module) -> Decision:
            if drop is not None and (drop.head or module.kind != "lm_head"):
                return plain(replace(module, asks=False))
            if not module.asks:
                return plain(module)
            if (entry := spared(module)) is not None:
                return plain(replace(module, asks=False), entry)
            try:
                if broken is not None:
                    raise broken
                return ask(module)
            except RaisesError as error:
                halved = isinstance(error, HalvedError)
                return Decision(
                    module, "error", because=error.entry, error=error.message, halved=halved
                )
            except PatternError as error:
                built: Built = "unknown" if error.hangs else "error"
                return Decision(module, built, because=error.entry, error=error.reason)

        return decide

    def _spared(self, view: QuantView) -> Callable[[Module], Entry | None]:
        """Return what says by which entry a class builds a layer without asking; None: by none."""
        row = first(self.policy.record.spares, self.context)
        listed = {} if row is None else {entry.text: entry for entry in view.ignore}

        def spared(module: Module) -> Entry | None:
            parent, _, last = module.name.rpartition(".")
            member = None if row is None else row.by.get(last)
            return None if member is None else listed.get(f"{parent}.{member}")

        return spared

    def _drop(self, view: QuantView) -> DropRow | None:
        """Return the row by which the draft class builds without the metadata, or None."""
        rows = fitting(self.policy.record.drops, self.context)
        return next((row for row in rows if self._holds(row, view)), None)

    def _holds(self, row: DropRow, view: QuantView) -> bool:
        if row.listed is not None:
            pattern = re.compile(row.listed.filled(self.context.fields), re.DOTALL)
            if not any(pattern.fullmatch(entry.spelling) for entry in view.ignore):
                return False
        if row.exempt is not None:
            name = self._mapped(row.exempt.filled(self.context.fields))
            entries = self.in_force(view, "draft").ignore
            if self.listed(view, entries).first(name) is None:
                return False
        keys = selection.layers(view.raw)
        return not row.without_layers or not any(k.startswith(row.without_layers) for k in keys)

    def _mapped(self, name: str) -> str:
        mapper = mapper_of(self.policy, self.context, "draft")
        return name if mapper is None else map_name(name, mapper)

    def judged(self, view: QuantView, modules: Sequence[Module]) -> tuple[ModuleReport, ...]:
        """Return decisions for `modules` under `view`, set against the disk."""
        decisions = (d for d in self.decide(view, modules) if d.module.members)
        return tuple(self.compared(view, decision) for decision in decisions)

    def compared(self, view: QuantView, decision: Decision) -> ModuleReport:
        """Return one decision, foreseen or real, set against the disk."""
        part = decision.module.part
        if part == "draft" and self.apart is not None:
            return self.apart.compared(self.apart.view, decision)
        loader = self._loader if part == "draft" else self._trunk_loader
        verdicts = self.disk(part).verdicts(("sglang", loader, part, view.method))
        key = decision, decision.module.grade
        if key not in verdicts:
            known = _parameters(view.method, decision)
            verdicts[key] = load_outcome.judge(decision, self.disk(part), loader, known)
        report = verdicts[key]
        if report.agrees and self._unjudged(decision.module) is not None:
            report = replace(report, agrees=None)
        return self.faulted(view, load_outcome.unsized(report, view))

    def _unjudged(self, module: Module) -> str | None:
        """Return why it is not known what a load of a module comes to; None: it is known."""
        rows = fitting(self.policy.record.unjudged, self.context)
        if module.part != "draft":
            return None
        return next((row.reason for row in rows if module.name.endswith(row.modules)), None)

    def faulted(self, view: QuantView, report: ModuleReport) -> ModuleReport:
        """Return the report, with what SGLang fails at although it agrees with the disk.

        Of several faults the first that it meets: in the configuration, in a model class, later.
        """
        config, later = self._limits
        early = _limited(report, next((row for row in config if self._has(row, report)), None))
        built = self._broken(view, early)
        if built.limit is not None:
            return built
        return _limited(built, next((row for row in later if self._has(row, report)), None))

    def _has(self, row: LimitRow, report: ModuleReport) -> bool:
        """Return whether a module has the fault of a row."""
        module = report.decision.module
        if module.part not in row.parts:
            return False
        if row.modules is not None and not module.name.endswith(row.modules):
            return False
        disk = report.disk if row.stored is None else self.inventory.one(row.stored)
        if row.disk is not None and disk.state is not row.disk:
            return False
        return row.scaled is None or "scale" in self.inventory.tensors(row.scaled)

    @cached_property
    def _limits(self) -> tuple[list[LimitRow], list[LimitRow]]:
        """Faults of this release that metadata cannot fix: of configurations, and later ones."""
        rows = list(self.policy.limits(self.context))
        config = [row for row in rows if row.phase == "config"]
        return config, [row for row in rows if row.phase != "config"]

    def _broken(self, view: QuantView, report: ModuleReport) -> ModuleReport:
        """Return the report, with what the model class fails on while it is constructed."""
        if report.limit is not None or report.decision.built == "error":
            return report
        row = next((row for row in self._breaks if self._breaks_on(row, view, report)), None)
        if row is None:
            return report
        if report.agrees is False:
            return replace(report, consequence="load_error", detail=row.error)
        return _with_limit(report, _limit(row, "load_error", "build"))

    def _breaks_on(self, row: BreakRow, view: QuantView, report: ModuleReport) -> bool:
        """Return whether the model class fails on a module as it is built."""
        module = report.decision.module
        if not module.name.endswith(row.module):
            return False
        if row.quantized != (report.decision.built == "quantized"):
            return False
        if row.expects is not None and report.decision.expects not in row.expects:
            return False
        if row.beside is None:
            return True
        name = module.name.removesuffix(row.module) + row.beside
        beside = [m for m in getattr(self, module.part) if m.name == name]
        built = self.decide(view, beside[:1])
        known = (_parameters(view.method, each) for each in built)
        return any(each is not None and each.float8 for each in known)

    @cached_property
    def _breaks(self) -> tuple[BreakRow, ...]:
        return tuple(self.policy.breaks(self.context))

    def report(self, view: QuantView) -> EngineReport:
        """Return the verdict of this release: an exception anywhere hides silent garbage."""
        parts = {part: self.part(view, part) for part in PARTS}
        modules = (*parts["draft"], *parts["trunk"])
        outcome, error = self._outcome(parts)
        why = (self._unjudged(each.decision.module) for each in modules)
        reason = next(filter(None, why), None) if outcome == "unknown" else None
        return EngineReport("sglang", self.release, self.platform, outcome, modules, error, reason)

    def _outcome(self, parts: Mapping[Part, Sequence[ModuleReport]]) -> tuple[Outcome, str | None]:
        """Return what comes of a load, target first, and the exception where there is one."""
        if not self.mtp_layers:
            return "no_mtp", None
        if block_absent(parts["draft"]):
            return "silent_garbage", None
        reports = (*parts["trunk"], *parts["draft"])
        failing = [r for r in reports if r.agrees is False or r.consequence is not None]
        raised = [r for r in failing if r.consequence == "load_error"]
        if raised:
            return "load_error", min(raised, key=self._raised_at).detail
        if failing or self.unfilled:
            return "silent_garbage", None
        unknown = any(
            r.decision.built == "unknown"
            or (r.agrees is None and r.decision.module.part == "draft" and r.members)
            for r in reports
        )
        return ("unknown" if unknown else "clean"), None

    def _raised_at(self, report: ModuleReport) -> int:
        """Return how early SGLang fails on a module: as it is built, or as its tensors are read."""
        built = {row.error for row in self._breaks}
        if report.limit is not None:
            return _PHASES.index(report.limit.phase)
        early = report.decision.built == "error" or report.detail in built
        return _PHASES.index("build" if early else "load")

    # --- names and entries ---------------------------------------------------------

    def asked(self, module: Module) -> tuple[str, ...]:
        """Return every name that is compared with entries in order to decide about `module`."""
        if not module.asks:
            return ()
        if module.kind == "experts":
            return methods.of(self.context.method).probes(module)
        last = module.name.rpartition(".")[2]
        shards = self._packed[module.part].get(last, ())
        return (module.name, *(module.name.replace(last, shard) for shard in shards))

    def in_force(self, view: QuantView, part: Part) -> QuantView:
        """Return the view after the name mapper of target or draft has run over it."""
        return in_force(view, self.policy, self.context, part)


def _beginnings(name: str) -> Iterator[str]:
    """Yield every dotted beginning of a name, the name itself last."""
    yield from (name[:at] for at, letter in enumerate(name) if letter == "." and at)
    yield name


def _limit(row: LimitRow | BreakRow, outcome: Consequence, phase: LimitPhase) -> Limit:
    """Return the fault that a row speaks of."""
    return Limit(
        reason=row.reason,
        outcome=outcome,
        error=row.error,
        phase=phase,
        good_from=row.good_from,
        grade=row.grade or "read",
        remedy=row.remedy,
    )


def _limited(report: ModuleReport, row: LimitRow | None) -> ModuleReport:
    """Return the report, with the fault of a row where there is one."""
    return report if row is None else _with_limit(report, _limit(row, row.outcome, row.phase))


def _with_limit(report: ModuleReport, limit: Limit) -> ModuleReport:
    """Return a report with a fault that metadata cannot fix."""
    return replace(report, agrees=False, consequence=limit.outcome, detail=limit.error, limit=limit)


def _parameters(method: str, decision: Decision) -> Parameters | None:
    """Return what a built module reads; None: it is unquantized, or that is not known."""
    if decision.built != "quantized" or decision.expects is None:
        return None
    known = formats().formats.get(method, {}).get(decision.expects)
    if known is None:
        return None
    more = known.by_scheme.get(decision.scheme or "", ())
    return msgspec.structs.replace(known, needed=(*known.needed, *more)) if more else known
