"""What is said of a new release of SGLang: what differs, and what to edit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mtpfix.engines import registry
from tools import newrelease, sglang_differential, sglang_environment, sglang_newrelease
from tools.sglang_environment import Home
from tools.sglang_recording import FOLDER

ROWS = (
    '{\n  "overlays": {},\n  "releases": {\n    "0.5.23": null,\n    "0.5.21": "tf5.12.1"\n  }\n}\n'
)


def test_a_new_release_gets_the_row_of_the_newest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(ROWS, encoding="utf-8")
    monkeypatch.setattr(sglang_environment, "RELEASES", file)
    sglang_environment._data.cache_clear()
    try:
        assert sglang_environment.add("0.5.24")
        assert not sglang_environment.add("0.5.24")
        assert sglang_environment.releases() == ["0.5.24", "0.5.23", "0.5.21"]
        assert json.loads(file.read_text(encoding="utf-8"))["releases"]["0.5.24"] is None
        added = '    "0.5.24": null,\n    "0.5.23": null,\n'
        assert file.read_text(encoding="utf-8") == ROWS.replace('    "0.5.23": null,\n', added)
    finally:
        sglang_environment._data.cache_clear()


def test_the_release_before_is_the_newest_covered_one_that_is_older() -> None:
    covered = registry.engine("sglang").releases
    assert newrelease.before("0.5.23", covered) == "0.5.22"
    assert newrelease.before("0.6.0", covered) == "0.5.23"
    with pytest.raises(SystemExit, match="--from"):
        newrelease.before("0.5.13", covered)


def test_files_that_decide_about_a_draft_are_compared(tmp_path: Path) -> None:
    texts = {"old": {"a_mtp.py": "x\n", "b_nextn.py": "x\n"}, "new": {"a_mtp.py": "x\ny\n"}}
    for release, files in texts.items():
        models = tmp_path / release / "sglang" / "srt" / "models"
        models.mkdir(parents=True)
        (models / "a.py").write_text(release)
        for name, text in files.items():
            (models / name).write_text(text)
    assert list(sglang_newrelease.changed_files(tmp_path / "old", tmp_path / "new")) == [
        "models/a_mtp.py: 1 lines added, 0 removed",
        "models/b_nextn.py: 0 lines added, 1 removed",
    ]


def test_a_release_is_foreseen_by_its_own_rows_and_not_by_those_before(tmp_path: Path) -> None:
    name = "qwen3_5.json.xz"
    (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    own = sglang_newrelease.differences(tmp_path, "0.5.23", "0.5.23")
    old = sglang_newrelease.differences(tmp_path, "0.5.23", "0.5.19")
    (asked, wrong), (again, differ) = own["qwen3_5"], old["qwen3_5"]
    assert asked == again > 0
    assert wrong == []
    assert differ
    first, *examples = sglang_newrelease.agreement_lines(old)
    assert first == f"qwen3_5: {asked - len(differ)} of {asked} decisions agree"
    assert len(examples) <= sglang_newrelease.EXAMPLES + 1
    assert "qwen3_5" in "\n".join(sglang_newrelease.to_edit("9.9.0", old))
    assert "families" not in "\n".join(sglang_newrelease.to_edit("9.9.0", own))


def test_answers_of_matchers_are_kept_and_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = sglang_differential.read()
    theirs = sglang_differential.answers(data, "0.5.16")
    monkeypatch.setattr(sglang_differential, "ask", lambda *_: theirs)
    monkeypatch.setattr(sglang_newrelease, "Release", lambda _: None)
    said = list(sglang_newrelease.matchers("9.9.0", "0.5.23", Home(tmp_path), tmp_path))
    assert any(line.startswith("ct_ignore: ") for line in said)
    kept = sglang_differential.read(tmp_path)
    assert sglang_differential.answers(kept, "9.9.0") == theirs
    same = sglang_differential.answers(data, "0.5.23")
    assert sglang_differential.answers(kept, "0.5.23") == same


def test_the_command_line_asks_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def bring_in(options: object) -> list[str]:
        asked.append(options)
        return []

    monkeypatch.setattr(sglang_newrelease, "bring_in", bring_in)
    arguments = ["newrelease", "--engine", "sglang", "9.9.0", "--lean"]
    monkeypatch.setattr(sys, "argv", arguments)
    newrelease.main()
    (options,) = asked
    assert (options.release, options.lean, options.out) == ("9.9.0", True, FOLDER)
    assert options.answers == sglang_differential.OUT
