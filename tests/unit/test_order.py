"""A verdict does not depend on what the process judged before, nor on the order of an audit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtpfix.auditing import audit
from mtpfix.model import Report

from .cli.conftest import Folder

SLOW = r"re:(?:.{1,20}){1,5}[!?]"
"""20 ms for a name: too long among 500 patterns, and nothing to speak of alone."""
NEVER = r"re:(?:.{1,20}){1,20}[!?]"
"""Longer than anybody waits."""
MANY = tuple(rf"re:^model\.layers\.{number}\.never$" for number in range(500))

LISTS: Mapping[str, Sequence[str]] = {
    "alone": ("lm_head", SLOW),
    "among many": ("lm_head", *MANY, SLOW),
    "many": ("lm_head", *MANY),
    "never": ("lm_head", NEVER),
    "both": ("lm_head", SLOW, NEVER),
    "right": ("lm_head", r"re:^model\.layers\.2\..*"),
}
Verdict = tuple[str, int, tuple[str, ...]]

_ALONE = """
import json, sys
from mtpfix import check
report = check(sys.argv[1])
codes = [finding.code for finding in report.findings]
print(json.dumps([report.engines[0].outcome, report.exit_code, codes]))
"""


def said(report: Report | None) -> Verdict:
    assert report is not None
    codes = tuple(finding.code for finding in report.findings)
    return report.engines[0].outcome, report.exit_code, codes


@pytest.fixture(name="home", scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One checkpoint for each list."""
    home = tmp_path_factory.mktemp("audit")
    for name, entries in LISTS.items():
        Folder(home / name).ignore(*entries)
    return home


@pytest.fixture(name="alone", scope="module")
def _alone(home: Path) -> dict[str, Verdict]:
    """What is said of each checkpoint in a process of its own."""
    found: dict[str, Verdict] = {}
    for name in LISTS:
        command = [sys.executable, "-c", _ALONE, str(home / name)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        outcome, code, codes = json.loads(ran.stdout)
        found[name] = outcome, code, tuple(codes)
    return found


def test_the_lists_are_what_they_are_meant_to_be(alone: dict[str, Verdict]) -> None:
    assert alone["right"][:2] == ("clean", 0)
    assert alone["alone"][0] == "silent_garbage"
    for name in ("among many", "never", "both"):
        assert "MTP404" in alone[name][2], name
    assert "MTP404" not in alone["alone"][2]
    assert "MTP404" not in alone["many"][2]


@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(order=st.permutations([*LISTS, "among many", "alone"]), jobs=st.sampled_from([1, 4]))
def test_a_verdict_is_the_same_in_any_order(
    home: Path, alone: dict[str, Verdict], order: list[str], jobs: int
) -> None:
    rows = audit([str(home / name) for name in order], jobs=jobs)
    for name, row in zip(order, rows, strict=True):
        assert said(row.report) == alone[name], (name, order)
