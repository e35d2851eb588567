"""Asks an installed SGLang what it builds, and sets its answer against disk and prediction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from mtpfix.checkpoint.precision import MISSING
from mtpfix.engines.child import Made
from mtpfix.engines.folders import folder_of
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.sglang import live
from mtpfix.engines.sglang.case import Case
from mtpfix.engines.sglang.policy import Policy
from mtpfix.engines.verification import Verification, Verified
from mtpfix.model import Decision
from mtpfix.patterns import budget

_CHOOSES = "LinearBase"
"""The class by whose answer a model chooses what to build; nothing is loaded into it."""
_TOWER = "visual."
"""What names of a vision tower begin with: nothing is foreseen of it."""
_Foreseen = dict[tuple[str, str, str], list[Decision]]


def verify(subject: Analyzable, *, python: str | None, timeout: float) -> Verification:
    """Ask the SGLang of an interpreter about a target; see `Engine.verify`."""
    files = subject.files
    with ExitStack() as stack:
        folder = stack.enter_context(folder_of(files.listing))
        draft = None if files.draft is None else stack.enter_context(folder_of(files.block.listing))
        told = cast(Policy, subject.family).record.arguments
        answer = live.ask(
            folder, python=python, tolerant=True, timeout=timeout, draft=draft, arguments=told
        )
    return compared(subject, answer)


@budget.shared()
def compared(subject: Analyzable, answer: live.Answer) -> Verification:
    """Return an answer of SGLang, set against disk and prediction."""
    # A CPU is made to build what CUDA would.
    release = ".".join(answer.version.split("+")[0].split(".")[:3])
    case = cast(Case, subject.engine.cases(subject, [release], ["cuda"])[0])
    rows = tuple(_rows(answer, case))
    failures = tuple(f"{failure.phase}: {failure}" for failure in answer.failures)
    wrong = failures or any(row.agrees is False for row in rows)
    return Verification(
        version=answer.version,
        draft_class=answer.draft_class,
        modules=rows,
        failures=failures,
        patches=answer.patches,
        exit_code=3 if not rows else 1 if wrong else 0,
        engine=subject.engine.title,
    )


def _rows(answer: live.Answer, case: Case) -> Iterator[Verified]:
    """Yield one row for each answer about a module; of those of one name the first is foreseen."""
    ours: _Foreseen = defaultdict(list)
    for decision in case.decide(case.view, (*case.draft, *case.trunk)):
        module = decision.module
        if module.asks:
            ours[module.part, module.name, module.cls].append(decision)
    for made in answer.decisions:
        if made.cls == _CHOOSES or made.name.startswith(_TOWER):
            continue
        queue = ours.get((made.part, made.name, made.cls), [])
        foreseen = queue[0] if len(queue) == 1 else queue.pop(0) if queue else None
        if foreseen is None or foreseen.module.members:
            yield _row(made, foreseen, case)


def _row(made: Made, foreseen: Decision | None, case: Case) -> Verified:
    real = Verified(
        made.name, made.part, MISSING, made.built, made.scheme, made.error, None, None, False
    )
    if foreseen is None:
        return real
    alike = _scheme(made.scheme) == _scheme(foreseen.scheme)
    expects = foreseen.expects if alike else None
    taken = replace(
        foreseen,
        built=made.built,
        scheme=made.scheme,
        error=made.error,
        expects="unquantized" if made.built == "unquantized" else expects,
    )
    report = case.compared(case.view, taken)
    return replace(
        real,
        disk=report.disk,
        predicted=foreseen.built,
        agrees=report.agrees,
        foreseen=_foreseen(made, foreseen, alike=alike),
    )


def _foreseen(made: Made, ours: Decision, *, alike: bool) -> bool | None:
    """Return whether the prediction was right; None where it was that mtpfix does not know."""
    if ours.built == "unknown":
        return None
    return ours.built == made.built and (made.built != "quantized" or alike)


def _scheme(name: str | None) -> str:
    """Return a class without the kernel that serves it, which hangs on the shapes of a layer."""
    return (name or "").rpartition(":")[2].replace("Marlin", "")
