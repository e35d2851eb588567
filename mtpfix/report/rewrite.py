"""A repair: the diff as a person sees it, what it means, and the document for programs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from json import dumps

from rich.text import Text

from mtpfix import facts
from mtpfix.delivery import Delivered, Pushed
from mtpfix.errors import RefusedError
from mtpfix.findings import is_unjudged
from mtpfix.model import FAILED, EngineReport, Finding, ModuleReport, Report
from mtpfix.repair import reasons
from mtpfix.repair.fixes import COPIED
from mtpfix.repair.plan import Plan, Unresolved
from mtpfix.repair.writing.disk import BACKUP
from mtpfix.report import findings, ranges, wording
from mtpfix.report.inert_text import ASCII, PROSE_LIMIT, inert, inert_json
from mtpfix.report.page import STYLES, Page, mooded
from mtpfix.selection import Scope, asking

SCHEMA = "mtpfix.rewrite/1"

_LINE_LIMIT = 1000
"""Characters of a line of the diff that a person is shown."""

_MOODS = {"---": "strong", "+++": "strong", "@": "unsure", "+": "good", "-": "bad", "\\": "quiet"}


# --- the diff ----------------------------------------------------------------


def seen(diff: str, *, color: bool) -> str:
    """The diff for a terminal: inert, and in colour."""
    page = Page(findings.ENDLESS, color=color)
    for line in diff.split("\n")[:-1]:
        mood = next((mood for start, mood in _MOODS.items() if line.startswith(start)), "")
        page.line(mooded(inert(line.expandtabs(4).rstrip("\r"), _LINE_LIMIT), mood))
    return page.text()


# --- what it means -----------------------------------------------------------


def text(
    outcome: Delivered,
    width: int,
    *,
    color: bool,
    verbose: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """Entries and why, releases, what is left, and what to do next."""
    page = Page(width, color=color)
    if outcome.repair.diff:
        page.line()
    put(page, outcome, verbose=verbose)
    _put_next(page, outcome)
    return page.text().translate(ASCII) if ascii else page.text()


def put(page: Page, outcome: Delivered, *, verbose: bool) -> None:
    """Entries and why, releases, and what is left."""
    _put_entries(page, outcome)
    _put_reports(page, outcome)
    _put_others(page, outcome)
    _put_left(page, outcome, verbose=verbose)


def _put_entries(page: Page, outcome: Delivered) -> None:
    added = [inert(entry) for entry in outcome.repair.plan.added]
    width = min(max(map(len, added), default=0), page.width // 2)
    for given in outcome.repair.plan.schemes:
        page.item(mooded("+ ", "good"), Text(inert(given, PROSE_LIMIT)))
    if outcome.repair.plan.metadata_copied:
        page.item(mooded("+ ", "good"), Text(f"{COPIED}, where the draft reads them"))
    for entry in outcome.repair.plan.removed:
        page.item(mooded("- ", "bad"), Text(inert(entry)))
    for shown, entry in zip(added, outcome.repair.plan.added, strict=True):
        label = mooded(f"+ {shown:<{width}}  ", "good")
        page.item(label, mooded(_why(entry, outcome), "quiet"))
    for done in outcome.repair.index.done:
        page.item(mooded("~ ", "good"), Text(f"{inert(outcome.repair.index.file)}: {inert(done)}"))
    for file in outcome.repair.renames.files:
        for (old, new), number in outcome.repair.renames.ends(file).items():
            said = f"{wording.count(number, 'tensor')} of {inert(file)}"
            page.item(mooded(f"~ {old} -> {new}  ", "good"), mooded(said, "quiet"))


def _why(entry: str, outcome: Delivered) -> str:
    """What an entry does, as the releases judge it."""
    if entry in outcome.repair.plan.headers:
        engine = wording.engines(outcome.repair.after.engines[:1])
        return (
            f"{engine} took it from the tensor headers, and stops that once the list has an entry"
        )
    if entry in outcome.repair.plan.defaults:
        return "transformers leaves the output head unquantized by default only if there is no list"
    drafts = [
        m
        for e in outcome.repair.after.engines
        for m in e.modules
        if m.decision.module.part == "draft"
    ]
    decided = {m.decision.module.param for m in drafts if _decided_by(entry, m)}
    if decided:
        said = _decided(entry, len(decided), outcome)
        if entry in outcome.repair.plan.nameless:
            return f"{said}; it matches only the empty name, for the release that you chose"
        return said
    return _undecided(entry, outcome.repair.plan)


def _undecided(entry: str, plan: Plan) -> str:
    """What an entry does that decides no module of the draft in a module's own name."""
    if (number := plan.target.get(entry)) is not None:
        return f"excludes {wording.count(number, 'module')} of the target model"
    if entry in plan.by_disk:
        return "the same in the checkpoint's own spelling, for other readers of the file"
    return "needed by releases that ask about each shard"


def _decided(entry: str, number: int, outcome: Delivered) -> str:
    """What an entry that decides does, for whom, and in which releases."""
    judged = outcome.repair.after.engines
    own = [e for e in judged if any(_decided_by(entry, m) for m in e.modules)]
    names = wording.engines(own)
    known = [e.version for e in judged if e.engine in {o.engine for o in own}]
    releases = {e.version for e in own}
    reach = "" if releases == set(known) else f" in {_releases(own, judged)}"
    alone = needed_alone(entry, outcome)
    for_whom = f"; {alone} alone needs it" if alone else ""
    counted = wording.count(number, "module")
    return f"excludes {counted}, with {names}'s names{reach}{for_whom}"


def _releases(own: Sequence[EngineReport], judged: Sequence[EngineReport]) -> str:
    """Releases as ranges whatever their platforms; with titles where several engines are told."""
    alike = [replace(each, platform=own[0].platform) for each in (*own, *judged)]
    return wording.release_ranges(dict.fromkeys(alike[: len(own)]), alike)


def needed_alone(entry: str, outcome: Delivered) -> str:
    """Return the engines that need an entry, where not all need it; else nothing."""
    needing = outcome.repair.plan.needed_by.get(entry, ())
    number = len({each.engine for each in outcome.repair.after.engines})
    return " and ".join(needing) if len(needing) < number else ""


def _decided_by(entry: str, module: ModuleReport) -> bool:
    because = module.decision.because
    return because is not None and because.spelling == entry


def _put_reports(page: Page, outcome: Delivered) -> None:
    """Before and after in a line each, for the releases that decide; both lines name them."""
    after, before = outcome.repair.checked, outcome.repair.checked_before
    if not outcome.repair.changes:
        sign = wording.overall(after)
        page.item(
            mooded(f"{sign.sign} ", sign.mood),
            Text(f"{_unchanged(outcome)}{wording.sentence(after)}"),
        )
        return
    page.line()
    for label, report in (("before", before), ("after", after)):
        sign = wording.overall(report)
        head = Text.assemble((f"{label:<8}", STYLES["quiet"]), mooded(f"{sign.sign} ", sign.mood))
        page.item(head, Text(wording.sentence(report)))


def _unchanged(outcome: Delivered) -> str:
    """What to say before the verdict where no edit is made."""
    mood = wording.overall(outcome.repair.checked).mood
    if mood == "good":
        return "already right: "
    if mood != "bad":
        return "nothing to change: "
    helped = bool(outcome.repair.repair_trunk_mends)
    return "nothing without --repair-trunk: " if helped else "nothing that mtpfix can fix: "


def _put_others(page: Page, outcome: Delivered) -> None:
    """Releases and platforms that the repair is planned for and do not decide: a line an engine."""
    decide = {(e.engine, e.version, e.platform) for e in outcome.repair.checked.engines}
    asked = {engine.name for engine, _ in outcome.repair.selection.decisive.engines}
    others: dict[str, list[EngineReport]] = {}
    for each in outcome.repair.after.engines:
        if (each.engine, each.version, each.platform) not in decide:
            others.setdefault(each.engine, []).append(each)
    for name, reports in others.items():
        label = "others" if name in asked else wording.engine(name)
        _put_beside(page, outcome, label, reports, decides=name in asked)


def _put_beside(
    page: Page, outcome: Delivered, label: str, others: Sequence[EngineReport], *, decides: bool
) -> None:
    """What the releases of one engine that do not decide make of the result."""
    told = tuple(replace(each, decides=True) for each in others)  # the line says that none counts
    failing = any(each.outcome in FAILED and not each.decides for each in others)
    code = RefusedError.exit_code if failing else outcome.repair.after.exit_code
    report = replace(outcome.repair.after, engines=told, findings=(), exit_code=code)
    sign = wording.overall(report)
    said = wording.sentence(report)
    if sign.mood == "bad":
        sign = wording.SEVERITIES["warning"]
        said += f". They do not affect the exit code; {_wider(outcome, others)} shows why."
        stay = [one for one in outcome.repair.plan.unresolved if one.engine == others[0].engine]
        said += "" if decides else _not_in_one_list(stay)
        for remedy in dict.fromkeys(one.remedy for one in stay):
            said += f" To fix it: {remedy}." if remedy else ""
    head = Text.assemble((f"{label:6}  ", STYLES["quiet"]), mooded(f"{sign.sign} ", sign.mood))
    page.item(head, Text(said))


def _not_in_one_list(stay: Iterable[Unresolved]) -> str:
    """Why modules of an engine that does not decide stay wrong: the first of them."""
    modules = {one.module: one for one in reversed(list(stay))}
    if not modules:
        return ""
    first = list(modules.values())[-1]
    more = f" (and {len(modules) - 1} more like it)" if len(modules) > 1 else ""
    name = inert(first.module) or '""'
    return f" `{name}`{more}: {inert(first.reason, PROSE_LIMIT)}."


def _wider(outcome: Delivered, others: Iterable[EngineReport]) -> str:
    """The options of `check` that judge what does not decide."""
    decisive = outcome.repair.selection.decisive
    known = {(e.name, release) for e, releases in decisive.engines for release in releases}
    wider = (f" {asking(name, 'all')}" for name in dict.fromkeys(e.engine for e in others))
    wide = "" if all((e.engine, e.version) in known for e in others) else "".join(wider)
    wide += "" if all(e.platform in decisive.platforms for e in others) else " --platform all"
    return f"`mtpfix check` with{wide}"


# --- what is left ------------------------------------------------------------


def _put_left(page: Page, outcome: Delivered, *, verbose: bool) -> None:
    """What stays wrong where it decides, and a word on the newest release if that is clean."""
    after = outcome.repair.checked
    stays = [f for f in left(outcome.repair.plan, after) if verbose or f.severity != "info"]
    others = list(_unlisted(outcome))
    if stays or others:
        page.line()
        page.line(mooded("not fixed:", "strong"))
    for finding in stays:
        findings.put(page, finding, after, 2)
    engine = wording.engines(after.engines)
    for other in others:
        name = inert(other.module) or '""'
        why = "; ".join(filter(None, (other.reason, other.remedy)))
        whose = wording.engine(other.engine) if other.engine else engine
        said = f"{name}: {inert(why, PROSE_LIMIT)} [{whose} {', '.join(other.releases)}]"
        page.item(mooded("✗ ", "bad"), Text(said), 2)
    for note in after.notes:
        page.item(mooded("note  ", "quiet"), Text(inert(note, PROSE_LIMIT)))
    if (stays or others) and (newest := clean_newest(after)):
        page.item(
            mooded("✓ ", "good"),
            Text(
                f"The newest release judged, {engine} {newest}, is clean: only older releases "
                "are affected."
            ),
        )
    if outcome.refused is None:  # a refusal says it itself
        for said in reasons.helping(outcome.repair):
            page.line()
            page.item(mooded("hint  ", "quiet"), Text(f"{said}."))


def left(plan: Plan, report: Report) -> Iterator[Finding]:
    """Findings that stay; that new entries in the checkpoint's spelling are dead is no news."""
    new = set(plan.added)
    return (
        finding
        for finding in report.findings
        if not (finding.code == "MTP101" and finding.entries and new.issuperset(finding.entries))
    )


def _unlisted(outcome: Delivered) -> Iterator[Unresolved]:
    """What stays wrong in a release that decides and that no finding names.

    One that the user can do something about is told beside the finding.
    """
    for stays in outcome.repair.plan.unresolved:
        own = [e for e in outcome.repair.checked.engines if stays.engine in ("", e.engine)]
        decisive = {engine.version for engine in own}
        releases = tuple(release for release in stays.releases if release in decisive)
        more = replace(stays.advice, newer="").text  # a finding names the release that has a fix
        told = stays.module in (outcome.repair.named or ()) and more is None
        if releases and not told and _is_wrong(own, stays.module):
            yield replace(stays, releases=releases)


def _is_wrong(judged: Iterable[EngineReport], name: str) -> bool:
    """Whether a module is wrong on a platform that decides."""
    modules = (module for engine in judged for module in engine.modules)
    return any(m.agrees is False and m.decision.module.name == name for m in modules)


def clean_newest(report: Report) -> str | None:
    """The newest of several releases, if nothing is wrong with the draft there anywhere.

    Of several engines there is none.
    """
    releases = {engine.version for engine in report.engines}
    if len({engine.engine for engine in report.engines}) > 1 or len(releases) < 2:  # noqa: PLR2004
        return None
    newest = max(releases, key=ranges.age)
    if any(is_unjudged(f) and _holds(f, newest) for f in report.findings):
        return None
    here = [e for e in report.engines if e.version == newest]
    blamed = any(f.severity != "info" and _holds(f, newest) for f in report.findings)
    return newest if not blamed and all(e.outcome == "clean" for e in here) else None


def _holds(finding: Finding, release: str) -> bool:
    named = {ranges.parse_label(label)[0] for label in finding.releases}
    return not named or release in named


def _put_next(page: Page, outcome: Delivered) -> None:
    files = ", ".join(inert(name) for name in outcome.repair.changes)
    said: str | None = None
    if outcome.pushed is not None:
        said = _of_push(outcome.pushed, files)
    elif outcome.refused is not None:
        said = None
    elif outcome.pending and outcome.repair.is_useless:
        said = (
            "Nothing was written. The result would be as broken as the source; to write it anyway, "
            "add --allow-partial to --write or --output."
        )
    elif outcome.pending and outcome.repair.before.target.kind == "hub":
        said = "Nothing was pushed. --push-to-hub commits the repair, --create-pr proposes it."
    elif outcome.pending:
        said = "Nothing was written. --write edits the files, --output DIR makes a repaired copy."
    elif outcome.written:
        kept = f"; the old content is kept in *{BACKUP}" if outcome.backup else ""
        said = f"Wrote {files}{kept}."
    elif outcome.output is not None:
        new = f", and a repaired {files}" if files else ""
        said = f"Made {inert(str(outcome.output))}: links to the old files{new}."
    if said is not None:
        page.line()
        page.item(Text(), mooded(said, "strong"))


def _of_push(pushed: Pushed, files: str) -> str | None:
    repo, branch = inert(pushed.repo), inert(pushed.branch)
    if pushed.commit:
        return f"Pushed {files} to {repo}: {inert(pushed.url)}"
    return f"This was a dry run: {files} would go to {repo} ({branch})." if files else None


# --- for programs ------------------------------------------------------------


def json(outcome: Delivered) -> str:
    """A document of schema `mtpfix.rewrite/1`."""
    renames = [
        {"file": file, "from": old, "to": new}
        for file in outcome.repair.renames.files
        for old, new in outcome.repair.renames.within(file).items()
    ]
    told = {"renames": renames, "renames_help": outcome.repair.renames_help}
    return written({**document(outcome), **told})


def written(document: Mapping[str, object]) -> str:
    """Return a document as JSON, inert."""
    return f"{inert_json(dumps(document, indent=2, ensure_ascii=False))}\n"


def document(outcome: Delivered) -> dict[str, object]:
    """Return what there is to say of a repair, for programs."""
    made, many = outcome.repair, several(outcome)
    return {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "target": {
            "kind": made.before.target.kind,
            "name": made.before.target.name,
            "revision": made.before.target.revision,
        },
        "selection": {
            "planned": _scope(made.selection.planned, _engine_names(outcome)),
            "decisive": _scope(made.selection.decisive, _engine_names(outcome)),
        },
        "before": _brief(made.before, made.plan, many=many),
        "after": _brief(made.after, made.plan, many=many),
        "checked_before": _brief(made.checked_before, made.plan, many=many),
        "checked": _brief(made.checked, made.plan, many=many),
        "schemes": made.plan.schemes,
        "metadata_copied": made.plan.metadata_copied,
        "added": made.plan.added,
        "removed": made.plan.removed,
        **_needed_by(outcome),
        "unresolved": [
            {
                "module": one.module,
                "releases": one.releases,
                "reason": one.reason,
                "remedy": one.remedy,
                **({"engine": one.engine} if many else {}),
            }
            for one in made.plan.unresolved
        ],
        "refused": None if outcome.refused is None else outcome.refused.message,
        "repair_trunk_helps": bool(made.repair_trunk_mends),
        "alone_helps": made.alone_helps,
        "edits": [
            {"file": e.file, "pointer": e.pointer, "op": e.op, "value": e.value}
            for e in (*made.plan.edits, *made.index.edits)
        ],
        "index": {
            "changes": made.index.done,
            "refused": [
                {"file": each.file, "reason": each.reason, "remedy": each.remedy}
                for each in made.index.refused
            ],
        },
        "diff": made.diff,
        "files": made.changes,
        "written": outcome.written,
        "output": None if outcome.output is None else str(outcome.output),
        "pushed": None if outcome.pushed is None else _of_hub(outcome.pushed),
        "notes": made.notes,
        "exit_code": outcome.exit_code,
    }


def _of_hub(pushed: Pushed) -> dict[str, str]:
    return {
        "repo": pushed.repo,
        "branch": pushed.branch,
        "commit": pushed.commit,
        "url": pushed.url,
    }


def several(outcome: Delivered) -> bool:
    """Whether releases of several engines are spoken of."""
    return len(_engine_names(outcome)) > 1


def _needed_by(outcome: Delivered) -> dict[str, object]:
    """Return which engines need each new entry, where several are planned for."""
    needed = outcome.repair.plan.needed_by
    return {"needed_by": {text: list(who) for text, who in needed.items()}} if needed else {}


def _scope(scope: Scope, told: Collection[str]) -> dict[str, object]:
    """Return releases and platforms, those of each engine too where several are spoken of."""
    engines = [(engine.name, list(found)) for engine, found in scope.engines]
    engines = [pair for pair in engines if not told or pair[0] in told]
    releases = [release for _, found in engines for release in found]
    shown: dict[str, object] = {"releases": releases, "platforms": scope.platforms}
    if len(told) > 1:
        shown["engines"] = [{"engine": name, "releases": found} for name, found in engines]
    return shown


def _engine_names(outcome: Delivered) -> dict[str, None]:
    return dict.fromkeys(engine.engine for engine in outcome.repair.before.engines)


def _brief(report: Report, plan: Plan, *, many: bool) -> dict[str, object]:
    return {
        "exit_code": report.exit_code,
        "outcomes": [
            {
                **({"engine": e.engine} if many else {}),
                "version": e.version,
                "platform": e.platform,
                "outcome": e.outcome,
                "error": e.error,
            }
            for e in report.engines
        ],
        "findings": [
            {"code": f.code, "severity": f.severity, "message": f.message, "releases": f.releases}
            for f in left(plan, report)
        ],
    }
