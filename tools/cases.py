"""What mtpfix says of the public cases: writes `expected.json` anew, and `docs/cases.md`.

    python -m tools.cases CASE ...    # judges cases anew; read the diff before it is committed
    python -m tools.cases --page      # writes docs/cases.md

A row of `expected.json` speaks of releases that follow each other and have one verdict;
`draft` is left out where it is as in the row before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import mtpfix
from mtpfix.engines.vllm import policy
from mtpfix.errors import RefusedError
from mtpfix.merging import exit_code
from mtpfix.model import EngineReport, Finding, ModuleReport, Report
from mtpfix.repair.plan import Options
from tests.cases.materialise import CASES, materialise

PAGE = CASES.parents[1] / "docs" / "cases.md"
WIDTH = 100
Json = Any
Row = dict[str, Json]


# --- what is said ---------------------------------------------------------------


def judge(case: Path, checkpoint: str, scratch: Path, stated: Row) -> Row:
    """What mtpfix says of one checkpoint of a case, as `expected.json` holds it.

    Args:
        case: folder of the case.
        checkpoint: its folder below that, or `.`.
        scratch: an empty folder.
        stated: what is expected so far; the options of its repair are kept.
    """
    folder = materialise(case / checkpoint, scratch / "model")
    report = mtpfix.inspect(folder, vllm=["all"], trunk=True)
    if not report.engines:
        return {"unjudged": {"exit_code": report.exit_code, "codes": codes(report.findings)}}
    kept = {k: v for k, v in stated.get("repair", {}).items() if k in ("vllm", "repair_trunk")}
    return {"judged": list(rows(report)), "repair": {**kept, **repair(folder, kept)}}


def rows(report: Report) -> Iterable[Row]:
    """One row for releases that follow each other and have one verdict."""
    said = [(engine.version, verdict(engine, report.findings)) for engine in report.engines]
    before: Json = None
    for found, group in groupby(said, key=lambda item: item[1]):
        versions = [version for version, _ in group]
        row = {"vllm": specifier(versions), **found}
        if row["draft"] == before:
            del row["draft"]
        before = found["draft"]
        yield row


def verdict(engine: EngineReport, findings: Iterable[Finding]) -> Row:
    """What is said of one release."""
    said = [f for f in findings if not f.releases or engine.version in f.releases]
    found: Row = {
        "exit_code": exit_code(said, [engine]),
        "outcome": engine.outcome,
        "codes": codes(said),
        "draft": braced(draft(engine)),
    }
    return {**found, "error": engine.error} if engine.error else found


def repair(folder: Path, options: Row) -> Row:
    """What `rewrite` makes of a checkpoint; it is written to `folder`."""
    try:
        made = mtpfix.rewrite(
            folder,
            vllm=[options.get("vllm", "all")],
            platforms=["cuda"],
            options=Options(repair_trunk=options.get("repair_trunk", False)),
            backup=False,
            allow_partial=True,
            write=True,
        )
    except RefusedError as refused:
        return {"refused": str(refused).partition(":")[0]}
    left: Row = {}
    for item in made.plan.unresolved:
        left.setdefault(item.reason, set()).add(item.module)
    after = [(engine.version, engine.outcome) for engine in made.after.engines]
    found: Row = {
        "add": list(made.plan.added),
        "remove": list(made.plan.removed),
        "files": sorted(made.files),
        "unresolved": {reason: list(braced(dict.fromkeys(left[reason], ""))) for reason in left},
        "leaves": [
            {"vllm": specifier([version for version, _ in group]), "outcome": outcome}
            for outcome, group in groupby(after, key=lambda item: item[1])
        ],
    }
    return {key: value for key, value in found.items() if value or key in ("add", "remove")}


def codes(findings: Iterable[Finding]) -> list[str]:
    """Codes of some findings, each once."""
    return sorted({finding.code for finding in findings})


def draft(engine: EngineReport) -> dict[str, str]:
    """Module -> how it is on disk, and what is built; those of one name are alike."""
    found = {}
    for module in engine.modules:
        asked = module.decision.module
        if asked.part == "draft" and asked.asks:
            found[asked.name] = f"{module.disk.format or module.disk.state.value} > {built(module)}"
    return found


def built(module: ModuleReport) -> str:
    """The scheme of a module, or the word for what else is built."""
    decision = module.decision
    return str(decision.scheme if decision.built == "quantized" else decision.built)


def specifier(versions: Sequence[str]) -> str:
    """The shortest specifier of covered releases that follow each other."""
    covered = list(policy.covered_releases())
    first, last = covered.index(versions[0]), covered.index(versions[-1])
    low = f">={minor(covered[first])}" if first else ""
    high = f"<{minor(covered[last + 1])}" if last + 1 < len(covered) else ""
    return ",".join(part for part in (low, high) if part) or "all"


def minor(version: str) -> str:
    """A release without its patch number."""
    return version.rpartition(".")[0]


def braced(names: dict[str, str]) -> dict[str, str]:
    """Names that differ in their last part and have one value, as one pattern with braces."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names):
        head, dot, last = name.rpartition(".")
        groups.setdefault((head + dot, names[name]), []).append(last)
    return {
        head + (lasts[0] if len(lasts) == 1 else "{" + ",".join(lasts) + "}"): text
        for (head, text), lasts in groups.items()
    }


# --- writing --------------------------------------------------------------------


def compact(value: Json, depth: int = 0, used: int = 0) -> str:
    """JSON that breaks lines only where they would grow too long."""
    line = json.dumps(value, ensure_ascii=False)
    if used + 2 * depth + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        keys = {key: f"{json.dumps(key)}: " for key in value}
        parts = [text + compact(value[key], depth + 1, len(text)) for key, text in keys.items()]
        return "{\n" + ",\n".join(pad + part for part in parts) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + compact(item, depth + 1) for item in value) + f"\n{end}]"


def rewrite(case: Path) -> None:
    """Judges a case anew and writes its `expected.json`."""
    path = case / "expected.json"
    stated: Row = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for headers in sorted(case.rglob("headers.json")):
        name = headers.parent.relative_to(case).as_posix()
        with tempfile.TemporaryDirectory() as scratch:
            old = stated.get("checkpoints", {}).get(name, {})
            found[name] = judge(case, name, Path(scratch), old)
    path.write_text(compact({**stated, "checkpoints": found}) + "\n", encoding="utf-8")


# --- the page -------------------------------------------------------------------

_HEAD = """\
# Public cases

Checkpoints that people had trouble with, in public threads, as fixtures below
[tests/cases](../tests/cases): metadata and headers, with small matrices. A test holds what mtpfix
says of each, release by release, and what it repairs. This page is made from the fixtures
(`python -m tools.cases --page`). Where vLLM does otherwise than the case says, a note says what;
a case that is about another engine or a tool is marked so.

| case | what is wrong | mtpfix, by vLLM release | repair | vLLM and the case |
|---|---|---|---|---|
"""
_AGREEMENTS = {
    "agrees": "as the case says",
    "differs": "otherwise",
    "elsewhere": "about another engine or tool",
}
_SHOWN = 2
"""Entries of a repair that are shown."""


def page() -> str:
    """The table of all cases."""
    return _HEAD + "".join(_line(path) for path in sorted(CASES.glob("*/expected.json")))


def _line(path: Path) -> str:
    case: Row = json.loads(path.read_text(encoding="utf-8"))
    links = [
        f"[{number}]({source})" if source.startswith("http") else source
        for number, source in enumerate(case["sources"], 1)
    ]
    said = f"{case['says']} {' '.join(links)}".rstrip()
    note = case.get("note")
    agreement = _AGREEMENTS[case["agreement"]] + (f": {note}" if note else "")
    found = case["checkpoints"]
    verdicts = (_named(name, _verdicts(found[name])) for name in found)
    repairs = (_named(name, _repair(found[name])) for name in found)
    first = f"`{path.parent.name}`<br>{case['method']}"
    cells = (first, said, "<br>".join(verdicts), "<br>".join(repairs), agreement)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _named(name: str, text: str) -> str:
    return text if name == "." else f"*{name}*: {text}"


def _verdicts(checkpoint: Row) -> str:
    """The outcomes, with the releases that share each, and the codes."""
    if "unjudged" in checkpoint:
        return _outcome("not judged", checkpoint["unjudged"]["codes"])
    texts = []
    merged = groupby(checkpoint["judged"], key=lambda row: (row["outcome"], row["codes"]))
    for (outcome, found), group in merged:
        said = [row["vllm"] for row in group]
        texts.append(f"{_span(said)}: {_outcome(outcome, found)}")
    return "; ".join(texts)


def _outcome(outcome: str, found: Sequence[str]) -> str:
    words = outcome.replace("_", " ")
    return f"{words} ({', '.join(found)})" if found else words


def _span(specifiers: Sequence[str]) -> str:
    """One specifier for some that follow each other."""
    low = next((p for p in specifiers[0].split(",") if p.startswith(">")), "")
    high = next((p for p in specifiers[-1].split(",") if p.startswith("<")), "")
    return ",".join(part for part in (low, high) if part) or "all"


def _repair(checkpoint: Row) -> str:
    """The entries that come and go, or why nothing is edited."""
    made = checkpoint.get("repair")
    if made is None or "refused" in made:
        return "none: not judged" if made is None else "refused"
    texts = [_entries("add", made["add"]), _entries("remove", made["remove"])]
    texts += [f"left: {reason}" for reason in made.get("unresolved", ())]
    return "; ".join(text for text in texts if text) or "nothing to edit"


def _entries(verb: str, found: Sequence[str]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{verb} {', '.join(f'`{entry}`' for entry in found[:_SHOWN])}{more}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("case", nargs="*", help="a case, or `all`")
    parser.add_argument("--page", action="store_true", help="write docs/cases.md")
    options = parser.parse_args()
    every = sorted(path.parent for path in CASES.glob("*/expected.json"))
    chosen = every if options.case == ["all"] else [CASES / name for name in options.case]
    for case in chosen:
        rewrite(case)
        print(case.name, file=sys.stderr)
    if options.page:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
