"""MTP1xx: entries and names that miss what vLLM asks about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mtpfix.checkpoint.inventory import without_expert, written_out
from mtpfix.engines.vllm.mapper import mapped
from mtpfix.engines.vllm.match import Entries, PatternError
from mtpfix.engines.vllm.names import disk_roots
from mtpfix.engines.vllm.predict import asked_names, packed_mapping
from mtpfix.model import Entry, Finding, ModuleReport
from mtpfix.rules.evidence import Evidence, Rule, names, some


class _Names(NamedTuple):
    """The three kinds of names of the draft."""

    asked: dict[str, None]
    disk: dict[str, None]
    tree: dict[str, None]


def _draft_names(evidence: Evidence) -> _Names:
    packed = packed_mapping(evidence.case.policy, evidence.case.context, "draft")
    roots = disk_roots(evidence.case.policy, evidence.case.context)
    asked, disk, tree = _Names({}, {}, {})
    for report in (*evidence.draft, *evidence.unasked):
        module = report.decision.module
        if not all(f"{member}.".startswith(roots) for member in module.members):
            continue  # shared with the trunk
        asked.update(dict.fromkeys(asked_names(module, packed)))
        disk.update(dict.fromkeys(written_out(module)))
        tree[module.param] = None
    return _Names(asked, disk, tree)


def _first(entry: Entry, candidates: dict[str, None]) -> str | None:
    """The first of some names that an entry matches."""
    if not entry.text.startswith("re:"):
        return entry.text if entry.text in candidates else None
    pattern = Entries([entry])
    return next((name for name in candidates if pattern.first(name) is not None), None)


def dead_entry(evidence: Evidence) -> Iterator[Finding]:
    """MTP101: an entry that is meant for the MTP block and that vLLM never matches."""
    if evidence.report.outcome == "no_mtp":
        return
    context, policy = evidence.case.context, evidence.case.policy
    own = policy.pick("own_config", context) is not None
    after = (evidence.view if own else mapped(evidence.view, policy, context)).ignore
    draft = _draft_names(evidence)
    packed = packed_mapping(policy, context, "trunk")
    trunk = {n: None for r in evidence.trunk for n in asked_names(r.decision.module, packed)}
    for written, entry in zip(evidence.view.ignore, after, strict=True):
        try:
            if not _about_mtp(evidence, written, draft):
                continue
            if _first(entry, draft.asked) is not None or _first(entry, trunk) is not None:
                continue
            why = _why(written, entry, draft, evidence)
        except PatternError:
            continue  # MTP404 says so
        clean = evidence.report.outcome == "clean"
        yield Finding(
            code="MTP101",
            severity="info" if clean else "warning",
            confidence="run",
            message=f"`{written.spelling}` never matches: {why}",
            where=evidence.where(written),
        )


def _about_mtp(evidence: Evidence, entry: Entry, draft: _Names) -> bool:
    """Whether an entry is meant for the MTP block."""
    roots = disk_roots(evidence.case.policy, evidence.case.context)
    text = entry.text.lower()
    if "mtp" in text or "nextn" in text or entry.text.startswith(roots):
        return True
    return _first(entry, draft.disk) is not None or _first(entry, draft.tree) is not None


def _why(written: Entry, entry: Entry, draft: _Names, evidence: Evidence) -> str:
    """Why vLLM never matches an entry, in words that name the right spelling."""
    in_tree = _first(written, draft.tree)
    if in_tree is not None:
        return _why_tree(evidence, in_tree)
    on_disk = _first(written, draft.disk)
    if on_disk is not None:
        return _why_disk(evidence, on_disk)
    if written.text.startswith("re:"):
        example = next(iter(draft.asked), "")
        return f"no name that vLLM asks about fits it; they look like `{example}`"
    if "*" in written.text:
        return "compressed-tensors has no wildcards, only exact names and `re:` patterns"
    inside = next((name for name in draft.asked if name.startswith(f"{written.text}.")), None)
    renamed = f" (vLLM renames it to `{entry.text}`)" if entry.text != written.text else ""
    instead = f"; a name is compared as a whole, for example `{inside}`" if inside else ""
    return f"vLLM asks about no module of that name{renamed}{instead}"


def _why_tree(evidence: Evidence, path: str) -> str:
    reports = (*evidence.draft, *evidence.unasked)
    asked = next(r.decision.module.name for r in reports if r.decision.module.param == path)
    part = next((p for p in path.split(".") if p not in asked.split(".")), "")
    lacks = f", which has no `{part}`" if part else ""
    return f"it fits the module tree (`{path}`), but vLLM asks about `{asked}`{lacks}"


def _why_disk(evidence: Evidence, name: str) -> str:
    packed = packed_mapping(evidence.case.policy, evidence.case.context, "draft")
    for report in evidence.draft:
        module = report.decision.module
        if {name, without_expert(name)} & {*module.members, *module.stacked}:
            asked = some(asked_names(module, packed), 4)
            return f"it is the checkpoint's spelling (`{name}`); vLLM asks about {asked}"
    return f"vLLM builds `{name}` without asking for a quantization method"


def half_ignored(evidence: Evidence) -> Iterator[Finding]:
    """MTP102: only some members of a fused layer, or of the experts, are exempt."""
    for report in (*evidence.draft, *evidence.trunk):
        error = report.decision.error or ""
        if "quantization scheme" not in error or report.decision.built != "error":
            continue
        yield Finding(
            code="MTP102",
            severity="error",
            confidence="run",
            message=f"`{report.decision.module.name}` is partly exempt, and vLLM raises while it "
            f"builds it: {error}",
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
        yield Finding(
            code="MTP103",
            severity="error",
            confidence="run",
            message=f"`{entry.spelling}` exempts not only the MTP block: {len(reports)} trunk "
            "modules that are quantized on disk are built unquantized, such as "
            f"{some(names(reports))}.",
            modules=names(reports),
            where=evidence.where(entry),
        )


RULES: tuple[Rule, ...] = (dead_entry, half_ignored, also_hits_trunk)
