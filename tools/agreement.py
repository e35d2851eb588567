"""Sets our predictions against recordings of what a real vLLM built, and of what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import MissingKey
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context, fitting
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.case import missing_key
from mtpfix.engines.vllm.methods.shared.headers import scanned
from mtpfix.engines.vllm.name_mapper import in_force
from mtpfix.engines.vllm.policy import Policy, rules
from mtpfix.engines.vllm.predict import packed_mapping, predict
from mtpfix.model import Decision, JsonFile, Module, Part, Platform, QuantView
from tools import headers, recording
from tools.recording import Case, Outcome, read

PARTS: tuple[Part, ...] = ("trunk", "draft")
MARLIN = ("0.20.", "0.21.", "0.22.", "0.23.", "0.24.", "0.25.", "0.26.")
"""Releases that take a Marlin class of the same name and parameters where the sizes allow it."""


@dataclass
class Agreement:
    """How far we predict one recording."""

    family: str | None = None
    """The policy that speaks of it."""
    cases: int = 0
    decisions: int = 0
    wrong: int = 0
    """Decisions that we predict otherwise."""
    odd: Counter[str] = field(default_factory=Counter)
    """Cases that we predict otherwise in something else: names, paths, mappings."""
    examples: list[str] = field(default_factory=list)


def compared(recording: Path, release: str | None = None) -> Agreement:
    """Compares a whole recording.

    Args:
        recording: the file of one family.
        release: judge by what is known of this release, not by the recording's own.
    """
    found = Agreement()
    for case in read(recording):
        found.family = policy.recognise(case.config)
        found.cases += 1
        found.decisions += len(case.outcomes) if case.scheme else 0
        judged = case if release is None else replace(case, release=release)
        for text in disagreements(judged):
            decision = text[0] in "'\""  # it begins with the name of a module
            found.wrong += decision
            found.odd[text.partition(":")[0]] += not decision
            found.examples.append(f"{case.id}: {text}")
    found.odd = +found.odd
    return found


class Foreseen(NamedTuple):
    """What we predict of a case."""

    view: QuantView
    context: Context
    decisions: tuple[Decision, ...]

    @property
    def modules(self) -> list[Module]:
        """The modules that ask."""
        return [made.module for made in self.decisions if made.module.asks]


def foresee(case: Case, known: Policy, platform: Platform = "cuda") -> Foreseen | None:
    """Return what we predict of a case with metadata; None where we find none in it."""
    place = metadata.find({"config.json": JsonFile("config.json", b"", case.config)})
    if place is None:
        return None
    view = _with_headers(metadata.read(place), case)
    return _predicted(case, known, view, platform)


def _predicted(case: Case, known: Policy, view: QuantView, platform: Platform) -> Foreseen:
    context = construction.context(known, case.config, case.release, platform, view.method)
    modules = [
        module
        for part in PARTS
        for module in construction.modules(known, context, part)
        if module.asks
    ]
    return Foreseen(view, context, predict(known, view, context, modules))


def disagreements(case: Case, platform: Platform = "cuda") -> Iterator[str]:
    """Every decision, name and mapping of `case` that we predict otherwise."""
    family = policy.recognise(case.config)
    if family is None:
        yield f"not recognised: {case.config['architectures']}"
        return
    known = policy.policy(family)
    if not case.scheme:
        yield from _unquantized(case, known, platform)
        return
    foreseen = foresee(case, known, platform)
    if foreseen is None:
        yield f"no quantization found in {case.config}"
        return
    view, context, decisions = foreseen
    yield from _names(case, foreseen.modules)
    yield from _paths(case, foreseen.modules)
    if case.shared and case.ignore is not None and not view.keyed:
        after = in_force(view, known, context, "draft")
        ours = [entry.text for entry in after.ignore]
        if ours != case.ignore:
            yield f"ignore list after the mappers: {ours} instead of {case.ignore}"
    packed = packed_of(known, context)
    if not case.failures and packed != case.packed:
        yield f"packed mapping: {packed} instead of {case.packed}"
    yield from _refused(case, decisions)
    yield from _refusal(case, missing_key(known, context, view))
    yield from _decisions(case, decisions)


def packed_of(known: Policy, context: Context) -> dict[str, Sequence[str]]:
    """Return the packed mapping that we say is in force for the draft."""
    return dict(packed_mapping(known, context, "draft"))


def _unquantized(case: Case, known: Policy, platform: Platform) -> Iterator[str]:
    """What we predict otherwise where there is no metadata: exceptions, and what asks all the same.

    Only a draft class that brings a method of its own has anything asked.
    """
    view, context, decisions = _predicted(case, known, UNQUANTIZED, platform)
    built = {d.module.name: d.scheme for d in decisions if d.built == "quantized"}
    theirs = {o.module.name: o.scheme for o in case.outcomes if o.built == "quantized"}
    if built != theirs:
        yield f"built quantized without metadata: {built} instead of {theirs}"
    lacks = missing_key(known, context, view)
    limits = fitting(known.record.limits, context)
    early = [row.error for row in limits if row.phase == "build"]
    ours = early if lacks is None else [lacks.error]
    raised = {f"{f['type']}: {f['message']}" for f in case.failures}
    if raised != set(ours):
        yield f"exceptions without metadata: {ours} instead of {raised}"


def _with_headers(view: QuantView, case: Case) -> QuantView:
    """The metadata, with the list from the headers where the case had such."""
    stored = headers.wanted(case.ignore_name)
    if stored is None:
        return view
    header = headers.tensors(case.family, case.variant, view.method, stored)
    return scanned(view, Inventory(headers.checkpoint(header)))


def _refused(case: Case, decisions: Iterable[Decision]) -> Iterator[str]:
    """A refusal of the whole metadata: then we must foresee that nothing can be built."""
    ours = {_type(made.error) for made in decisions}
    if case.refused is not None and ours != {_type(case.refused)}:
        yield f"refusal: {ours} instead of {case.refused}"


def _type(error: str | None) -> str:
    """The class of an exception; empty for none."""
    return (error or "").partition(":")[0]


def _refusal(case: Case, lacks: MissingKey | None) -> Iterator[str]:
    """A key that the model class misses in the metadata: the first exception of the target."""
    raised = (f"{f['type']}: {f['message']}" for f in case.failures if f["phase"] == "target")
    missed = next((error for error in raised if error.startswith("KeyError")), None)
    ours = None if lacks is None else lacks.error
    if ours != missed:
        yield f"missing key: {ours} instead of {missed}"


def _names(case: Case, modules: list[Module]) -> Iterator[str]:
    if case.failures:
        return
    ours = [(m.part, m.kind, m.cls, m.name) for m in modules]
    stand = standing(case.outcomes)
    theirs = [(o.module.part, o.module.kind, o.module.cls, o.module.name) for o in stand]
    if ours != theirs:
        missing, extra = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
        yield f"modules: vLLM asks for {missing} and not for {extra}, or in another order"


def standing(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What stands in the end: some classes build the vision tower of their parent anew."""
    rows = list(outcomes)
    trunk = {o.module[1:4]: o for o in rows if o.module.part == "trunk"}
    return [*trunk.values(), *(o for o in rows if o.module.part == "draft")]


def _paths(case: Case, modules: list[Module]) -> Iterator[str]:
    """Paths in the module tree, which the engine's error messages print."""
    inside = rules("experts_param", case.release)
    ours = {
        path_of(m) + (inside if m.kind == "experts" else "") for m in modules if m.part == "draft"
    }
    theirs = {o.module.param for o in case.outcomes if o.module.part == "draft"}
    if not case.failures and ours != theirs:
        yield f"paths: {sorted(theirs - ours)} instead of {sorted(ours - theirs)}"


def path_of(module: Module) -> str:
    """The path in the module tree; recordings write the name of a layer that is in none."""
    return module.param or module.name


def _decisions(case: Case, decisions: tuple[Decision, ...]) -> Iterator[str]:
    for decision, outcome in decided_otherwise(case, decisions):
        mine = f"{decision.built} {decision.scheme} {decision.error}"
        theirs = f"{outcome.built} {outcome.scheme} {outcome.error}"
        yield f"{outcome.module.name!r}: {mine}, vLLM: {theirs}"


def decided_otherwise(
    case: Case, decisions: Iterable[Decision]
) -> Iterator[tuple[Decision, Outcome]]:
    """Yield each of our decisions that is not the one that was recorded, with that."""
    ours: dict[tuple[str, ...], Decision] = {}
    for made in decisions:
        ours.update(dict.fromkeys(_keys(made.module, path_of(made.module)), made))
    for outcome in standing(case.outcomes):
        module = outcome.module
        keys = reversed(_keys(module, module.param))
        decision = next((ours[key] for key in keys if key in ours), None)
        if decision is not None and not _same(decision, outcome, case):
            yield decision, outcome


def _keys(module: Module | recording.Module, path: str) -> tuple[tuple[str, ...], ...]:
    """What tells a module apart, from its name to its class and path."""
    whole = (module.part, module.name, module.cls, path)
    return whole[:2], whole[:3], whole


def _same(decision: Decision, outcome: Outcome, case: Case) -> bool:
    """As `same`; a class that refuses what it is given raises after the decision."""
    refused = decision.error == decision.module.refuses or outcome.built == "unquantized"
    if decision.built == "error" and refused:
        phase = "target" if decision.module.part == "trunk" else "draft"
        raised = [f"{f['type']}: {f['message']}" for f in case.failures if f["phase"] == phase]
        return outcome.built != "error" and raised == [decision.error]
    return same(decision, outcome, case.release)


def same(decision: Decision, outcome: Outcome, release: str) -> bool:
    """Whether we predict what was built: the decision, the scheme and the exception."""
    if decision.built != outcome.built:
        return False
    if outcome.built == "error":
        return _type(decision.error) == _type(outcome.error)
    theirs = outcome.scheme
    if theirs is not None and release.startswith(MARLIN):
        theirs = theirs.replace("WNA16Marlin", "WNA16")
    return decision.scheme == theirs
