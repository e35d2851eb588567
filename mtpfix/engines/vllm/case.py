"""One release on one platform, judged for one checkpoint. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mtpfix.checkpoint.inventory import Inventory, Verdicts
from mtpfix.engines.absence import absent_layers, block_absent
from mtpfix.engines.base import Engine, MissingKey, UndeclaredBlock
from mtpfix.engines.policies import block_rows, construction
from mtpfix.engines.policies.case import PARTS, PolicyCase
from mtpfix.engines.policies.condition import Condition
from mtpfix.engines.policies.context import (
    Context,
    Release,
    first,
    fitting,
    in_releases,
    on_platform,
)
from mtpfix.engines.policies.method import Method, Packed
from mtpfix.engines.registry import engine
from mtpfix.engines.releases import later_releases
from mtpfix.engines.vllm import load_outcome, methods, target_names
from mtpfix.engines.vllm.destinations import NOTHING, Placement, follow_names
from mtpfix.engines.vllm.loader import Loader, loader, trunk_loader
from mtpfix.engines.vllm.methods.shared.headers import derived, scanned
from mtpfix.engines.vllm.methods.shared.refusal import refusal
from mtpfix.engines.vllm.name_mapper import in_force
from mtpfix.engines.vllm.policy import Policy, rules, undeclared_block
from mtpfix.engines.vllm.policy import method as known_method
from mtpfix.engines.vllm.predict import asked_names, packed_mapping, predict
from mtpfix.engines.vllm.records.fault import LimitRow
from mtpfix.engines.vllm.target_names import TargetModel
from mtpfix.model import (
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
    QuantView,
    Stray,
    TargetStray,
)
from mtpfix.patterns import budget

BARE = "Linear"
"""The class of layers that have no quantization method at all."""


@dataclass(frozen=True)
class Case(PolicyCase):
    """A checkpoint seen by one release of vLLM: the modules that it would build, and the disk."""

    policy: Policy
    beside: Inventory | None = None
    """That of the checkpoint that the MTP block is loaded from, if it is another one."""

    # --- what is known before anything is judged ---------------------------------

    @cached_property
    def engine(self) -> Engine:
        """The engine that this is a case of."""
        return engine("vllm")

    def rules_of(self, method: str) -> Method:
        """Return what vLLM makes of a quantization method."""
        return methods.of(method)

    @cached_property
    def strays(self) -> tuple[Stray, ...]:
        """Tensors of the MTP block that no parameter takes."""
        return self.placement.strays

    @cached_property
    def unfilled(self) -> tuple[Plain, ...]:
        """Parameters of the draft outside its modules that no tensor fills, or not entirely."""
        return self.placement.unfilled

    @cached_property
    def absence_error(self) -> str | None:
        """What vLLM raises for a draft layer of which no tensor is on disk; None: nothing.

        Draft classes look for that themselves, or for every parameter; without quantization the
        engine compares what was loaded with the norms and the bare parameters of the draft.
        """
        loader = self.loader
        if loader.missing_layer is not None:
            return loader.missing_layer
        return loader.unfilled if loader.strict else _untouched(self)

    @cached_property
    def undeclared_block(self) -> UndeclaredBlock | None:
        """What the target model makes of an MTP block that is not declared; None: unknown."""
        found = undeclared_block(self.family, self.release)
        return None if found is None else UndeclaredBlock(found.error, found.grade or "read")

    @cached_property
    def reads_its_own(self) -> bool:
        """Whether the draft resolves the metadata of its own checkpoint."""
        return self.policy.reads_its_own(self.context)

    @property
    def speculation(self) -> str:
        """What `--speculative-config` calls the method of the draft."""
        return self.policy.speculation

    @property
    def serving(self) -> tuple[str, ...]:
        """How to serve a draft that is not MTP, in sentences; none where it is."""
        return self.policy.serving(self.context)

    # --- the disk -----------------------------------------------------------------

    def disk(self, part: Part) -> Inventory:
        """What is on disk for target or draft."""
        return self.inventory if part == "trunk" or self.beside is None else self.beside

    @cached_property
    def loader(self) -> Loader:
        """How the draft class treats what does not fit."""
        return loader(self.policy, self.context)

    @cached_property
    def trunk_loader(self) -> Loader:
        """How the class of the target treats what does not fit."""
        row = first(self.policy.record.trunk_loader, self.context)
        return trunk_loader(self.loader, self.context, row)

    @cached_property
    def target_strays(self) -> tuple[TargetStray, ...]:
        """Tensors of the target model that no module of it takes, as far as that is known."""
        layers = construction.target_layers(self.policy, self.context)
        row = first(self.policy.record.trunk_loader, self.context)
        gone = self.trunk_loader.unseen
        target = TargetModel(self.trunk, layers, self.loader, row, gone)
        return target_names.target_strays(self.disk("trunk"), target)

    @cached_property
    def placement(self) -> Placement:
        """Where the draft's loader puts the tensors of the MTP block."""
        if not self.mtp_layers:
            return NOTHING
        inventory, roots = self.disk("draft"), self.disk_roots
        return follow_names(inventory, roots, self.draft, self.plain, self.loader)

    def loader_of(self, module: Module) -> Loader:
        """The loader that `module` is loaded by."""
        return self.loader if module.part == "draft" else self.trunk_loader

    def fingerprint(self, view: QuantView) -> Hashable:
        """Return what the verdict rests on; see `PolicyCase.fingerprint`."""
        if isinstance(self.context.release, Release):
            return super().fingerprint(view)
        return self.draft_traits(view), self.trunk, self.trunk_loader, self.target_strays

    def draft_traits(self, view: QuantView) -> Hashable:
        """What the verdict on the draft rests on, but for the disk."""
        context, known = self.context, self.policy.record
        rows: tuple[Condition, ...] = (*known.requires, *known.mappers, *known.draft_mappers)
        rows = (*rows, *known.own_method, *known.suffix_match, *self._limits())
        return (
            context.release,
            context.method,
            self.draft,
            self.loader,
            methods.of(view.method).traits(view, context),
            tuple(fitting(rows, context)),
            repr([packed_mapping(self.policy, context, part) for part in PARTS]),
            self.policy.reads_its_own(context),
            refusal(view.method, context),
        )

    def under(self, view: QuantView) -> Case:
        """Return the case where the metadata are `view`: they may be of another method."""
        if view.method == self.view.method:
            return self
        if view.method not in self._others:
            context = construction.under_method(self.policy, self.context, view.method)
            self._others[view.method] = replace(self, context=context, view=view)
        return self._others[view.method]

    @cached_property
    def _others(self) -> dict[str, Case]:
        """The case under other methods, by name."""
        return {}

    def decisions(self, view: QuantView, modules: Sequence[Module]) -> Iterable[Decision]:
        """Return what vLLM builds for `modules` under `view`, and why."""
        seen = scanned(view, self.inventory)
        return predict(self.policy, seen, self.context, modules)

    def report(self, view: QuantView) -> EngineReport:
        """Return the verdict of this release, with every module of draft and target model."""
        return report(self, view)

    def judged(self, view: QuantView, modules: Sequence[Module]) -> tuple[ModuleReport, ...]:
        """Decisions for `modules` under the metadata `view`, set against the disk."""
        found = []
        for decision in self.decide(view, modules):
            if decision.module.members:
                known = self._verdicts[decision.module.part]
                key = decision, decision.module.grade
                if key not in known:
                    known[key] = self._judged(decision)
                found.append(known[key])
        return tuple(found)

    @cached_property
    def _verdicts(self) -> Mapping[Part, Verdicts]:
        """What decisions come to: about the target model, many releases share that."""
        by = self.trunk_loader, refusal(self.context.method, self.context), self._of_sizes
        return {"draft": {}, "trunk": self.disk("trunk").verdicts(("vllm", *by))}

    def _judged(self, decision: Decision) -> ModuleReport:
        part = decision.module.part
        loader = self.loader_of(decision.module)
        report = load_outcome.judge(decision, self.disk(part), loader, self.placed(part))
        return self._limited(self._loaded(report))

    def _loaded(self, report: ModuleReport) -> ModuleReport:
        """The report, with the fault of a release whose loader drops the module's tensors."""
        module, limit = report.decision.module, self._drops
        if limit is None or module.optional or not report.members:
            return report
        if not self.placed(module.part).passed_over.issuperset(report.members):
            return report
        if self.absence_error is not None:
            limit = replace(limit, outcome="load_error", error=self.absence_error)
        return replace(
            report, agrees=False, consequence=limit.outcome, detail=limit.error, limit=limit
        )

    @cached_property
    def _drops(self) -> Limit | None:
        """The fault of a release whose loader drops a whole prefix of the block."""
        row = first(self.policy.record.destinations, self.context)
        fault = None if row is None else row.fault
        if fault is None:
            return None
        return Limit(fault.reason, fault.outcome, None, "load", fault.good_from, fault.grade)

    def placed(self, part: Part) -> Placement:
        """Where tensors go; those of the target's own layers are not followed."""
        return self.placement if part == "draft" else NOTHING

    def asked(self, module: Module) -> tuple[str, ...]:
        """Every name that is compared with entries in order to decide about `module`."""
        return asked_names(module, self._packed[module.part], self.context.method)

    @cached_property
    def _packed(self) -> Mapping[Part, Packed]:
        """The packed-modules mapping in force for each part."""
        return {part: packed_mapping(self.policy, self.context, part) for part in PARTS}

    def in_force(self, view: QuantView, part: Part) -> QuantView:
        """Return the view after the name mappers of target and draft have run over it."""
        return in_force(view, self.policy, self.context, part)

    def missing_key(self, view: QuantView) -> MissingKey | None:
        """Return the first key that the model class reads unasked, and that is not there."""
        return missing_key(self.policy, self.context, view)

    def header_entries(self, view: QuantView) -> Iterable[Entry]:
        """Return the list that AWQ and GPTQ read in tensor headers."""
        return derived(view, self.inventory)

    def _limits(self) -> Iterable[LimitRow]:
        """Faults of the family's draft, and of the quantization method whatever the family."""
        yield from self.policy.record.limits
        for row in known_method(self.context.method).limits:
            if self.policy.family not in row.but:
                yield row

    def _limited(self, report: ModuleReport) -> ModuleReport:
        """The report, with the fault of this release that metadata cannot fix, if it has one."""
        faults = (row for row in self._faults(report) if _hits(row, report))
        row = next((row for row in faults if self._has_sizes(row, report)), None)
        if row is None or report.limit is not None:
            return report
        limit = _limit(row)
        if row.nameless:
            limit = replace(limit, good_from=self.named_from(report.decision.module))
        # What is built wrong fails in its own way before a limit of the load can show.
        early = limit.phase in ("config", "build")
        own = report if report.agrees is False and not early else None
        return replace(
            report,
            agrees=False,
            consequence=own.consequence if own else limit.outcome,
            detail=own.detail if own else limit.error,
            limit=limit,
        )

    def named_from(self, module: Module) -> str | None:
        """Return the first later release that asks about `module` by a name, or None."""
        later = later_releases(self.release, self.engine.releases)
        named = self._naming(module)
        found = next((release for release in named if release in later), None)
        before = next((release for release in reversed(named) if release not in later), None)
        # What is answered so holds from the one to the other, on this platform.
        on_platform(self.context, self.platform)
        for release in filter(None, (before, found)):
            in_releases(f">={release}", self.context.release, self.context.depth)
        return found

    def _naming(self, module: Module) -> tuple[str, ...]:
        """The releases that ask about a module by a name, on this platform."""
        key = "naming", module.part, module.param, self.platform, self.method
        if key not in self.shared_modules:
            self.shared_modules[key] = tuple(
                release
                for release in self.engine.releases
                if any(
                    other.name and other.param == module.param
                    for other in construction.modules(
                        self.policy, replace(self.context, release=release), module.part
                    )
                )
            )
        found: tuple[str, ...] = self.shared_modules[key]
        return found

    def _faults(self, report: ModuleReport) -> Iterator[LimitRow]:
        """What may be amiss with a module whatever the metadata says."""
        if self._refused is not None:
            yield self._refused
        elif report.decision.module.part == "draft":
            yield from fitting(self._limits(), self.context)
        else:
            yield from self._of_sizes

    @cached_property
    def _refused(self) -> LimitRow | None:
        """The fault of a release that takes the method for no draft."""
        row = refusal(self.context.method, self.context)
        if row is None:
            return None
        return LimitRow(
            reason=row.reason,
            outcome="load_error",
            error=row.error,
            phase="config",
            good_from=row.good_from,
            grade=row.grade,
            remedy=row.remedy,
        )

    @cached_property
    def _of_sizes(self) -> tuple[LimitRow, ...]:
        """Faults that the size of a weight has, in the target too."""
        rows = fitting(self._limits(), self.context)
        return tuple(row for row in rows if row.width or row.height or row.total_height)

    def _has_sizes(self, row: LimitRow, report: ModuleReport) -> bool:
        """Whether a fault is about another thing than sizes, or a weight has a bad one.

        `width`: the number of columns must be a multiple of it, where the header was read;
        `height`: the number of rows, of all parts that others follow in one matrix;
        `total_height`: that of all parts together.
        """
        if row.width is None and row.height is None and row.total_height is None:
            return True
        module, inventory = report.decision.module, self.disk(report.decision.module.part)
        if row.width is not None:
            found = (inventory.tensors(member).get("weight") for member in report.members)
            shapes = (tensor.shape for tensor in found if tensor is not None and tensor.shape)
            return any(shape[-1] % row.width for shape in shapes)
        if row.total_height is not None:
            return block_rows.total(module, report.members, inventory) % row.total_height != 0
        height = row.height or 1
        parts = block_rows.followed(module, report.members, inventory)
        if not any(each % height for each in parts):
            return False
        return not row.placed or block_rows.scales_fit(
            module.parts or block_rows.rows(inventory, report.members), height
        )


def _limit(row: LimitRow) -> Limit:
    return Limit(
        reason=row.reason,
        outcome=row.outcome,
        error=row.error,
        phase=row.phase,
        good_from=row.good_from,
        grade=row.grade,
        remedy=row.remedy,
    )


def _hits(row: LimitRow, report: ModuleReport) -> bool:
    """Whether a limit speaks of a module: of its name and kind, and of how it is stored.

    `online`: of one that the engine quantizes itself while it loads plain weights; `nameless`:
    of one that it quantizes and asks about by an empty name.
    """
    decision = report.decision
    if row.kinds is not None and decision.module.kind not in row.kinds:
        return False
    if row.online and not (decision.built == "quantized" and load_outcome.loads_plain(decision)):
        return False
    if row.nameless and (decision.module.name or report.agrees is not False):
        return False
    if row.schemes is not None and decision.scheme not in row.schemes:
        return False
    if row.expects is not None and decision.expects not in row.expects:
        return False
    disk, formats = report.disk, set((report.disk.format or "").split("+"))
    return (
        report.decision.module.name.endswith(row.modules)
        and row.disk in (None, disk.state)
        and (row.stored is None or any(m.endswith(row.stored) for m in report.members))
        and (row.formats is None or not formats.isdisjoint(row.formats))
        and (row.passes is None or _stopped(report.tensor, row.passes))
    )


def _stopped(tensor: str | None, passes: tuple[str, ...]) -> bool:
    """Whether a tensor does not fit that is none of those that the limit lets pass."""
    return tensor is not None and not tensor.endswith(passes)


def missing_key(policy: Policy, context: Context, view: QuantView) -> MissingKey | None:
    """Return the first key of the metadata that the model class reads unasked, and that lacks."""
    rows = fitting(policy.record.requires, context)
    row = next((row for row in rows if row.key not in view.raw), None)
    if row is None:
        return None
    return MissingKey(row.key, row.error, row.good_from, row.grade, row.remedy)


@budget.shared()
def report(case: Case, view: QuantView) -> EngineReport:
    """The verdict of one release, with every module of draft and trunk."""
    draft, trunk = case.part(view, "draft"), case.part(view, "trunk")
    verdict, error = _verdict(case, draft, trunk, case.missing_key(view))
    return EngineReport(
        engine="vllm",
        version=case.release,
        platform=case.context.platform,
        outcome=verdict,
        modules=(*draft, *trunk),
        error=error,
        reason=_reason((*trunk, *draft)) if verdict == "unknown" else None,
    )


def _verdict(
    case: Case,
    draft: Sequence[ModuleReport],
    trunk: Sequence[ModuleReport],
    lacks: MissingKey | None,
) -> tuple[Outcome, str | None]:
    """The outcome, and the first exception where there is one."""
    if not case.mtp_layers:
        return "no_mtp", None
    if any(r.decision.built == "unknown" for r in (*trunk, *draft)):
        return "unknown", None
    if lacks is not None and not any(r.decision.built == "error" for r in trunk):
        return "load_error", lacks.error
    failed = tuple(_failures(case, (*trunk, *draft)))
    if failed:
        return "load_error", min(failed, key=lambda each: each[0])[1]
    return _unfilled(case, draft, trunk)


_Failure = tuple[tuple[object, ...], "str | None"]
"""When an exception comes, as a key that sorts, and what is raised."""


def _failures(case: Case, reports: Iterable[ModuleReport]) -> Iterator[_Failure]:
    """Every exception that ends the load, from modules and from tensors that nothing takes."""
    for report in reports:
        if report.consequence == "load_error":
            yield _order(case, report), report.detail
    for stray in case.placement.strays:
        if stray.raises:
            yield (3, *case.disk("draft").load_order(stray.name)), stray.error
    for lost in case.target_strays:
        if lost.fate == "raises":
            yield (2, *case.disk("trunk").load_order(lost.name)), lost.error


def _unfilled(
    case: Case, draft: Sequence[ModuleReport], trunk: Sequence[ModuleReport]
) -> tuple[Outcome, str | None]:
    """The outcome of a load that meets no tensor it cannot take: is everything filled?"""
    absent = absent_layers(draft)
    if absent or block_absent(draft):
        error = case.absence_error
        missing: Consequence = "silent_garbage" if error is None else "load_error"
        return missing, error and error.replace("{layer}", str(next(iter(absent), "")))
    bare = [r for r in draft if r.decision.module.cls == BARE and r.consequence is not None]
    if case.placement.untouched or bare:
        error = case.loader.unfilled if case.loader.strict else _untouched(case)
        return ("silent_garbage" if error is None else "load_error"), error
    garbage = any(r.consequence == "silent_garbage" for r in (*draft, *trunk))
    lost = any(stray.lost for stray in case.target_strays)
    return ("silent_garbage" if garbage or lost or case.unfilled else "clean"), None


def _untouched(case: Case) -> str | None:
    """Return what vLLM raises, without quantization, where a tensor of the draft is missing.

    Layers that have a quantization method of their own, even the unquantized one, are not missed.
    """
    if case.context.method or first(case.policy.record.untracked, case.context) is not None:
        return None
    error: str = rules("untouched", case.context.release)
    return error


def _order(case: Case, report: ModuleReport) -> tuple[object, ...]:
    """When vLLM meets a failure: it builds target and draft, loads the target, then the draft."""
    trunk = report.decision.module.part == "trunk"
    if report.decision.built == "error":
        return (0 if trunk else 1,)
    if trunk:
        order = () if report.tensor is None else case.disk("trunk").load_order(report.tensor)
        return (2, *order)
    if report.tensor is None:  # found at the end of the load, or after it
        return (4,)
    return (3, *case.disk("draft").load_order(report.tensor))


def _reason(reports: Iterable[ModuleReport]) -> str | None:
    unknown = next((r for r in reports if r.decision.built == "unknown"), None)
    return None if unknown is None else unknown.decision.error
