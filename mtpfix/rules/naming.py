"""MTP1xx: entries and names that miss what the engine asks about."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from mtpfix.checkpoint.inventory import without_expert, written_out
from mtpfix.engines.base import EngineCase
from mtpfix.model import Entry, Finding, ModuleReport, QuantView
from mtpfix.patterns import PatternError
from mtpfix.rules.evidence import Evidence, Rule, counted_subject, exception, names, some


class _Names(NamedTuple):
    """The names of the draft: in the matcher, on disk, in the module tree."""

    asked: dict[str, None]
    disk: dict[str, None]
    tree: dict[str, None]
    experts: dict[str, str]
    """Name of routed experts -> the first name that is asked in their place."""
    shards: dict[str, str]
    """Shard in the draft's own spelling -> the fused name."""
    trunk: dict[str, None]
    """What is asked about the trunk."""
    roots: tuple[str, ...]
    """What names of the MTP block on disk begin with."""
    parts: set[str]
    """Dotted beginnings and ends of names of the draft that no name of the trunk has."""
    case: EngineCase
    view: QuantView

    def first(self, entry: Entry, candidates: dict[str, None]) -> str | None:
        """The first of some names that an entry fits."""
        if entry.text in candidates:
            return entry.text
        if self.case.is_name(self.view, entry):
            return None
        listed = self.case.listed(self.view, [entry])
        return next((name for name in candidates if listed.first(name) is not None), None)


def _draft_names(evidence: Evidence) -> _Names:
    case = evidence.case
    roots = case.disk_roots
    trunk = {name: None for r in evidence.trunk for name in case.asked(r.decision.module)}
    found = _Names({}, {}, {}, {}, {}, trunk, roots, set(), case, evidence.view)
    for report in (*evidence.draft, *evidence.unasked):
        module = report.decision.module
        if not all(f"{member}.".startswith(roots) for member in module.members):
            continue  # shared with the trunk
        names_asked = case.asked(module)
        found.asked.update(dict.fromkeys(names_asked))
        found.disk.update(dict.fromkeys(written_out(module)))
        found.tree[module.param] = None
        if module.kind == "experts":
            found.experts.update((module.name, name) for name in names_asked[:1])
        elif len(module.members) > 1:
            root = module.name.rpartition(".")[0]
            shards = (f"{root}.{member.rpartition('.')[2]}" for member in module.members)
            found.shards.update(dict.fromkeys(shards, module.name))
    whole = {**found.asked, **found.disk, **found.tree}
    of_trunk_too = {**trunk, **evidence.trunk_names}
    found.parts.update(_parts(tuple(whole)).difference(of_trunk_too, _parts(tuple(of_trunk_too))))
    return found


@lru_cache(maxsize=8)  # a trunk has thousands of names, and the same ones in many releases
def _parts(whole: tuple[str, ...]) -> frozenset[str]:
    """Every dotted beginning and end of some names."""
    found: set[str] = set()
    for name in whole:
        at = name.find(".")
        while at >= 0:
            found.update((name[:at], name[at + 1 :]))
            at = name.find(".", at + 1)
    return frozenset(found)


def dead_entries(evidence: Evidence) -> Iterator[Finding]:
    """MTP101, MTP104: entries that are meant for the MTP block and that nothing matches."""
    if evidence.report.outcome == "no_mtp" or _too_many(evidence):
        return
    draft = _draft_names(evidence)
    groups: dict[str, tuple[_Why, list[Entry]]] = {}
    for written, meant in _pairs(evidence):
        why = _dead(written, meant, draft, evidence)
        if why is not None:
            groups.setdefault(why.kind, (why, []))[1].append(written)
    settled = all(r.agrees is not False or r.limit is not None for r in evidence.draft)
    for why, entries in groups.values():
        if why.kind == "experts" and settled:
            continue  # every expert is listed, and expert 0 is enough
        yield Finding(
            code="MTP104" if why.kind == "experts" else "MTP101",
            severity="info" if settled else "warning",
            confidence="run",
            message=f"{some([e.spelling for e in entries])} never match{_s(entries)}: {why.text}",
            where=evidence.where(entries[0]),
            entries=tuple(entry.spelling for entry in entries),
        )


def _too_many(evidence: Evidence) -> bool:
    """Whether the list cannot be compared as a whole: MTP404 says so, once for all of it."""
    try:
        evidence.case.listed(evidence.view, evidence.view.ignore)
    except PatternError as error:
        return error.hangs
    return False


def _dead(
    written: Entry, meant: tuple[Entry, ...], draft: _Names, evidence: Evidence
) -> _Why | None:
    """Why an entry for the MTP block never matches; None if it does, or is not for it."""
    try:
        if not _about_mtp(evidence, written, draft) or any(_alive(e, draft) for e in meant):
            return None
        return _why(written, draft, evidence)
    except PatternError:
        return None  # MTP205 or MTP404 says so


def _s(items: list[Entry]) -> str:
    return "" if len(items) > 1 else "es"


def _pairs(evidence: Evidence) -> Iterator[tuple[Entry, tuple[Entry, ...]]]:
    """Each entry as it is written, and what the draft's configuration makes of it."""
    after = evidence.case.in_force(evidence.view, "draft")
    found: dict[str, list[Entry]] = {}
    for entry in after.ignore:
        found.setdefault(entry.pointer, []).append(entry)
    return ((entry, tuple(found.get(entry.pointer, ()))) for entry in evidence.view.ignore)


def _about_mtp(evidence: Evidence, entry: Entry, draft: _Names) -> bool:
    """Whether an entry is meant for the MTP block: it says so, or fits nothing else."""
    text = entry.text.lower()
    if "mtp" in text or "nextn" in text or entry.text.startswith(draft.roots):
        return True
    if entry.text in draft.parts or entry.text in draft.shards:
        return True
    if _experts_of(entry, draft) is not None:
        return True
    fits = draft.first(entry, draft.disk) is not None or draft.first(entry, draft.tree) is not None
    return fits and draft.first(entry, evidence.trunk_names) is None


def _alive(entry: Entry, draft: _Names) -> bool:
    """Whether the engine compares the entry with a name that it fits."""
    return any(draft.first(entry, names) is not None for names in (draft.asked, draft.trunk))


def _experts_of(entry: Entry, draft: _Names) -> str | None:
    """The probed name of the routed experts that an exact entry speaks of."""
    if entry.text.startswith("re:"):
        return None
    for name, probe in draft.experts.items():
        if entry.text == name or entry.text.startswith(f"{name}."):
            return probe
    return None


class _Why(NamedTuple):
    """Why an entry is dead; entries with the same reason are reported together."""

    kind: str
    text: str


def _why(written: Entry, draft: _Names, evidence: Evidence) -> _Why:
    """The reason in words that name the right spelling."""
    probe, engine = _experts_of(written, draft), evidence.engine
    if probe is not None:
        return _Why(
            "experts", f"{engine} asks only about expert 0 of all routed experts, as `{probe}`"
        )
    if written.text in draft.shards:
        fused = draft.shards[written.text]
        return _Why(
            "shard", f"no packed-modules mapping applies here, so {engine} asks about `{fused}`"
        )
    in_tree = draft.first(written, draft.tree)
    if in_tree is not None:
        return _why_tree(evidence, in_tree)
    on_disk = draft.first(written, draft.disk)
    if on_disk is not None:
        return _Why("disk", _why_disk(evidence, on_disk))
    return _why_foreign(written, draft, engine)


def _why_foreign(entry: Entry, draft: _Names, engine: str) -> _Why:
    """The reason where an entry fits no name at all."""
    example, case = next(iter(draft.asked), ""), draft.case
    if not case.is_name(draft.view, entry):
        return _Why(
            "pattern", f"no name that {engine} asks about matches; such names look like `{example}`"
        )
    return _Why("name", f"{case.comparison}, and {engine} asks about names like `{example}`")


def _why_tree(evidence: Evidence, path: str) -> _Why:
    engine = evidence.engine
    reports = (*evidence.draft, *evidence.unasked)
    asked = next(r.decision.module.name for r in reports if r.decision.module.param == path)
    if asked == path:
        return _Why("unasked", f"{engine} builds `{path}` without asking for a quantization method")
    part = next((p for p in path.split(".") if p not in asked.split(".")), "")
    lacks = f", which has no `{part}`" if part else ""
    text = f"the module tree has `{path}`, but {engine} asks about `{asked}`{lacks}"
    return _Why(f"tree {part}", text)


def _why_disk(evidence: Evidence, name: str) -> str:
    spelled = "this is the checkpoint's own spelling"
    for report in evidence.draft:
        module = report.decision.module
        if {name, without_expert(name)} & {*module.members, *module.stacked}:
            asked = some(evidence.case.asked(module), 1)
            return f"{spelled}; for example, for `{name}` {evidence.engine} asks about {asked}"
    return (
        f"{spelled}, and {evidence.engine} builds `{name}` without asking for a quantization method"
    )


def half_ignored(evidence: Evidence) -> Iterator[Finding]:
    """MTP102: only some members of a fused layer, or of the experts, are exempt."""
    for report in (*evidence.draft, *evidence.trunk):
        if not report.decision.halved:
            continue
        yield Finding(
            code="MTP102",
            severity="error",
            confidence="run",
            message=f"`{report.decision.module.name}` is excluded only in part, and "
            f"{evidence.engine} raises an exception while it builds the module: "
            f"{exception(report.decision.error or '')}",
            modules=(report.decision.module.name,),
            where=evidence.where(report.decision.because),
        )


def also_hits_trunk(evidence: Evidence) -> Iterator[Finding]:
    """MTP103: an entry that hits MTP modules takes the scheme from quantized trunk modules too."""
    if evidence.report.outcome == "no_mtp":
        return
    drafted = {r.decision.because for r in evidence.draft if r.decision.built == "unquantized"}
    hit: dict[Entry, list[ModuleReport]] = {}
    for report in evidence.trunk:
        entry = report.decision.because
        if entry in drafted and entry is not None and report.agrees is False:
            hit.setdefault(entry, []).append(report)
    for entry, reports in hit.items():
        they_are, them = counted_subject(len(reports), "target-model module")
        yield Finding(
            code="MTP103",
            severity="error",
            confidence="run",
            message=f"`{entry.spelling}` excludes more than the MTP block: {they_are} quantized on "
            f"disk, but {evidence.engine} builds {them} unquantized because of this entry: "
            f"{some(names(reports))}.",
            modules=names(reports),
            where=evidence.where(entry),
        )


RULES: tuple[Rule, ...] = (dead_entries, half_ignored, also_hits_trunk)
