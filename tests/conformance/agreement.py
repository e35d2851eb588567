"""Sets our prediction against recordings of what a real vLLM built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix import quant
from mtpfix.engines.vllm import names, policy
from mtpfix.engines.vllm.judge import unmet
from mtpfix.engines.vllm.mapper import mapped, mapped_for_draft
from mtpfix.engines.vllm.policy import rules
from mtpfix.engines.vllm.predict import packed_mapping, predict
from mtpfix.model import Decision, JsonFile, Module, Platform
from tools.recording import Case, Outcome

MARLIN = ("0.20.", "0.21.", "0.22.", "0.23.", "0.24.", "0.25.", "0.26.")
"""Releases that take a Marlin class of the same name and parameters where the sizes allow it."""


def disagreements(case: Case, platform: Platform = "cuda") -> Iterator[str]:
    """Every decision, name and mapping of `case` that we predict otherwise."""
    family = policy.recognise(case.config)
    if family is None:
        yield f"not recognised: {case.config['architectures']}"
        return
    known = policy.policy(family)
    context = names.context(known, case.config, case.release, platform)
    modules = [
        module
        for part in ("trunk", "draft")
        for module in names.modules(known, context, part)  # type: ignore[arg-type]
        if module.asks
    ]
    if not case.scheme:
        return  # without quantization vLLM asks nothing
    yield from _names(case, modules)
    yield from _paths(case, modules)
    view = quant.read(quant.find({"config.json": JsonFile("config.json", b"", case.config)}))
    if case.shared and case.ignore is not None:
        both = mapped_for_draft(mapped(view, known, context), known, context)
        ours = [entry.text for entry in both.ignore]
        if ours != case.ignore:
            yield f"ignore list after the mappers: {ours} instead of {case.ignore}"
    if not case.failures and dict(packed_mapping(known, context, "draft")) != case.packed:
        yield f"packed mapping: {packed_mapping(known, context, 'draft')} instead of {case.packed}"
    yield from _refusal(case, unmet(known, context, view))
    yield from _decisions(case, predict(known, view, context, modules))


def _refusal(case: Case, lacks: Mapping[str, str] | None) -> Iterator[str]:
    """A key that the model class misses in the metadata: the first exception of the target."""
    raised = (f"{f['type']}: {f['message']}" for f in case.failures if f["phase"] == "target")
    missed = next((error for error in raised if error.startswith("KeyError")), None)
    ours = None if lacks is None else lacks["error"]
    if ours != missed:
        yield f"missing key: {ours} instead of {missed}"


def _names(case: Case, modules: list[Module]) -> Iterator[str]:
    if case.failures:
        return
    ours = [(m.part, m.kind, m.cls, m.name) for m in modules]
    theirs = [(o.module.part, o.module.kind, o.module.cls, o.module.name) for o in case.outcomes]
    if ours != theirs:
        missing, extra = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
        yield f"modules: vLLM asks for {missing} and not for {extra}, or in another order"


def _paths(case: Case, modules: list[Module]) -> Iterator[str]:
    """Paths in the module tree, which the engine's error messages print."""
    inside = rules("experts_param", case.release)
    ours = {m.param + (inside if m.kind == "experts" else "") for m in modules if m.part == "draft"}
    theirs = {o.module.param for o in case.outcomes if o.module.part == "draft"}
    if not case.failures and ours != theirs:
        yield f"paths: {sorted(theirs - ours)} instead of {sorted(ours - theirs)}"


def _decisions(case: Case, decisions: tuple[Decision, ...]) -> Iterator[str]:
    ours = {(d.module.part, d.module.name, d.module.param): d for d in decisions}
    loose = {(d.module.part, d.module.name): d for d in decisions}
    for outcome in case.outcomes:
        module = outcome.module
        decision = ours.get((module.part, module.name, module.param)) or loose.get(
            (module.part, module.name)
        )
        if decision is not None and not same(decision, outcome, case.release):
            mine = f"{decision.built} {decision.scheme} {decision.error}"
            yield f"{module.name!r}: {mine}, vLLM: {outcome.built} {outcome.scheme} {outcome.error}"


def same(decision: Decision, outcome: Outcome, release: str) -> bool:
    """Whether we predict what was built: the decision, the scheme and the exception."""
    if decision.built != outcome.built:
        return False
    if outcome.built == "error":
        return (decision.error or "").split(":")[0] == (outcome.error or "").split(":")[0]
    theirs = outcome.scheme
    if theirs is not None and release.startswith(MARLIN):
        theirs = theirs.replace("WNA16Marlin", "WNA16")
    return decision.scheme == theirs
