"""The report as JSON: contract `mtpfix.report/1`.

A view of its own, field by field, so that the records inside can change without
breaking the programs that read this. New fields may come; none changes or goes.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from mtpfix import facts
from mtpfix.model import (
    Accepted,
    EngineReport,
    Entry,
    Finding,
    Fix,
    ModelInfo,
    ModuleReport,
    Report,
    Target,
    Where,
)
from mtpfix.report.inert_text import inert_json

SCHEMA = "mtpfix.report/1"

_View = dict[str, Any]


def render(report: Report) -> str:
    """The report as a JSON document, in a stable order, that validates against `schema()`."""
    document = json.dumps(view(report), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{inert_json(document)}\n"


def schema(name: str = SCHEMA) -> _View:
    """Return the JSON Schema (2020-12) of a document that mtpfix writes.

    Args:
        name: what its field `schema` says, such as `mtpfix.rewrite/1`.
    """
    kind, _, version = name.removeprefix("mtpfix.").partition("/")
    path = resources.files("mtpfix") / "data" / "schemas" / f"{kind}-{version}.schema.json"
    loaded: _View = json.loads(path.read_text("utf-8"))
    return loaded


def view(report: Report) -> _View:
    """The document as plain values."""
    return {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "target": _target(report.target),
        "draft": None if report.draft is None else _target(report.draft),
        "model": _model(report.model),
        "quantization": {"method": report.method, "files": list(report.quant_files)},
        "engines": [_engine(engine) for engine in report.engines],
        "findings": [_finding(finding) for finding in report.findings],
        "accepted": [_accepted(each) for each in report.accepted],
        "notes": list(report.notes),
        "exit_code": report.exit_code,
    }


def _target(target: Target) -> _View:
    return {"kind": target.kind, "name": target.name, "revision": target.revision}


def _model(model: ModelInfo) -> _View:
    return {
        "family": model.family,
        "model_type": model.model_type,
        "architectures": list(model.architectures),
        "draft_class": model.draft_class,
        "num_hidden_layers": model.num_hidden_layers,
        "mtp_layers": model.mtp_layers,
    }


def _engine(engine: EngineReport) -> _View:
    return {
        "engine": engine.engine,
        "version": engine.version,
        "platform": engine.platform,
        "outcome": engine.outcome,
        "error": engine.error,
        "reason": engine.reason,
        "confidence": engine.confidence,
        "modules": [_module(m) for m in engine.modules if m.decision.module.asks],
    }


def _module(report: ModuleReport) -> _View:
    decision = report.decision
    return {
        "part": decision.module.part,
        "name": decision.module.name,
        "kind": decision.module.kind,
        "members": list(report.members),
        "on_disk": report.disk.state.value,
        "on_disk_format": report.disk.format,
        "built": decision.built,
        "built_scheme": decision.scheme,
        "because": _because(decision.because),
        "agrees": report.agrees,
        "consequence": report.consequence,
        "detail": report.detail,
    }


def _because(entry: Entry | None) -> _View | None:
    if entry is None:
        return None
    return {"file": entry.file, "pointer": entry.pointer, "entry": entry.spelling}


def _finding(finding: Finding) -> _View:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "message": finding.message,
        "modules": list(finding.modules),
        "entries": list(finding.entries),
        "releases": list(finding.releases),
        "where": _where(finding.where),
        "fix": _fix(finding.fix),
    }


def _accepted(accepted: Accepted) -> _View:
    why = accepted.acceptance
    acceptance = {"by": why.by, "reason": why.reason, "file": why.file, "until": why.until}
    return {"finding": _finding(accepted.finding), "acceptance": acceptance}


def _where(where: Where | None) -> _View | None:
    if where is None:
        return None
    return {"file": where.file, "pointer": where.pointer, "line": where.line}


def _fix(fix: Fix | None) -> _View | None:
    if fix is None:
        return None
    edits = [
        {"file": e.file, "pointer": e.pointer, "op": e.op, "value": e.value} for e in fix.edits
    ]
    return {"title": fix.title, "applicability": fix.applicability, "edits": edits}
