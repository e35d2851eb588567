"""MTP0xx: what the configuration promises, and what is on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from mtpfix.engines.absence import absent_layers, block_absent
from mtpfix.model import Finding, ModuleReport, Problem, Severity, State, Where
from mtpfix.rules.evidence import Evidence, Rule, counted_subject, exception, some

TARGET, BASE = "TARGET", "BASE"
"""Stand for the target and the model that it was made from; `mtpfix/advice.py` fills them in."""
_GRAFT = (
    f"`mtpfix graft {TARGET} --from {BASE}` brings them back from the original model; where they "
    f"are not to be had, `mtpfix graft {TARGET} --drop` takes the declaration out"
)
LOST = ("MTP001", "MTP003", "MTP006")
"""Findings about weights that are not there."""


def promised_but_absent(evidence: Evidence) -> Iterator[Finding]:
    """MTP001: MTP layers are declared, and no tensor of them is on disk."""
    declared = evidence.case.mtp_layers
    if not declared or not _all_absent(evidence):
        return
    raises = evidence.case.absence_error is not None
    what = (
        f"{evidence.engine} refuses to load the draft"
        if raises
        else "the draft stays uninitialised"
    )
    yield Finding(
        code="MTP001",
        severity="error",
        confidence="read",
        message=f"config.json declares {_counted(declared)}, but no MTP tensor is on disk: "
        f"{what}. The weights are missing; no metadata can fix that.",
        where=evidence.at("config.json", ""),
        remedy=_GRAFT,
    )


def count_differs(evidence: Evidence) -> Iterator[Finding]:
    """MTP003: fewer MTP layers are on disk than the configuration declares."""
    declared = evidence.case.mtp_layers
    absent = absent_layers(evidence.draft)
    if absent and not _all_absent(evidence):
        listed = ", ".join(str(layer) for layer in absent)
        yield Finding(
            code="MTP003",
            severity="error",
            confidence="read",
            message=f"config.json declares {_counted(declared)}, but these layers have no tensors: "
            f"{listed}.",
            where=evidence.at("config.json", ""),
            remedy=_GRAFT,
        )


def _all_absent(evidence: Evidence) -> bool:
    """Return whether no tensor of any MTP layer is on disk."""
    absent, layers = absent_layers(evidence.draft), _layers(evidence)
    whole = (*evidence.draft, *evidence.unasked)
    return len(absent) == len(layers) if layers else block_absent(whole)


def _counted(layers: int) -> str:
    return "1 MTP layer" if layers == 1 else f"{layers:,} MTP layers"


def _layers(evidence: Evidence) -> set[int]:
    layers = (r.decision.module.layer for r in evidence.draft)
    return {layer for layer in layers if layer is not None}


def present_but_not_promised(evidence: Evidence) -> Iterator[Finding]:
    """MTP002: MTP tensors are on disk, and the configuration declares no MTP layer."""
    if evidence.case.mtp_layers:
        return
    roots = evidence.case.disk_roots
    found = [name for name in evidence.block.listing.shards if name.startswith(roots)]
    if not found:
        return
    target = evidence.case.undeclared_block
    error = None if target is None else target.error
    fate = (
        "" if error is None else f" Its target model does not load with them: {exception(error)}."
    )
    yield Finding(
        code="MTP002",
        severity="warning" if error is None else "error",
        confidence="run" if target is None else target.grade,
        message=f"{len(found)} tensors of an MTP block are on disk ({some(found, 1)}), but "
        f"config.json declares no MTP layer: {evidence.engine} cannot use them as a draft.{fate}",
        where=evidence.at("config.json", ""),
        remedy="restore the MTP layer count of the original model in config.json",
    )
    if target is None:
        yield Finding(
            code="MTP904",
            severity="error",
            confidence="read",
            message=f"could not judge: whether the target model loads in {evidence.engine} with "
            "tensors of an MTP block that config.json does not declare is not known; restore the "
            "MTP layer count of the original model in config.json",
            where=evidence.at("config.json", ""),
        )


def weights_missing(evidence: Evidence) -> Iterator[Finding]:
    """MTP006: of an MTP layer that is there, modules or parts of them have no weights."""
    if not evidence.case.mtp_layers or _all_absent(evidence):
        return  # MTP001 and MTP002 say so
    absent = absent_layers(evidence.draft)
    params = (
        *(
            r.decision.module.param
            for r in (*evidence.draft, *evidence.unasked)
            if r.decision.module.layer not in absent and _lacks_weights(r)
        ),
        *(e.param for e in evidence.case.unfilled if e.layer not in absent),
    )
    if params:
        yield Finding(
            code="MTP006",
            severity="error",
            confidence="read",
            message=f"weights of MTP modules are missing, entirely or in part: "
            f"{some(params)}. What is missing stays uninitialised; no metadata can fix that.",
            modules=params,
            remedy=_GRAFT,
        )


def _lacks_weights(report: ModuleReport) -> bool:
    """Whether a module is not on disk, or is of the right precision there and not whole."""
    if report.disk.state is State.MISSING:
        return report.consequence is not None
    plain = report.decision.built == "unquantized" and report.disk.state is State.UNQUANTIZED
    return plain and report.agrees is False and report.limit is None


def outside_the_index(evidence: Evidence) -> Iterator[Finding]:
    """MTP004, MTP005, MTP402: MTP tensors in files that the index does not name, or perhaps."""
    roots = evidence.case.disk_roots
    yield from unindexed(evidence.problems, roots, evidence.engine)


def unindexed(
    problems: Iterable[Problem], roots: tuple[str, ...], engine: str
) -> Iterator[Finding]:
    """The same of a checkpoint whose metadata is not known.

    Args:
        problems: those of the files.
        roots: what names of MTP tensors begin with.
        engine: who reads them.
    """
    for problem in problems:
        lost = [name for name in problem.tensors if name.startswith(roots)]
        if problem.kind in ("not_in_index", "shadowed_index") and lost:
            yield Finding(
                code="MTP004",
                severity="error",
                confidence="run",
                message=f"{problem.file} holds {len(lost)} MTP tensors, but no entry of the "
                f"index names it: {engine} does not read it.",
                where=None if problem.elsewhere else Where(problem.file, ""),
                remedy="`mtpfix rewrite` adds its tensors to weight_map in the index",
            )
        if problem.unread:
            yield Finding(
                code="MTP402",
                severity="warning",
                confidence="run",
                message=f"{problem.message}. Whether it holds MTP tensors is not known.",
                where=None if problem.elsewhere else Where(problem.file, ""),
                remedy="download it again, or remove it if it is no part of the checkpoint",
            )
        if problem.kind == "shadowed_index" and not problem.elsewhere:
            yield Finding(
                code="MTP005",
                severity="warning",
                confidence="read",
                message="model.safetensors lies beside an index that does not name it: "
                f"{engine} reads the index, other tools (huggingface_hub, compressed-tensors) the "
                "single file.",
                where=Where(problem.file, ""),
                remedy="rename or remove model.safetensors, or name it in the index",
            )


def without_a_place(evidence: Evidence) -> Iterator[Finding]:
    """MTP008: tensors of the MTP block that the draft has no parameter for."""
    strays = evidence.case.strays
    refused = tuple(stray.name for stray in strays if stray.raises)
    ignored = tuple(stray.name for stray in strays if not stray.raises)
    if refused:
        yield Finding(
            code="MTP008",
            severity="error",
            confidence=evidence.case.grade,
            message=f"{_tensors(refused)} no parameter in the draft: {some(refused)}. "
            f"{evidence.engine} raises an exception while it loads; no metadata can fix that.",
            modules=refused,
            remedy="remove these tensors from the shard and from the index",
        )
    if ignored:
        yield Finding(
            code="MTP008",
            severity="info",
            confidence=evidence.case.grade,
            message=f"{_tensors(ignored)} no parameter in the draft: {some(ignored)}. "
            f"{evidence.engine} ignores such tensors.",
            modules=ignored,
        )


def _tensors(names: Collection[str]) -> str:
    """Subject and verb of a sentence about tensors of the MTP block."""
    one = len(names) == 1
    return (
        "1 tensor of the MTP block has" if one else f"{len(names):,} tensors of the MTP block have"
    )


def target_without_a_place(evidence: Evidence) -> Iterator[Finding]:
    """MTP009: tensors of the target model that none of its modules takes."""
    strays = evidence.case.target_strays
    for fate, lost in sorted({(stray.fate, stray.lost) for stray in strays}):
        named = tuple(s.name for s in strays if (s.fate, s.lost) == (fate, lost))
        error = next((s.error for s in strays if s.fate == fate and s.error), None)
        they_are, _ = counted_subject(len(named), "tensor")
        raised = f"raises an exception while it loads: {exception(error or '')}"
        what = {
            "raises": f"{evidence.engine} {raised}",
            "dropped": f"{evidence.engine} ignores such tensors",
            "unknown": f"what {evidence.engine} does with such tensors is not known",
        }[fate]
        uninitialised = ", and the modules that they stand for stay uninitialised" if lost else ""
        yield Finding(
            code="MTP009",
            severity="error" if fate == "raises" or lost else _LOOSE[fate],
            confidence=evidence.case.grade,
            message=f"{they_are} taken by no module of the target model: {some(named)}. "
            f"{what}{uninitialised}; no metadata can fix that.",
            modules=named,
            remedy="store these tensors under the names of the original model, or remove them",
        )


_LOOSE: Mapping[str, Severity] = {"dropped": "info", "unknown": "warning"}
"""How grave a tensor is that nothing takes, where no exception is foretold."""

BY_NAME: tuple[Rule, ...] = (
    without_a_place,
    promised_but_absent,
    present_but_not_promised,
    count_differs,
    outside_the_index,
)
"""Rules that look at the names of tensors alone, whatever the quantization method."""

RULES: tuple[Rule, ...] = (*BY_NAME, weights_missing, target_without_a_place)
