"""Asks an installed vLLM what it builds, and sets its answer against disk and prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from mtpfix.checkpoint.precision import MISSING
from mtpfix.engines.folders import folder_of
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.verification import Verification, Verified
from mtpfix.engines.vllm import live, load_outcome, reader
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.methods.shared.headers import reads_headers, scanned
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.predict import predict
from mtpfix.engines.vllm.separate_draft import refuse_pair
from mtpfix.errors import UnknownError
from mtpfix.model import Decision, Part
from mtpfix.patterns import budget


def verify(subject: Analyzable, *, python: str | None, timeout: float) -> Verification:
    """Ask the vLLM of an interpreter about a target; see `Engine.verify`."""
    files = subject.files
    found = files.listing
    if found.target.kind == "hub" and reads_headers(subject.view):
        raise UnknownError(
            "with this metadata vLLM reads the headers of the weights, which are not downloaded",
            f"hf download {found.target.name} --revision {found.target.revision} --local-dir DIR, "
            "and give DIR",
        )
    with ExitStack() as stack:
        folder = stack.enter_context(folder_of(found))
        draft = None if files.draft is None else stack.enter_context(folder_of(files.block.listing))
        answer = live.ask(
            folder,
            python=python,
            tolerant=True,
            timeout=timeout,
            draft=draft,
            speculation=cast(Policy, subject.family).record.speculation,
        )
    return compared(subject, answer)


@budget.shared()
def compared(subject: Analyzable, answer: live.Answer) -> Verification:
    """Return an answer of vLLM, set against disk and prediction."""
    # A CPU is made to build what CUDA would.
    release = ".".join(answer.version.split("+")[0].split(".")[:3])
    case = reader.case(subject, release, "cuda")
    refuse_pair(subject, [case])
    seen = scanned(subject.view, case.inventory)
    predicted = predict(
        cast(Policy, subject.family), seen, case.context, (*case.draft, *case.trunk)
    )
    rows = tuple(_rows(answer, predicted, case))
    failures = tuple(f"{failure.phase}: {failure}" for failure in answer.failures)
    wrong = failures or any(row.agrees is False for row in rows)
    return Verification(
        version=answer.version,
        draft_class=answer.draft_class,
        modules=rows,
        failures=failures,
        patches=answer.patches,
        exit_code=3 if not rows else 1 if wrong else 0,
    )


def _rows(answer: live.Answer, predicted: Iterable[Decision], case: Case) -> Iterator[Verified]:
    """One row for each answer about a module; those of the same name are paired in order."""
    ours: dict[tuple[Part, str], list[Decision]] = {}
    for decision in predicted:
        if decision.module.asks:
            ours.setdefault((decision.module.part, decision.module.name), []).append(decision)
    for made in answer.decisions:
        queue = ours.get((made.part, made.name), [])
        foreseen = queue.pop(0) if queue else None
        if foreseen is None or foreseen.module.members:
            yield _row(made, foreseen, case)


def _row(made: live.Made, foreseen: Decision | None, case: Case) -> Verified:
    if foreseen is None:
        return Verified(
            made.name, made.part, MISSING, made.built, made.scheme, made.error, None, None, False
        )
    real = replace(
        foreseen,
        built=made.built,
        scheme=made.scheme,
        error=made.error,
        expects=_expects(made, foreseen),
    )
    report = load_outcome.judge(real, case.disk(made.part), case.loader_of(real.module))
    return Verified(
        module=made.name,
        part=made.part,
        disk=report.disk,
        built=made.built,
        scheme=made.scheme,
        error=made.error,
        predicted=foreseen.built,
        agrees=report.agrees,
        foreseen=_foreseen(made, foreseen),
    )


def _foreseen(made: live.Made, ours: Decision) -> bool | None:
    """Whether the prediction was right; None where it was that we do not know."""
    if ours.built == "unknown":
        return None
    return (ours.built, ours.scheme) == (made.built, made.scheme)


def _expects(made: live.Made, foreseen: Decision) -> str | None:
    """The format that the built module loads; known where it is what we foresaw."""
    if made.built == "unquantized":
        return "unquantized"
    return foreseen.expects if made.scheme == foreseen.scheme else None
