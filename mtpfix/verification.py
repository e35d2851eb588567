"""Asks the installed vLLM itself, and sets its answer against disk and prediction."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mtpfix import judgement
from mtpfix.api import read
from mtpfix.checkpoint.precision import MISSING
from mtpfix.checkpoint.source import LocalSource
from mtpfix.engines.vllm import live, outcome
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.methods.shared.headers import reads_headers, scanned
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.predict import predict
from mtpfix.errors import UnknownError
from mtpfix.model import Built, Decision, Listing, Part, Precision, QuantView
from mtpfix.opened import Opened, open_target
from mtpfix.patterns import budget


@dataclass(frozen=True, slots=True)
class Verified:
    """One module: what the real vLLM built, what is on disk, what we predicted.

    Attributes:
        module: construction-time name.
        part: draft or trunk.
        disk: how it is stored.
        built: what vLLM made of it.
        scheme: the class that it picked.
        error: the exception, where it raised.
        predicted: what mtpfix says for the same release; None if it knows no such module.
        agrees: whether vLLM's module can take what is on disk; None if nothing is there.
        foreseen: whether the prediction was right; None if mtpfix could not judge.
    """

    module: str
    part: Part
    disk: Precision
    built: Built
    scheme: str | None
    error: str | None
    predicted: str | None
    agrees: bool | None
    foreseen: bool | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer of an installed vLLM.

    Attributes:
        version: its release.
        draft_class: class of the draft it built.
        modules: every module that asked.
        failures: exceptions that ended a phase.
        patches: what had to be patched so that it runs here.
        exit_code: 0 all fits, 1 something differs, 3 vLLM gave no usable answer.
    """

    version: str
    draft_class: str | None
    modules: tuple[Verified, ...]
    failures: tuple[str, ...]
    patches: tuple[str, ...]
    exit_code: int


def verify(
    target: str | Path = ".",
    *,
    python: str | None = None,
    timeout: float = 600,
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Verification:
    """Asks the vLLM of `python` (this interpreter by default) about a target.

    Nothing is loaded: modules are built on the meta device, in vLLM's own order.

    Args:
        target: a folder or a repo, as for `inspect`.
        python: path of an interpreter that has vLLM.
        timeout: seconds that vLLM may take to answer.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`; vLLM never sees it.

    Raises:
        UnknownError: there is no vLLM, it died, or mtpfix does not know the family.
        MtpfixError: the target cannot be read.
    """
    opened = read(target, draft, revision, token)
    found = opened.listing
    known, view = _known(opened)
    if found.target.kind == "hub" and reads_headers(view):
        raise UnknownError(
            "under this metadata vLLM reads the weights' headers, which a repo's metadata lack",
            f"hf download {found.target.name} --revision {found.target.revision} --local-dir DIR, "
            "and give DIR",
        )
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(found))
        block = opened.block.listing
        beside = None if opened.draft is None else stack.enter_context(_folder(block))
        answer = live.ask(folder, python=python, tolerant=True, timeout=timeout, draft=beside)
    return _compared(opened, known, view, answer)


def compared(target: str | Path, answer: live.Answer) -> Verification:
    """Sets an answer about a folder, which a vLLM gave already, against disk and prediction.

    Raises:
        UnknownError: mtpfix does not know the family.
        MtpfixError: the folder cannot be read.
    """
    opened = open_target(LocalSource(target))
    return _compared(opened, *_known(opened), answer)


def _known(opened: Opened) -> tuple[Policy, QuantView]:
    """The policy of a family and the metadata; both are needed in order to compare."""
    if opened.unknown is not None:
        raise opened.unknown
    if opened.policy is None or opened.view is None:
        what = "the architecture" if opened.policy is None else "the quantization metadata"
        raise UnknownError(f"nothing to compare: {what} is not known", "see `mtpfix families`")
    return opened.policy, opened.view


@budget.shared()
def _compared(opened: Opened, known: Policy, view: QuantView, answer: live.Answer) -> Verification:
    # A CPU is made to build what CUDA would.
    release = ".".join(answer.version.split("+")[0].split(".")[:3])
    case = judgement.case(opened, known, release, "cuda")
    judgement.refuse_pair(opened, [case])
    seen = scanned(view, case.inventory)
    predicted = predict(known, seen, case.context, (*case.draft, *case.trunk))
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


@contextmanager
def _folder(found: Listing) -> Iterator[Path]:
    """What vLLM is asked about: the folder itself, or one with the metadata files of a repo.

    It is offline and builds without weights, so it needs no more than these.
    """
    if found.target.kind == "local":
        yield Path(found.target.name)
        return
    with tempfile.TemporaryDirectory(prefix="mtpfix-") as made:
        for name, file in found.configs.items():
            (Path(made) / Path(name).name).write_bytes(file.raw)
        yield Path(made)


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
    report = outcome.judge(real, case.disk(made.part), case.loader_of(real.module))
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
