"""Many targets in one run: each on its own, the worst exit code, and no failure stops the rest."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mtpfix import calls
from mtpfix.auditing import Audited, audit, from_file, worst
from mtpfix.cli import main
from mtpfix.errors import TargetError, UsageError
from mtpfix.model import Report
from mtpfix.targets import Reference
from tests.hub.conftest import NAME, SAMPLE
from tests.hub.server import Hub, Repo, sparse


@pytest.fixture(name="many")
def _many(hub: Hub, repo: Repo) -> list[str]:
    """Three repos of an owner: one as the sample, one broken, one without a draft."""
    files = repo.commits[repo.branches["main"]]
    broken, plain = hub.repos["org/broken"], hub.repos["org/plain"] = Repo(), Repo()
    broken.commit(files | {"config.json": sparse(b"{")})
    config = json.loads(files["config.json"].head)
    config["num_nextn_predict_layers"] = 0
    plain.commit(files | {"config.json": sparse(json.dumps(config).encode())})
    return ["org/broken", NAME, "org/plain", "org/none"]


def test_one_failure_stops_none_of_the_others(many: list[str]) -> None:
    rows = list(audit(many))
    assert [row.target for row in rows] == many
    assert [row.exit_code for row in rows] == [2, 1, 0, 2]
    assert [row.report is None for row in rows] == [True, False, False, True]


def test_the_command_shows_a_line_for_each(
    many: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["check", *many]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if "org/" in line]
    assert [line.split()[0] for line in lines] == many
    assert "MTP201" in lines[1]
    assert "4 targets: 1 may pass, 1 wrong, 2 could not be read" in out
    assert err.count("error: ") == err.count("hint: ") == 2


def test_the_document_has_every_report(many: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *many, "--format", "json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["exit_code"]) == ("mtpfix.audit/1", 2)
    assert [one["target"] for one in found["targets"]] == many
    assert found["targets"][1]["report"]["schema"] == "mtpfix.report/1"
    assert found["targets"][0]["report"] is None
    assert "config.json" in found["targets"][0]["error"]["message"]


def test_other_formats_have_a_part_for_each(
    many: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    suites = tmp_path / "junit.xml"
    assert main(["check", *many, "--format", "sarif", "--also", f"junit={suites}"]) == 2
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["invocations"][0]["executionSuccessful"] for run in runs] == [0, 1, 1, 0]
    assert runs[3]["results"][0]["ruleId"] == "MTP905"
    root = ET.parse(suites).getroot()
    assert [suite.get("name") for suite in root] == [name.removeprefix("hf://") for name in many]
    assert [suite.get("errors") for suite in root] == ["1", "0", "0", "1"]


@pytest.mark.parametrize("form", ["github", "markdown", "html"])
def test_what_cannot_be_read_is_told_in_every_format(
    many: list[str], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *many, "--format", form]) == 2
    shown = capsys.readouterr().out
    assert shown.count("MTP905") >= 2
    assert all(name in shown for name in many)


def test_all_repos_of_an_owner(many: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--org", "org"]) == 2
    assert "3 targets" in capsys.readouterr().out


def test_targets_from_a_file(
    many: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "targets"
    listed.write_text(f"# ours\n\n{NAME}\n  {SAMPLE}  \n{NAME}\n")
    assert main(["check", "--from-file", str(listed)]) == 1
    assert "2 targets: 2 wrong" in capsys.readouterr().out


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name in ("none", "bytes"):
        with pytest.raises(UsageError, match="cannot be read"):
            from_file(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device of POSIX")
def test_a_list_that_never_ends() -> None:
    with pytest.raises(UsageError, match="more than"):
        from_file(Path("/dev/zero"))


def test_a_revision_belongs_to_one_target(
    many: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *many, "--revision", "v1"]) == 2
    assert "org/name@revision" in capsys.readouterr().err


def test_a_list_of_nothing_is_no_clean_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").write_text("# all gone\n")
    assert main(["check", "--from-file", str(tmp_path / "none")]) == 2
    assert "there is no target" in capsys.readouterr().err


def test_a_fault_of_ours_ends_no_audit(
    many: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(target: Reference, *rest: object, **more: object) -> Report:
        if target.target == many[0]:
            raise ValueError("nobody foresaw it")
        return real(target, *rest, **more)  # type: ignore[arg-type]

    real = calls.inspect
    monkeypatch.setattr(calls, "inspect", failing)
    assert main(["check", *many, "--vllm", "0.32.0"]) == 5
    said = capsys.readouterr()
    assert "internal error: ValueError" in said.err
    assert "foresaw" not in said.err
    assert "1 ended in an error inside mtpfix" in said.out


@pytest.mark.parametrize(
    ("codes", "expected"), [([], 0), ([0, 3], 3), ([3, 1], 1), ([1, 4], 4), ([4, 2, 0], 2)]
)
def test_the_worst_exit_code(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


def test_targets_are_read_as_they_are_needed() -> None:
    asked = []

    def targets() -> object:
        for number in range(100):
            asked.append(number)
            yield f"/none/{number}"

    rows = audit(targets(), jobs=2)  # type: ignore[arg-type]
    first = next(rows)
    assert isinstance(first, Audited)
    assert isinstance(first.error, TargetError)
    assert len(asked) < 10
    assert len(list(rows)) == 99
