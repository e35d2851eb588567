"""From a subject to a report: every selected release judged, findings merged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from mtpfix import facts, rules
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.document import JsonDocument
from mtpfix.engines.alike import once
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.engines.opening import (
    UNQUANTIZED,
    Analyzable,
    Files,
    NoQuantization,
    Opening,
    OtherDraft,
    QuantizedBy,
    Reading,
    Unsupported,
)
from mtpfix.engines.releases import unknown_patches
from mtpfix.errors import UnknownError
from mtpfix.merging import exit_code, merge
from mtpfix.model import (
    FAILED,
    EngineReport,
    Finding,
    JsonFile,
    ModelInfo,
    ModuleReport,
    Outcome,
    Problem,
    QuantView,
    Report,
)
from mtpfix.patterns import budget
from mtpfix.repair import progress
from mtpfix.rules.coverage import newer
from mtpfix.rules.evidence import Evidence, LineOf
from mtpfix.rules.presence import unindexed
from mtpfix.selection import Scope, Selection
from mtpfix.subject import Subject


@dataclass(frozen=True, slots=True)
class Analysis:
    """What some releases make of one subject.

    Attributes:
        report: all there is to say about it.
        cases: one for each release and platform; empty where nothing could be judged.
        error: why nothing could be judged, or None.
    """

    report: Report
    cases: tuple[EngineCase, ...] = ()
    error: UnknownError | None = None

    @property
    def has_metadata(self) -> bool:
        """Whether there is quantization metadata that a repair could change."""
        return bool(self.cases) and bool(self.cases[0].view.method)


@budget.shared()
def analyze(subject: Subject, selection: Selection, *, trunk: bool = False) -> Analysis:
    """Return what the releases that decide make of a subject.

    What cannot be judged is a finding, not an exception.

    Args:
        subject: the target.
        selection: engines, releases and platforms.
        trunk: whether every module of the target model is shown, or only those that matter.
    """
    return _analyze_engines(subject, selection, selection.decisive, trunk=trunk)


@budget.shared()
def analyze_shown(subject: Subject, selection: Selection, *, trunk: bool = False) -> Analysis:
    """Return what decides and what is told beside make of a subject; see `analyze`."""
    return _analyze_engines(subject, selection, selection.shown, trunk=trunk)


@budget.shared()
def verdicts_beside(subject: Subject, selection: Selection) -> tuple[EngineReport, ...]:
    """Return the verdicts of engines that decide nothing, as far as they know the subject."""
    if not selection.beside.engines:
        return ()
    return _analyze_engines(subject, selection, selection.beside).report.engines


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the selected releases make of one state of a target.

    Attributes:
        planned: the report of all releases that a repair is planned for.
        gating: the report of those that decide, as `check` gives it.
        cases: one for each release and platform of `planned`; empty where nothing was judged.
        error: why nothing could be judged, or None.
    """

    planned: Report
    gating: Report
    cases: tuple[EngineCase, ...] = field(default=(), repr=False, compare=False)
    error: UnknownError | None = None

    @property
    def has_metadata(self) -> bool:
        """Whether there is quantization metadata that a repair could change."""
        return bool(self.cases) and bool(self.cases[0].view.method)

    @property
    def failing(self) -> int:
        """How many of the planned releases and platforms fail."""
        return sum(engine.outcome in FAILED for engine in self.planned.engines)

    def is_better(self, old: Judgement) -> bool:
        """Return whether a release that decides fails in `old` and no longer does."""
        return progress.improved(old.gating, self.gating)

    def worse(self, old: Judgement) -> tuple[EngineReport, ...]:
        """Return the releases that decide and are worse than in `old`, module by module."""
        return progress.worsened(old.gating, self.gating)

    def newly_failing(self, old: Judgement) -> tuple[EngineReport, ...]:
        """Return the planned releases that fail although they do not in `old`."""
        return progress.spoilt(old.planned, self.planned)

    def mapped(self, change: Callable[[Report], Report]) -> Judgement:
        """Return the judgement with both reports changed."""
        return replace(self, planned=change(self.planned), gating=change(self.gating))

    def required(self) -> Judgement:
        """Return the judgement.

        Raises:
            UnknownError: nothing could be judged.
        """
        if self.error is not None:
            raise self.error
        return self


@budget.shared()
def judge(subject: Subject, selection: Selection) -> Judgement:
    """Return what all planned releases make of a subject, and what those that decide do.

    The second costs little: what a case has judged, it keeps.
    """
    whole = _analyze_engines(subject, selection, selection.planned)
    if not whole.cases:
        return Judgement(whole.report, whole.report, error=whole.error)
    deciding = selection.deciding(whole.cases)
    asked = tuple(engine for engine, _ in selection.decisive.engines)
    decisive = replace(
        selection.planned,
        engines=tuple(pair for pair in selection.planned.engines if pair[0] in asked),
    )
    gating = _analyze_engines(subject, selection, decisive, cases=deciding)
    return Judgement(whole.report, gating.report, whole.cases, whole.error)


def _analyze_engines(
    subject: Subject,
    selection: Selection,
    scope: Scope,
    *,
    trunk: bool = False,
    cases: Sequence[EngineCase] | None = None,
) -> Analysis:
    """Return the analysis for every engine of `scope`, as one."""
    parts = {
        engine: _analyze_opening(
            subject, engine, subject.openings[engine], scope, trunk=trunk, cases=cases
        )
        for engine, _ in scope.engines
    }
    report = merge({engine: part.report for engine, part in parts.items()}, selection)
    if (brought := facts.brought()) is not None:
        report = replace(report, notes=(*report.notes, f"judged by {brought}"))
    made = tuple(case for part in parts.values() for case in part.cases)
    asked = [part for engine, part in parts.items() if selection.requires(engine)]
    errors = [part.error for part in asked if part.error is not None]
    judged = any(part.cases for part in asked)
    return Analysis(report, made, None if judged or not errors else errors[0])


def _analyze_opening(
    subject: Subject,
    engine: Engine,
    opening: Opening,
    scope: Scope,
    *,
    trunk: bool,
    cases: Sequence[EngineCase] | None,
) -> Analysis:
    """Return what one engine makes of a subject: the one place that asks what it is."""
    match opening:
        case OtherDraft():
            made = Analysis(_report_other_draft(subject, engine, opening, scope))
        case Unsupported():
            made = _report_unjudged(subject.files, opening, scope)
        case NoQuantization():
            made = Analysis(_report_nothing(subject, engine, scope))
        case Analyzable():
            made = _judge(opening, scope, trunk=trunk, cases=cases)
    draft = subject.files.draft
    if draft is None:
        return made
    said = () if isinstance(opening, OtherDraft) else tuple(_draft_notes(subject, engine))
    report = replace(made.report, draft=draft.target, notes=(*made.report.notes, *said))
    return replace(made, report=report)


# --- a target that can be judged ------------------------------------------------------


def _judge(
    subject: Analyzable,
    scope: Scope,
    *,
    trunk: bool,
    cases: Sequence[EngineCase] | None,
) -> Analysis:
    """Return the analysis of a target that the engine can be foreseen for."""
    view = subject.view
    try:
        cases = tuple(case for case in cases or () if case.engine is subject.engine)
        if not cases:
            cases = subject.cases(scope.releases_of(subject.engine), scope.platforms)
        evidence = tuple(_collect_evidence(subject, view, cases))
        info = _with_counts(_model(subject.files, subject.family.family), cases[-1])
    except UnknownError as error:
        unsupported = Unsupported(error, subject.reading, subject)
        return _report_unjudged(subject.files, unsupported, scope)
    findings = (*_without_draft(subject, scope, cases), *rules.run(evidence))
    engines = tuple(item.report if trunk else without_quiet_trunk(item.report) for item in evidence)
    none = all(engine.outcome == "no_mtp" for engine in engines)
    report = Report(
        target=subject.files.listing.target,
        model=info,
        method=subject.reading.method,
        quant_files=view.files,
        engines=engines,
        findings=tuple(sorted(findings, key=rules.gravity)),
        exit_code=exit_code(findings, engines),
        lines=_entry_lines(engines, evidence),
        notes=tuple(_notes(subject, cases, none=none)),
    )
    return Analysis(report, cases)


def _without_draft(
    subject: Analyzable, scope: Scope, cases: Sequence[EngineCase]
) -> Iterator[Finding]:
    """Yield which of the releases that were asked for one by one have no draft of the family."""
    engine, judged = subject.engine, {case.release for case in cases}
    asked = (release for release in scope.releases_of(engine) if (engine, release) in scope.named)
    lacking = [release for release in asked if release not in judged]
    if lacking:
        what = f"{engine.title} {', '.join(lacking)} has no MTP draft for {subject.family.title}"
        yield Finding("MTP903", "error", "read", _unjudged(what, "leave it out of the selection"))


def _collect_evidence(
    subject: Analyzable, view: QuantView, cases: Iterable[EngineCase]
) -> Iterator[Evidence]:
    """Yield what the rules look at: cases that share all that decides are judged once."""
    line_of = _lines(subject.files.listing.configs, view)
    cases = tuple(cases)
    reports = once(
        cases, lambda case: (case.fingerprint(view), case.grade), lambda case: case.report(view)
    )
    for case, found in zip(cases, reports, strict=True):
        report = replace(found, version=case.release, platform=case.platform, confidence=case.grade)
        problems = _problems(subject.files, case.disk_roots)
        yield Evidence(case, view, report, subject.files.block, problems, line_of, alike=True)


def without_quiet_trunk(report: EngineReport) -> EngineReport:
    """Return the report without trunk modules that agree and that no MTP edit could touch."""
    draft = [r for r in report.modules if r.decision.module.part == "draft"]
    exempting = {r.decision.because for r in draft if r.decision.built == "unquantized"} - {None}

    def matters(module: ModuleReport) -> bool:
        decision = module.decision
        shared = decision.built == "unquantized" and decision.because in exempting
        return decision.module.part == "draft" or module.agrees is False or shared

    return replace(report, modules=tuple(filter(matters, report.modules)))


def _entry_lines(
    engines: Iterable[EngineReport], evidence: Sequence[Evidence]
) -> dict[tuple[str, str], int]:
    """Return the lines of all entries that decided about a module that is shown."""
    line_of = evidence[0].line_of
    found: dict[tuple[str, str], int] = {}
    for entry in {m.decision.because for engine in engines for m in engine.modules}:
        line = None if entry is None else line_of(entry.file, entry.pointer)
        if entry is not None and line is not None:
            found[entry.file, entry.pointer] = line
    return found


def _lines(configs: Mapping[str, JsonFile], view: QuantView) -> LineOf:
    """Return what finds lines by pointer: one scan for all entries, others on demand."""
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


# --- the other targets ------------------------------------------------------------------

_NO_MTP = "config.json declares no MTP layers: there is no draft to judge"


def _report_nothing(subject: Subject, engine: Engine, scope: Scope) -> Report:
    """Return the report on an unquantized model of a family that the engine does not know."""
    files = subject.files
    found = tuple(_uncovered(engine, scope))
    notes = (
        *_without_metadata(files, engine),
        "config.json declares no MTP layers: there is nothing to judge",
    )
    code = exit_code(found, ())
    return Report(files.listing.target, _model(files), None, (), (), found, code, notes=notes)


def _uncovered(engine: Engine, scope: Scope, served: str = "") -> Iterator[Finding]:
    """Yield which of the selected releases a verdict without cases does not hold for.

    Args:
        engine: the engine.
        scope: what is selected.
        served: the releases that can serve the target, as a specifier; empty: all.
    """
    try:
        releases = scope.releases_of(engine)
    except UnknownError as error:
        yield Finding(error.code, "error", "run", _unjudged(error.message, error.remedy))
        return
    yield from (newer(engine, release) for release in releases if engine.is_newer(release))
    lacking = [
        release
        for release in releases
        if not SpecifierSet(served).contains(release, prereleases=True)
    ]
    if len(lacking) < len(releases):  # of a specifier, one that has it is enough
        lacking = [release for release in lacking if (engine, release) in scope.named]
    if lacking:
        what = f"{engine.title} {', '.join(lacking)} has no such draft"
        yield Finding(
            "MTP903", "error", "read", _unjudged(what, f"choose a release that matches {served}")
        )


def _unjudged(what: str, remedy: str) -> str:
    return f"could not judge: {what}; {remedy}"


_QUANTIZED_BY: Mapping[QuantizedBy, str] = {
    "draft": "quantizes it as its own config.json says",
    "target": "quantizes it as the config.json of its target model says",
    "nothing": "leaves it unquantized whatever config.json says",
}


def _report_other_draft(
    subject: Subject, engine: Engine, other: OtherDraft, scope: Scope
) -> Report:
    """Return the report on a draft that is not MTP: what it is, and why it is not judged."""
    model = "" if other.inside else ', "model": "…"'
    say = f'`--speculative-config \'{{"method": "{other.method}"{model}, …}}\'`'
    shown = f"`{other.evidence}`"
    if other.inside:
        message = f"the draft of this checkpoint is {other.title}, not MTP ({shown} shows it)"
    else:
        message = f"this is the {other.title} draft of another model, not MTP ({shown} shows it)"
    found = Finding(
        code="MTP007",
        severity="warning" if other.inside else "info",
        confidence="read",
        message=f"{message}: {engine.title} {other.releases} builds it with {say}, and "
        f"{_QUANTIZED_BY[other.quantized_by]}. No quantization metadata makes it an MTP block.",
    )
    reading = subject.readings[engine]
    findings = (
        *_open_questions(engine, other, reading),
        *_uncovered(engine, scope, other.releases),
    )
    return Report(
        target=subject.files.listing.target,
        model=_model(subject.files, reading.family_name),
        method=reading.method,
        quant_files=(),
        engines=(),
        findings=(*findings, found),
        exit_code=exit_code(findings, ()),
        notes=() if findings else (_PLAIN_DRAFT,),
    )


_PLAIN_DRAFT = "there is no MTP block, and nothing is quantized: there is nothing to judge"


def _open_questions(engine: Engine, other: OtherDraft, reading: Reading) -> Iterator[Finding]:
    """Yield what would have to be known to judge a draft that is not MTP.

    Args:
        engine: the engine.
        other: the draft.
        reading: what the engine reads in the target, which the draft may lie beside.
    """
    question = other.question
    if question is None and reading.method is not None:
        question = "its target model is quantized, and is not judged beside it"
    if question is not None:
        what = f"mtpfix does not know how {engine.title} builds a quantized {other.title} draft"
        remedy = f"load it in {engine.title}, and compare the tokens that are accepted"
        yield Finding("MTP901", "error", "run", _unjudged(f"{what}: {question}", remedy))


def _report_unjudged(
    files: Files,
    unsupported: Unsupported,
    scope: Scope,
) -> Analysis:
    """Return the analysis that says why a target is not judged, and what holds all the same."""
    error, reading = unsupported.error, unsupported.reading
    message = _unjudged(error.message, error.remedy)
    engines = tuple(_judge_by_method(unsupported, scope))
    refused = [report for report in engines if report.error is not None]
    more = [*_refused_method(unsupported, refused), *_judge_by_names(unsupported.by_names, scope)]
    if len(refused) < len(engines) or not engines:
        more.insert(0, Finding(error.code, "error", "run", message))
    report = Report(
        target=files.listing.target,
        model=_model(files, reading.family_name),
        method=reading.method,
        quant_files=() if reading.view is None else reading.view.files,
        engines=engines,
        findings=tuple(more),
        exit_code=exit_code(more, engines),
    )
    return Analysis(report, error=error)


def _judge_by_method(unsupported: Unsupported, scope: Scope) -> Iterator[EngineReport]:
    """Yield a report for each release, if one of them has no method of the metadata's name.

    Such a release ends the start with an exception, whatever the metadata says.
    """
    subject, method = unsupported.by_names, unsupported.reading.method
    if subject is None or not method or unsupported.error.code != "MTP902":
        return
    engine = subject.engine
    try:
        releases = scope.releases_of(engine)
        cases = engine.cases(subject, releases, scope.platforms, by_names=True)
    except UnknownError:
        return
    errors = {case.release: engine.method_error(method, case.release) for case in cases}
    if not any(errors.values()):
        return
    for case in cases:
        error = errors[case.release]
        outcome: Outcome = "unknown" if error is None else "load_error"
        reason = unsupported.error.message if error is None else None
        yield EngineReport(engine.name, case.release, case.platform, outcome, (), error, reason)


def _refused_method(unsupported: Unsupported, refused: Sequence[EngineReport]) -> Iterator[Finding]:
    """Yield MTP304 for the releases that have no method of the metadata's name."""
    if unsupported.by_names is None or not refused:
        return
    engine, method = unsupported.by_names.engine, str(unsupported.reading.method)
    having = [each for each in engine.releases if engine.method_error(method, each) is None]
    other = f"{engine.title} {having[-1]} has it" if having else f"no {engine.title} has it"
    yield Finding(
        code="MTP304",
        severity="error",
        confidence="read",
        message=f"{engine.title} has no quantization method {method!r:.60}, unless a plugin "
        f"brings one ({other}): it ends with {refused[0].error}",
        releases=tuple(dict.fromkeys(report.version for report in refused)),
        remedy="serve with an engine and a release that have the method, or quantize with one "
        "that this release has",
    )


def _judge_by_names(subject: Analyzable | None, scope: Scope) -> Iterator[Finding]:
    """Yield what is wrong whatever the quantization method: MTP tensors absent or misplaced."""
    if subject is None:
        return
    engine = subject.engine
    try:
        releases = scope.releases_of(engine)
        cases = engine.cases(subject, releases, scope.platforms, by_names=True)
        evidence = tuple(_collect_evidence(subject, UNQUANTIZED, cases))
    except UnknownError:  # the files alone can be looked at
        roots = subject.reading.block.roots
        if roots is not None:
            yield from unindexed(_problems(subject.files, roots), roots, engine.title)
        return
    yield from rules.run(evidence, rules.METHODLESS)


# --- parts of a report ------------------------------------------------------------------


def _problems(files: Files, roots: tuple[str, ...]) -> tuple[Problem, ...]:
    """Return what is wrong with the files, but for those of an MTP block that nothing loads."""
    if files.draft is None:
        return files.checkpoint.problems

    def about_mtp(problem: Problem) -> bool:
        return any(name.startswith(roots) for name in problem.tensors)

    ours = (p for p in files.checkpoint.problems if not about_mtp(p))
    theirs = (p for p in files.block.problems if about_mtp(p))
    return (*ours, *map(_of_draft, theirs))


def _of_draft(problem: Problem) -> Problem:
    """Return the same, said of a file that is not the target's."""
    file, message = (f"draft: {text}" for text in (problem.file, problem.message))
    return replace(problem, file=file, message=message, elsewhere=True)


def _draft_notes(subject: Subject, engine: Engine) -> Iterator[str]:
    """Yield where the MTP block comes from, if not from the target."""
    files = subject.files
    if files.draft is None:
        return
    yield f"the MTP block is loaded from {strict_json.shown(files.draft.target.name)}"
    roots = subject.readings[engine].block.roots or ()
    if any(name.startswith(roots) for name in files.listing.shards):
        yield "the MTP block of the target itself is not judged: this draft takes its place"


def _model(files: Files, family: str | None = None) -> ModelInfo:
    """Return what `config.json` says of the model."""
    named = files.config.get("architectures")
    model_type = files.config.get("model_type")
    return ModelInfo(
        family=family,
        model_type=model_type if isinstance(model_type, str) else None,
        architectures=tuple(a for a in named if isinstance(a, str))
        if isinstance(named, list)
        else (),
    )


def _with_counts(info: ModelInfo, case: EngineCase) -> ModelInfo:
    """Return the same with the numbers of layers and the class of the draft."""
    return replace(
        info,
        draft_class=case.draft_class,
        num_hidden_layers=case.layers,
        mtp_layers=case.mtp_layers,
    )


def _notes(subject: Analyzable, cases: Sequence[EngineCase], *, none: bool) -> Iterator[str]:
    """Yield remarks on a target that is judged; `none`: there is no draft."""
    engine = subject.engine
    if none:
        yield _NO_MTP
    else:
        yield from dict.fromkeys(said for case in reversed(cases) for said in case.serving)
    releases = (case.release for case in cases)
    yield from unknown_patches(releases, engine.releases, engine.title, engine.depth)
    if not subject.view.method:
        yield from _without_metadata(subject.files, engine)


def _without_metadata(files: Files, engine: Engine) -> tuple[str, ...]:
    """Return what is worth knowing of a checkpoint without quantization metadata."""
    note = f"config.json has no quantization_config: {engine.title} builds everything unquantized"
    beside = engine.unquantized_note(files.listing.configs)
    return (note,) if beside is None else (note, beside)


def add_findings(report: Report, found: Sequence[Finding]) -> Report:
    """Return a report with what was found beside it, and what that makes of its exit code."""
    return replace(
        report,
        findings=tuple(sorted((*report.findings, *found), key=rules.gravity)),
        exit_code=exit_code(found, ()) or report.exit_code,
    )
