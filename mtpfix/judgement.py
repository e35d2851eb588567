"""From an opened target to a report: every selected release judged, findings merged. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from mtpfix import quant, rules
from mtpfix.checkpoint import strict
from mtpfix.checkpoint.document import JsonDocument
from mtpfix.engines.vllm import judge, names, policy
from mtpfix.engines.vllm.drafts import OtherDraft
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.methods.refused import refusal
from mtpfix.engines.vllm.policy import Context, Policy
from mtpfix.errors import UnknownError
from mtpfix.findings import is_unjudged
from mtpfix.model import (
    FAILED,
    EngineReport,
    Finding,
    Json,
    JsonFile,
    ModelInfo,
    Module,
    Platform,
    Problem,
    QuantView,
    Report,
)
from mtpfix.opened import Draft, Opened, unknown_family
from mtpfix.patterns import budget
from mtpfix.quant.beside import FILES as BESIDE
from mtpfix.repair.fixes import with_fixes
from mtpfix.rules.evidence import Evidence, LineOf
from mtpfix.rules.presence import unindexed


def cases(
    opened: Opened, known: Policy, vllm: Sequence[str], platforms: Sequence[Platform]
) -> tuple[Case, ...]:
    """One case for each selected release and platform.

    Raises:
        UnknownError: a release is not covered, the configuration does not fit the policy, or a
            draft from elsewhere is built otherwise than the target's would be.
    """
    found: list[Case] = []
    shared: dict[Hashable, tuple[Module, ...]] = {}
    places = policy.known_platforms(known, platforms)
    for release in policy.known_releases(known, vllm):
        for platform in places:
            found.append(replace(case(opened, known, release, platform), shared_modules=shared))
            names.counts(known, found[-1].context)
    refuse_pair(opened, found)
    return tuple(found)


def case(opened: Opened, known: Policy, release: str, platform: Platform) -> Case:
    """A target, and its draft where that comes from elsewhere, seen by one release."""
    context = _context(opened, known, opened.config, release, platform)
    beside = None if opened.draft is None else opened.draft.inventory
    return Case(known, context, opened.inventory, beside)


def _context(
    opened: Opened, known: Policy, config: Mapping[str, Json], release: str, platform: Platform
) -> Context:
    """What a release makes of a `config.json`, under the metadata of the target."""
    context = names.context(known, config, release, platform, opened.dialect)
    files = {names.FILES: sorted(opened.block.listing.configs)}
    context = names.drafting(known, context, opened.block.listing.shards)
    return context.with_fields(**files)


def apart(found: Iterable[Case]) -> tuple[str, ...]:
    """Releases whose draft goes by the metadata of its own checkpoint, not the target's."""
    own = (item.context.release for item in found if item.policy.reads_its_own(item.context))
    return tuple(dict.fromkeys(own))


def refuse_pair(opened: Opened, found: Sequence[Case]) -> None:
    """Refuses a draft from elsewhere that the target's files and metadata do not tell all about.

    Raises:
        UnknownError: it goes by metadata of its own, its `config.json` leads to another draft than
            the target's, or vLLM refuses one of the two methods.
    """
    draft = opened.draft
    if draft is None:
        return
    one = strict.shown(draft.target.name)
    if own := apart(found):
        raise UnknownError(
            f"vLLM {', '.join(own)} builds this draft by the metadata of its own checkpoint",
            f"judge {one} by itself for these releases, and choose others with --vllm",
        )
    for item in found:
        ours = item.context
        theirs = _context(opened, item.policy, draft.config, ours.release, ours.platform)
        if _traits(item, opened.view) != _traits(
            replace(item, context=theirs, shared_modules={}), opened.view
        ):
            raise UnknownError(
                f"the config.json of {one} leads to another draft than the target's",
                "let both say the same, above all the number of MTP layers",
            )
        for method in (opened.dialect, draft.method):
            refused = refusal(method, ours) if method else None
            if refused is not None:
                raise UnknownError(refused["reason"], refused.get("remedy", "use another method"))


def _traits(item: Case, view: QuantView | None) -> Hashable:
    """What the verdict on the draft rests on; without metadata its modules alone."""
    return item.draft if view is None else item.draft_traits(view)


@budget.shared()
def report(
    opened: Opened,
    *,
    vllm: Sequence[str],
    platforms: Sequence[Platform],
    trunk: bool = False,
    fixes: bool = True,
    selected: Sequence[Case] | None = None,
) -> Report:
    """The report on an opened target; what cannot be judged is a finding, not an exception.

    Args:
        opened: the target.
        vllm: releases, specifiers, `newest` or `all`.
        platforms: the platforms to judge for.
        trunk: whether every trunk module is shown, or only those that matter.
        fixes: whether findings are given the edits that mend them.
        selected: the cases of these releases and platforms, where they have been made.

    Raises:
        UsageError: `vllm` holds something that is no release and no specifier.
    """
    with suppress(UnknownError):  # comes to light below, where it matters
        policy.select_releases(vllm)
    made = _report(opened, vllm, platforms, selected, trunk=trunk, fixes=fixes)
    if opened.draft is None:
        return made
    told = () if opened.other is not None else _drafted(opened, opened.draft)
    return replace(made, draft=opened.draft.target, notes=(*made.notes, *told))


def _report(
    opened: Opened,
    vllm: Sequence[str],
    platforms: Sequence[Platform],
    selected: Sequence[Case] | None,
    *,
    trunk: bool,
    fixes: bool,
) -> Report:
    """The report, but for where the draft comes from; see `report`."""
    if opened.other is not None:
        return _not_mtp(opened, opened.other)
    if opened.unknown is not None:
        return _could_not_judge(opened, opened.unknown, vllm, platforms)
    if opened.policy is None:
        return _nothing_to_judge(opened)
    view = opened.view or quant.UNQUANTIZED
    try:
        selected = selected or cases(opened, opened.policy, vllm, platforms)
        evidence = _evidence(opened, view, selected)
        info = _counted(_model(opened), selected[-1])
    except UnknownError as error:
        return _could_not_judge(opened, error, vllm, platforms)
    findings = rules.run(evidence)
    if fixes:
        findings = with_fixes(findings, selected, view)
    engines = tuple(_shown(item, trunk) for item in evidence)
    none = all(engine.outcome == "no_mtp" for engine in engines)
    return Report(
        target=opened.listing.target,
        model=info,
        method=opened.method,
        quant_files=view.files,
        engines=engines,
        findings=findings,
        exit_code=exit_code(findings, engines),
        lines=_entry_lines(engines, evidence),
        notes=((_NO_MTP,) if none else ()) + _without_metadata(opened),
    )


def _drafted(opened: Opened, draft: Draft) -> Iterator[str]:
    """Where the MTP block comes from, if not from the target."""
    yield f"the MTP block is that of {strict.shown(draft.target.name)}"
    roots = _roots(opened) or ()
    if any(name.startswith(roots) for name in opened.listing.shards):
        yield "the MTP block of the target itself is not judged: this draft takes its place"


def _roots(opened: Opened) -> tuple[str, ...] | None:
    """What names of MTP tensors begin with; None where nothing is promised about the model."""
    if opened.policy is not None:
        with suppress(UnknownError):  # another thing is not known already
            context = names.newest(opened.policy, opened.config)
            return names.disk_roots(opened.policy, context)
    return None


def _problems(opened: Opened, roots: tuple[str, ...]) -> tuple[Problem, ...]:
    """What is wrong with the files; those of an MTP block that nothing loads do not count."""
    if opened.draft is None:
        return opened.checkpoint.problems

    def about_mtp(problem: Problem) -> bool:
        return any(name.startswith(roots) for name in problem.tensors)

    ours = (p for p in opened.checkpoint.problems if not about_mtp(p))
    theirs = (p for p in opened.block.problems if about_mtp(p))
    return (*ours, *map(_of_draft, theirs))


def _of_draft(problem: Problem) -> Problem:
    """The same, said of a file that is not the target's."""
    file, message = (f"draft: {text}" for text in (problem.file, problem.message))
    return replace(problem, file=file, message=message, elsewhere=True)


_NO_MTP = "config.json declares no MTP layers: there is no draft to judge"
_BESIDE = (
    "{file} is only read under `--quantization`: put what it says into config.json, as "
    "quantization_config with its quant_method"
)
_NO_METADATA = "config.json has no quantization_config: vLLM builds everything unquantized"


def _evidence(opened: Opened, view: QuantView, selected: Iterable[Case]) -> tuple[Evidence, ...]:
    line_of = _lines(opened.listing.configs, view)
    judged: dict[Hashable, EngineReport] = {}
    found: list[Evidence] = []
    for case in selected:
        key = case.fingerprint(view)
        if key not in judged:
            judged[key] = judge.report(case, view)
        engine = replace(judged[key], platform=case.context.platform)
        problems = _problems(opened, names.disk_roots(case.policy, case.context))
        found.append(Evidence(case, view, engine, opened.block, problems, line_of))
    return tuple(found)


def _entry_lines(
    engines: Iterable[EngineReport], evidence: Sequence[Evidence]
) -> dict[tuple[str, str], int]:
    """Lines of all entries that decided about a module that is shown."""
    line_of = evidence[0].line_of
    found: dict[tuple[str, str], int] = {}
    for entry in {m.decision.because for engine in engines for m in engine.modules}:
        line = None if entry is None else line_of(entry.file, entry.pointer)
        if entry is not None and line is not None:
            found[entry.file, entry.pointer] = line
    return found


def _shown(item: Evidence, trunk: bool) -> EngineReport:
    return item.report if trunk else judge.without_quiet_trunk(item.report)


def _lines(configs: Mapping[str, JsonFile], view: QuantView) -> LineOf:
    """Finds lines by pointer: one scan for all entries, others on demand."""
    entries = (*view.ignore, *(target for group in view.groups for target in group.targets))
    known: dict[tuple[str, str], int | None] = {}

    def line_of(file: str, pointer: str) -> int | None:
        if file not in configs or not pointer:
            return None
        if (file, pointer) not in known:
            pointers = [pointer, *(e.pointer for e in entries if e.file == file)]
            lines = JsonDocument(configs[file].raw).lines_of(pointers)
            known.update(zip([(file, p) for p in pointers], lines, strict=True))
        return known[file, pointer]

    return line_of


def _model(opened: Opened) -> ModelInfo:
    named = opened.config.get("architectures")
    model_type = opened.config.get("model_type")
    return ModelInfo(
        family=None if opened.policy is None else opened.policy.family,
        model_type=model_type if isinstance(model_type, str) else None,
        architectures=tuple(a for a in named or () if isinstance(a, str))
        if isinstance(named, list)
        else (),
    )


def _counted(info: ModelInfo, case: Case) -> ModelInfo:
    layers, mtp_layers = names.counts(case.policy, case.context)
    draft = case.policy.pick("draft_class", case.context)
    return replace(
        info,
        draft_class=None if draft is None else draft["value"],
        num_hidden_layers=layers,
        mtp_layers=mtp_layers,
    )


def _without_metadata(opened: Opened) -> tuple[str, ...]:
    """Return what is worth knowing of a checkpoint without quantization metadata."""
    if opened.view is not None:
        return ()
    beside = [name for name in BESIDE if name in opened.listing.configs]
    return (_NO_METADATA, *(_BESIDE.format(file=name) for name in beside[:1]))


def _nothing_to_judge(opened: Opened) -> Report:
    """Return the report on an unquantized model of a family that no policy knows.

    It has nothing to judge, unless `config.json` declares MTP layers.
    """
    if policy.declares_mtp(opened.config):
        return _unjudged(opened, unknown_family(opened.config))
    notes = (*_without_metadata(opened), "no MTP layers are declared: nothing to judge")
    return Report(opened.listing.target, _model(opened), None, (), (), (), 0, notes=notes)


def _not_mtp(opened: Opened, other: OtherDraft) -> Report:
    """Nothing to judge, and what the draft is instead."""
    model = "" if other.inside else ', "model": "…"'
    say = f'`--speculative-config \'{{"method": "{other.method}"{model}, …}}\'`'
    told = f"`{other.evidence}`"
    if other.inside:
        message = f"the draft of this checkpoint is {other.title}, not MTP ({told} shows it)"
    else:
        message = f"this is the {other.title} draft of another model, not MTP ({told} shows it)"
    found = Finding(
        code="MTP007",
        severity="warning" if other.inside else "info",
        confidence="read",
        message=f"{message}: vLLM {other.releases} serves it with {say}. No quantization metadata "
        "makes it an MTP block.",
    )
    notes = ("there is no MTP block: nothing to judge",)
    return Report(
        opened.listing.target, _model(opened), opened.method, (), (), (found,), 0, notes=notes
    )


def _could_not_judge(
    opened: Opened, error: UnknownError, vllm: Sequence[str], platforms: Sequence[Platform]
) -> Report:
    return _unjudged(opened, error, tuple(_regardless(opened, vllm, platforms)))


def _unjudged(opened: Opened, error: UnknownError, more: Sequence[Finding] = ()) -> Report:
    """Return the report that says why a target is not judged.

    Args:
        opened: the target.
        error: the reason.
        more: findings that hold all the same.
    """
    message = f"could not judge: {error.message}; {error.remedy}"
    return Report(
        target=opened.listing.target,
        model=_model(opened),
        method=opened.method,
        quant_files=() if opened.view is None else opened.view.files,
        engines=(),
        findings=(Finding(error.code, "error", "run", message), *more),
        exit_code=exit_code(more, ()) or UnknownError.exit_code,
    )


def _regardless(
    opened: Opened, vllm: Sequence[str], platforms: Sequence[Platform]
) -> Iterator[Finding]:
    """Yield what is wrong whatever the quantization method: MTP tensors absent or misplaced."""
    known = opened.policy
    if known is None or (opened.draft is not None and not _akin(known, opened.draft)):
        return
    try:
        places = policy.known_platforms(known, platforms)
        releases = policy.known_releases(known, vllm)
        found = [case(opened, known, release, place) for release in releases for place in places]
        evidence = _evidence(opened, quant.UNQUANTIZED, found)
    except UnknownError:  # the files alone can be looked at
        roots = _roots(opened)
        if roots is not None:
            yield from unindexed(_problems(opened, roots), roots)
        return
    yield from rules.run(evidence, rules.METHODLESS)


def _akin(known: Policy, draft: Draft) -> bool:
    """Return whether a draft from elsewhere is of the target's family."""
    return policy.recognise(draft.config) == known.family


def exit_code(findings: Sequence[Finding], engines: Sequence[EngineReport]) -> int:
    """0 clean, 1 something is wrong, 3 something could not be judged.

    A load that fails is wrong even where no finding says why; a release that is newer than
    all that is known is not judged for good.
    """
    if rules.worst(findings) == "error" or any(engine.outcome in FAILED for engine in engines):
        return 1
    if any(map(is_unjudged, findings)) or any(engine.outcome == "unknown" for engine in engines):
        return UnknownError.exit_code
    return 0
