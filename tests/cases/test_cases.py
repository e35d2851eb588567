"""Public cases: each is a checkpoint as people met it, judged and repaired as `expected.json` says.

`expected.json` of a case holds what it is (`repo`, `method`, `says`, `sources`), whether vLLM
`agrees` with that, `differs`, or the case is about an engine or tool `elsewhere` (`agreement`,
with a `note` on what vLLM does instead), and, for each of its checkpoints, what `judged` must
come to, release by release, and what the `repair` must be. `tools.cases` writes it anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import Repair
from mtpfix.engines.vllm import policy
from mtpfix.errors import RefusedError
from mtpfix.merging import exit_code
from mtpfix.model import FAILED, EngineReport, Report
from mtpfix.repair.plan import Options
from tests.cases.materialise import CASES, materialise, spelled_out
from tools.cases import PAGE, codes, draft, page

NUMBER = 52
"""How many public cases there are."""
AGREEMENTS = ("agrees", "differs", "elsewhere")
CHECKPOINTS = [
    pytest.param(case, name, id=f"{case.name}/{name}".removesuffix("/."))
    for case in sorted(path.parent for path in CASES.glob("*/expected.json"))
    for name in json.loads((case / "expected.json").read_text(encoding="utf-8"))["checkpoints"]
]


@cache
def expected(case: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("case", "name"), CHECKPOINTS)
def test_a_case_is_judged_and_repaired(case: Path, name: str, tmp_path: Path) -> None:
    stated = expected(case)["checkpoints"][name]
    folder = materialise(case / name, tmp_path / "model")
    report = mtpfix.inspect(folder, vllm=["all"], trunk=True)
    if "unjudged" in stated:
        found = {"exit_code": report.exit_code, "codes": codes(report.findings)}
        assert found == stated["unjudged"]
        return
    judged(report, stated["judged"])
    repaired(folder, report, stated["repair"])


def judged(report: Report, rows: list[dict[str, Any]]) -> None:
    """Asserts the verdict of every release, and what is on disk and built for each module."""
    spoken_of = [engine.version for row in rows for engine in of(report, row["vllm"])]
    assert sorted(spoken_of) == sorted(engine.version for engine in report.engines)
    built: Mapping[str, str] = {}
    for row in rows:
        built = row.get("draft", built)
        for engine in of(report, row["vllm"]):
            said = [f for f in report.findings if not f.releases or engine.version in f.releases]
            assert codes(said) == row["codes"], engine.version
            assert exit_code(said, [engine]) == row["exit_code"], engine.version
            assert (engine.outcome, engine.error) == (row["outcome"], row.get("error"))
            assert draft(engine) == spelled(built), engine.version


def repaired(folder: Path, before: Report, stated: dict[str, Any]) -> None:
    """Asserts the repair: its entries, the verdict after it, and that the trunk stays as it is."""
    vllm = [stated.get("vllm", "all")]
    options = Options(repair_trunk=stated.get("repair_trunk", False))
    if "refused" in stated:
        with pytest.raises(RefusedError, match=re.escape(stated["refused"])):
            mtpfix.rewrite(folder, vllm=vllm, platforms=["cuda"], options=options, write=True)
        return
    given: Any = {"vllm": vllm, "platforms": ["cuda"], "options": options}
    old = {e.version: e.outcome for e in before.engines if e.outcome in FAILED}
    fail = [row["vllm"] for row in stated["leaves"] if row["outcome"] in FAILED]
    left = {version for vllm in fail for version in policy.select_releases([vllm])}
    if stated.get("files") and old and not set(old) - left:  # an edit that helps no release alone
        with pytest.raises(RefusedError, match="as broken as the source"):
            mtpfix.rewrite(folder, **given, write=True)
    made = mtpfix.rewrite(folder, **given, backup=False, allow_partial=True, write=True)
    assert list(made.plan.added) == stated["add"]
    assert list(made.plan.removed) == stated["remove"]
    assert sorted(made.files) == stated.get("files", [])
    assert unresolved(made) == {
        reason: sorted(n for pattern in patterns for n in spelled_out(pattern))
        for reason, patterns in stated.get("unresolved", {}).items()
    }
    for row in stated["leaves"]:
        assert {engine.outcome for engine in of(made.after, row["vllm"])} == {row["outcome"]}
    written = mtpfix.inspect(folder, vllm=ends(before), trunk=True)
    allowed = {e.version: {e.outcome} for e in before.engines}
    if options.repair_trunk:  # a release that the repair was not for may come right with it
        allowed = {version: {*outcomes, "clean"} for version, outcomes in allowed.items()}
    allowed.update({e.version: {e.outcome} for e in made.after.engines})
    for engine in written.engines:
        assert engine.outcome in allowed[engine.version], engine.version
    if not options.repair_trunk:
        assert set(trunk(written)) <= set(trunk(before))


@pytest.mark.parametrize("case", ["derived-exclude-modules-key-version", "amd-glm47-mxfp4-missing"])
def test_a_case_is_judged_alike_without_the_headers_of_the_trunk(case: str, tmp_path: Path) -> None:
    folder = materialise(CASES / case, tmp_path / "model")
    whole, brief = mtpfix.inspect(folder, trunk=True), mtpfix.inspect(folder)
    assert codes(whole.findings) == codes(brief.findings)
    assert whole.engines[0].outcome == brief.engines[0].outcome


def test_every_public_case_is_here() -> None:
    listed = (CASES / "public.txt").read_text(encoding="utf-8").split()
    assert len(set(listed)) == NUMBER
    assert {path.parent.name for path in CASES.glob("*/expected.json")} == set(listed)


@pytest.mark.parametrize("case", sorted(CASES.glob("*/expected.json")), ids=lambda p: p.parent.name)
def test_a_case_asserts_something(case: Path) -> None:
    stated = expected(case.parent)
    assert {"repo", "method", "says", "sources", "agreement", "checkpoints"} <= stated.keys()
    assert stated["agreement"] in AGREEMENTS
    assert stated["agreement"] == "agrees" or stated["note"]
    folders = {
        p.parent.relative_to(case.parent).as_posix() for p in case.parent.rglob("headers.json")
    }
    assert folders == set(stated["checkpoints"])
    for checkpoint in stated["checkpoints"].values():
        assert "unjudged" in checkpoint or (checkpoint["judged"] and "repair" in checkpoint)


def test_the_page_is_made_from_the_cases() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tools.cases --page"


# --- what is compared -----------------------------------------------------------


def ends(report: Report) -> list[str]:
    """The oldest and the newest release that were judged."""
    versions = [engine.version for engine in report.engines]
    return [versions[0], versions[-1]]


def of(report: Report, vllm: str) -> list[EngineReport]:
    """The reports on the releases that a specifier means."""
    wanted = policy.select_releases([vllm])
    return [engine for engine in report.engines if engine.version in wanted]


def spelled(stated: Mapping[str, str]) -> dict[str, str]:
    return {name: text for pattern, text in stated.items() for name in spelled_out(pattern)}


def unresolved(repair: Repair) -> dict[str, list[str]]:
    """Why modules stay wrong -> their names, of any release."""
    found: dict[str, set[str]] = {}
    for item in repair.plan.unresolved:
        found.setdefault(item.reason, set()).add(item.module)
    return {reason: sorted(modules) for reason, modules in found.items()}


def trunk(report: Report) -> list[tuple[str, str, str, str | None]]:
    """Every decision about the trunk, release by release."""
    return [
        (engine.version, m.decision.module.name, m.decision.built, m.decision.scheme)
        for engine in report.engines
        for m in engine.modules
        if m.decision.module.part == "trunk"
    ]
