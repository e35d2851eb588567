"""What the states of a report are called in front of a person. Pure, no layout.

Every state has a sign and a word, so that neither colour nor sign has to be seen.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from mtpfix.engines import registry
from mtpfix.findings import is_unjudged, kind
from mtpfix.model import (
    FAILED,
    Acceptance,
    Decision,
    EngineReport,
    Finding,
    Fix,
    Grade,
    ModuleReport,
    Outcome,
    Platform,
    Precision,
    Report,
    Severity,
    State,
)
from mtpfix.report import ranges
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.rules import evidence

_NOWHERE = cast("Platform", "")
_DASH = "\N{EN DASH}"


class Sign(NamedTuple):
    """A state as a sign, a word, and a mood that a renderer may colour."""

    sign: str
    word: str
    mood: str
    """`good`, `bad`, `unsure` or `quiet`."""


OUTCOMES: Mapping[Outcome, Sign] = {
    "load_error": Sign("✗", "load error", "bad"),
    "silent_garbage": Sign("✗", "silent garbage", "bad"),
    "unknown": Sign("?", "could not judge", "unsure"),
    "no_mtp": Sign(_DASH, "nothing to judge", "quiet"),
    "clean": Sign("✓", "clean", "good"),
}
"""From the worst to the best."""

_VERBS: Mapping[Outcome, str] = {
    "load_error": "fails to load",
    "silent_garbage": "loads as silent garbage",
    "unknown": "could not be judged",
    "no_mtp": "does not exist",
    "clean": "is clean",
}
"""What the draft does."""

SEVERITIES: Mapping[Severity, Sign] = {
    "error": Sign("✗", "error", "bad"),
    "warning": Sign("!", "warning", "unsure"),
    "info": Sign("i", "info", "quiet"),
}

GRADES: Mapping[Grade, str] = {
    "run": "tested: compared with real runs of the engine",
    "read": "source: read in the engine's source code, not run",
    "assumed": "assumed: neither run nor read in the source code",
}

# --- modules -----------------------------------------------------------------


def verdict(report: ModuleReport) -> Sign:
    """Whether what is built takes what is stored."""
    if report.replaced:
        return Sign("✓", "replaced", "quiet")
    if report.agrees is True:
        return Sign("✓", "agrees", "good")
    if report.agrees is False:
        return Sign("✗", "differs", "bad")
    if report.disk.state is State.MISSING:
        return Sign(_DASH, "absent", "bad" if report.consequence else "quiet")
    return Sign("?", "unknown", "unsure")


def stored(disk: Precision, *, short: bool = False) -> str:
    """State and format on disk; the short form leaves out a state that the format tells."""
    state = disk.state.value
    if disk.format is None:
        return state
    told = short and disk.state is not State.MIXED
    return inert(disk.format) if told else f"{state} {inert(disk.format)}"


def built(decision: Decision, *, short: bool = False) -> str:
    """What the engine builds, with its scheme; the short form is the scheme alone."""
    if decision.built != "quantized" or decision.scheme is None:
        return decision.built
    scheme = short_scheme(decision.scheme)
    return scheme if short else f"quantized {scheme}"


def short_scheme(name: str) -> str:
    """`W8A8Fp8 MoE` for `CompressedTensorsW8A8Fp8MoEMethod`."""
    bare = re.sub(r"(?<=.)(Linear)?Method$", "", name.removeprefix("CompressedTensors") or name)
    return inert(re.sub(r"(?<=.)(Fused)?MoE$", " MoE", bare))


# --- outcomes ----------------------------------------------------------------


def engine(name: str) -> str:
    """Return the name of an engine as its makers write it."""
    return registry.engine(name).title if name in registry.ENGINES else inert(name)


def engines(judged: Iterable[EngineReport]) -> str:
    """Return the names of the engines that were judged; of none, that of the default."""
    names = dict.fromkeys(report.engine for report in judged) or (registry.DEFAULT,)
    return " and ".join(map(engine, names))


def in_order(judged: Sequence[EngineReport]) -> list[EngineReport]:
    """Return the reports engine by engine as they were asked, each oldest first."""
    order = list(dict.fromkeys(report.engine for report in judged))
    return sorted(judged, key=lambda e: (order.index(e.engine), ranges.age(e.version)))


def heading(judged: Iterable[EngineReport]) -> str:
    """Return what stands over releases: their engine, where they do not name it themselves."""
    return "releases" if _several(judged := tuple(judged)) else engines(judged)


def builders(judged: Iterable[EngineReport]) -> str:
    """Return who builds, and the verb: `vLLM builds`, `vLLM and SGLang build`."""
    judged = tuple(judged)
    return f"{engines(judged)} build{'' if _several(judged) else 's'}"


def _several(judged: Iterable[EngineReport]) -> bool:
    return len({report.engine for report in judged}) > 1


def outcome(report: EngineReport) -> str:
    """What stands behind an outcome: the exception, the reason, or what it leads to."""
    if report.outcome == "load_error":
        return exception(report.error or "the loader refuses what is on disk")
    if report.outcome == "silent_garbage":
        lost = sum(m.consequence == "silent_garbage" for m in report.modules)
        what = count(lost, "module") if lost else "parts of it"
        stay = "stays" if lost == 1 else "stay"
        return f"it loads, but {what} {stay} partly uninitialised: every draft token is rejected"
    if report.outcome == "unknown":
        return inert(report.reason or "no reason is known", PROSE_LIMIT)
    if report.outcome == "no_mtp":
        return "no MTP layers"
    return "the draft loads as it is stored"


def exception(text: str) -> str:
    """What an engine raises, `Type: message`; some exceptions have no message."""
    return inert(evidence.exception(text), PROSE_LIMIT)


def release_ranges(chosen: Iterable[EngineReport], known: Iterable[EngineReport]) -> str:
    """Releases and platforms, for example `0.30-0.33 on cuda`; of several engines with titles."""
    known = tuple(known)
    found: dict[str, list[ranges.Label]] = {}
    for report in chosen:
        found.setdefault(report.engine, []).append((report.version, report.platform))
    return _joined(found, known)


def with_engine(chosen: Sequence[EngineReport], known: Iterable[EngineReport]) -> str:
    """Return releases and platforms of one engine, always with its title."""
    span = release_ranges(chosen, [e for e in known if e.engine == chosen[0].engine])
    return f"{engine(chosen[0].engine)} {span}"


def _joined(chosen: Mapping[str, Sequence[ranges.Label]], known: Sequence[EngineReport]) -> str:
    """Return releases of each engine, with its title where several were judged."""
    several = _several(known)
    spans = []
    for name, labels in chosen.items():
        own = [(e.version, e.platform) for e in known if e.engine == name]
        span = ranges.labels(labels, own)
        spans.append(f"{engine(name)} {span}" if several else span)
    return " and ".join(spans)


def severity(finding: Finding) -> Sign:
    """How grave a finding is; what could not be judged is not shown as wrong."""
    sign = SEVERITIES[finding.severity]
    return Sign("?", sign.word, "unsure") if is_unjudged(finding) else sign


def release_range(finding: Finding, engines: Sequence[EngineReport]) -> str | None:
    """The releases that a finding holds for; None where naming them says nothing."""
    if not finding.releases or len(engines) < 2:  # noqa: PLR2004
        return None
    names = dict.fromkeys(report.engine for report in engines)
    found = {name: labels_of(finding, name, engines) for name in names}
    return _joined({name: labels for name, labels in found.items() if labels}, engines)


def reach(finding: Finding, engines: Sequence[EngineReport]) -> str | None:
    """Return the same with the title of the engine, also where there is only one."""
    span = release_range(finding, engines)
    return span if span is None or _several(engines) else f"{engine(engines[0].engine)} {span}"


def labels_of(finding: Finding, name: str, engines: Sequence[EngineReport]) -> list[ranges.Label]:
    """Return the releases of one engine that a finding holds for."""
    start = f"{engine(name)} " if _several(engines) else ""
    own = (label for label in finding.releases if label.startswith(start))
    return [ranges.parse_label(label.removeprefix(start)) for label in own]


# --- the whole report --------------------------------------------------------


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """What the model is, and where its metadata stands: labels and texts."""
    model = report.model
    classes = ", ".join(inert(name) for name in model.architectures) or model.model_type
    family = inert(model.family) if model.family else "not known to mtpfix"
    yield "family", f"{family} ({inert(classes)})" if classes else family
    if model.num_hidden_layers is not None or model.mtp_layers is not None:
        yield "layers", _layers(report)
    files = ", ".join(inert(file) for file in report.quant_files)
    method = inert(report.method) if report.method else "none"
    yield "quantization", f"{method} in {files}" if files else method


def _layers(report: Report) -> str:
    model = report.model
    trunk = "? " if model.num_hidden_layers is None else f"{model.num_hidden_layers:,} "
    mtp = "? MTP" if model.mtp_layers is None else f"{model.mtp_layers:,} MTP"
    drafted = f", drafted by {inert(model.draft_class)}" if model.draft_class else ""
    return f"{trunk}+ {mtp}{drafted}"


def count(number: int, noun: str, nouns: str = "") -> str:
    """`1 error`, `2 errors`; `nouns` where an s is not enough."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def tally(findings: Sequence[Finding]) -> str:
    """How many findings of each severity, for example `1 error, 2 warnings`."""
    numbers = {s: sum(f.severity == s for f in findings) for s in SEVERITIES}
    nouns = {"error": "error", "warning": "warning", "info": "remark"}
    return ", ".join(count(n, nouns[s]) for s, n in numbers.items() if n)


def overall(report: Report) -> Sign:
    """The sign and mood of the whole report; the word is that of the worst outcome.

    What passes the gate is not shown as wrong: whoever left findings out has decided so.
    """
    sign = _worst(report)
    return Sign("!", sign.word, "unsure") if sign.mood == "bad" and passes(report) else sign


def passes(report: Report) -> bool:
    """Whether something is wrong that does not count: left out, or not to fail."""
    failed = any(each.outcome in FAILED for each in report.engines if each.decides)
    return report.exit_code == 0 and (failed or _has(report, "error"))


def left_out(report: Report) -> str:
    """Say which findings the user left out, ignores for a reason or knows; empty: none."""
    found = {"left out": report.left_out}
    for by, word in _ACCEPTED.items():
        found[word] = tuple(a.finding.code for a in report.accepted if a.acceptance.by == by)
    return "; ".join(
        f"{word}: {', '.join(dict.fromkeys(map(inert, codes)))}"
        for word, codes in found.items()
        if codes
    )


_ACCEPTED = {"ignore": "ignored", "baseline": "known"}


def accepted(one: Acceptance) -> str:
    """Return what a finding is that does not count, in a word."""
    return _ACCEPTED[one.by]


def because(one: Acceptance) -> str:
    """Return why a finding does not count."""
    until = "" if one.until is None else f", until {inert(one.until)}"
    return f"{inert(one.reason, PROSE_LIMIT)} ({inert(one.file)}{until})"


def _worst(report: Report) -> Sign:
    worst = next((o for o in OUTCOMES if any(e.outcome == o for e in report.engines)), None)
    if worst is None:
        worst = "unknown" if _unjudged(report) else "no_mtp"
    sign = OUTCOMES[worst]
    if worst == "no_mtp" and _only_unjudged(report):
        return OUTCOMES["unknown"]
    if sign.mood != "bad" and worst != "unknown" and _has(report, "error"):
        word = f"{sign.word}, files are not" if sign.mood == "good" else sign.word
        return Sign("✗", word, "bad")
    if sign.mood == "good" and _unjudged(report):
        return Sign("?", sign.word, "unsure")
    return sign


def sentence(report: Report) -> str:
    """The verdict in one sentence, without sign and full stop."""
    none = all(e.outcome == "no_mtp" for e in report.engines)
    if not report.engines or (none and _only_unjudged(report)):
        unjudged = next(iter(_unjudged(report)), None)
        said = unjudged.message if unjudged else next(iter(report.notes), "nothing to judge")
        return inert(said, PROSE_LIMIT)
    if none and _has(report, "error"):
        return "there are no MTP layers, but the target model is wrong"
    if none:
        return "there are no MTP layers, so there is no draft to judge"
    *firsts, last = _parts(report.engines)
    platforms = {e.platform for e in report.engines}
    where = f" ({inert(platforms.pop())})" if len(platforms) == 1 else ""
    said = f"{', '.join(firsts)} and {last}" if firsts else last
    assumed = ", as far as is known" if _unjudged(report) else ""
    clean = all(e.outcome == "clean" for e in report.engines)
    where += ", but the files are not" if clean and _has(report, "error") else ""
    passed = ", which is not counted as a failure here" if passes(report) else ""
    if passed and (out := left_out(report)):
        passed += f" ({out})"
    return f"{_subject(report)} {said}{where}{assumed}{passed}{_counted(report)}"


def _counted(report: Report) -> str:
    """Say whose verdict counts, where another one's is worse."""
    asked = [each for each in report.engines if each.decides]
    others = {each.outcome for each in report.engines if not each.decides}
    if not asked or others.isdisjoint(FAILED):
        return ""
    return f"; `mtpfix check` asks {engines(asked)} alone"


def _subject(report: Report) -> str:
    """What works or not: the draft, or the target model, or both."""
    judged = [module for each in report.engines for module in each.modules]
    wrong = {module.decision.module.part for module in judged if module.agrees is False}
    if "trunk" not in wrong:
        return "the draft"
    trunk = {m.decision.module.name for m in judged if m.decision.module.part == "trunk"}
    errors = (found for found in report.findings if found.severity == "error")
    alone = all(found.modules and trunk.issuperset(found.modules) for found in errors)
    both = wrong != {"trunk"} or not alone or report.left_out
    return "the model" if both else "the draft is clean, but the target model"


def _parts(judged: Sequence[EngineReport]) -> Iterator[str]:
    """What the draft does, and on which releases; a platform that all share is left out."""
    if len({e.platform for e in judged}) == 1:  # the sentence names it
        judged = [replace(e, platform=_NOWHERE) for e in judged]
    name = "" if _several(judged) else f"{engine(judged[0].engine)} "
    for outcome, verb in _VERBS.items():
        found = [e for e in judged if e.outcome == outcome]
        if found:
            yield f"{verb} on {name}{release_ranges(found, judged)}"
            name = ""


def next_command(report: Report) -> tuple[str, str] | None:
    """The command that helps next and what it does; None where nothing is left to do."""
    name = inert(report.target.name)
    target = "" if name == "." else f" {shlex.quote(name)}"
    if report.draft is not None:
        target += f" --draft {shlex.quote(inert(report.draft.name))}"
    fixable = [finding for finding in report.findings if mendable(finding)]
    if fixable:
        leave = " --repair-trunk" if all(map(_needs_leave, fixable)) else ""
        return f"mtpfix rewrite{target}{leave}", "shows the repair as a diff"
    unjudged = {finding.code for finding in _unjudged(report)}
    if unjudged - {"MTP905"}:
        return "mtpfix families", "lists what is covered"
    grave = next((f for f in report.findings if f.severity != "info"), None)
    if grave is not None:
        return f"mtpfix explain {inert(grave.code)}", "explains what to do about it"
    asked = [each for each in report.engines if each.decides] or report.engines
    if overall(report).mood in {"good", "unsure"}:
        return f"mtpfix verify{target}", f"asks the installed {engines(asked[:1])} itself"
    return None


def mendable(finding: Finding) -> bool:
    """Whether `mtpfix rewrite` can do something about a finding."""
    if finding.fix is not None:
        return finding.fix.applicability != "display"
    return finding.severity != "info" and kind(finding).by_rewrite


def _needs_leave(finding: Finding) -> bool:
    """Whether a fix moves modules of the trunk, which nothing does unasked."""
    return finding.fix is not None and finding.fix.applicability == "unsafe"


def how_to(fix: Fix) -> str:
    """How a fix is applied."""
    if fix.applicability == "display":
        return "by hand"
    if fix.applicability == "unsafe":
        return "`mtpfix rewrite --repair-trunk` writes it, which changes more than the draft"
    return "`mtpfix rewrite` writes it"


def _has(report: Report, severity: Severity) -> bool:
    """Return whether a finding of a severity counts, of those about what was judged."""
    judged = (f for f in report.findings if f.decides and not is_unjudged(f))
    return any(f.severity == severity for f in judged)


def _only_unjudged(report: Report) -> bool:
    """Return whether nothing is known to be wrong, and something could not be judged."""
    return bool(_unjudged(report)) and not _has(report, "error")


def _unjudged(report: Report) -> list[Finding]:
    """Return what could not be judged: it stays unknown where it does not count."""
    accepted = (each.finding for each in report.accepted)
    return list(filter(is_unjudged, (*report.findings, *accepted)))
