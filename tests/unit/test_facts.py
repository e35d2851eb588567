"""Facts that the user brings: they are in force, every report says so, and wrong ones are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mtpfix import facts
from mtpfix.report.json import schema
from tests.unit.cli.conftest import Folder, Ran
from tools import facts as maker

ROW = {"releases": ">=0.35", "value": False, "grade": "run"}
NEXT = "0.35.0"
FUSED = (
    "lm_head",
    r"re:^model\.layers\.2\.(input_proj|self_attn\.(qkv_proj|o_proj)|mlp\..*)$",
)
"""An entry for the fused name alone: whether it excludes the shards differs between releases."""


def run(*words: object, brought: Path | str | None, path: Path | None = None) -> Ran:
    """Run the command line in a process of its own: facts are read once."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("MTPFIX_")}
    env = {**known, "COLUMNS": "100"}
    env |= {} if brought is None else {facts.SWITCH: str(brought)}
    env |= {} if path is None else {"PYTHONPATH": str(path)}
    command = [sys.executable, "-m", "mtpfix", *map(str, words)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(name="brought")
def _brought(tmp_path: Path) -> Path:
    """Facts that know one release more, in which an entry is compared otherwise."""
    maker.copy(tmp_path / "newer_facts")
    file = tmp_path / "newer_facts" / "data" / "vllm" / "releases.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    stated["covered"].append(NEXT)
    stated["rules"]["fused_name_first"].insert(0, ROW)
    file.write_text(json.dumps(stated), encoding="utf-8")
    return tmp_path / "newer_facts"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "model")
    made.ignore(*FUSED)
    return made


def test_a_release_more_and_its_decisions(folder: Folder, brought: Path) -> None:
    shipped = run("check", folder, "--vllm", NEXT, brought=None)
    assert shipped.code == 3
    assert "clean on vLLM 0.35.0 (cuda), as far as is known" in shipped.out
    known = run("check", folder, "--vllm", NEXT, brought=brought)
    assert known.code == 1
    assert "MTP102" in known.out or "MTP201" in known.out
    assert "MTP903" not in known.out
    assert f"judged by facts of '{brought}' (sha256:" in known.out


def test_an_installed_package_is_such_a_folder(folder: Folder, brought: Path) -> None:
    named = run("check", folder, "--vllm", NEXT, brought=brought.name, path=brought.parent)
    assert named.code == 1
    assert f"judged by facts of '{brought}'" in named.out


def test_every_report_has_the_digest(folder: Folder, brought: Path) -> None:
    digest = facts.digest(brought)
    report = run("check", folder, "--format", "json", brought=brought).json
    assert report["tool"]["facts"] == digest
    assert any(digest[:23] in note for note in report["notes"])
    jsonschema.validate(report, schema())
    own = run("check", folder, "--format", "json", brought=None).json
    assert own["tool"]["facts"] is None
    for command in ("rewrite", "names", "families"):
        target = () if command == "families" else (folder,)
        shown = run(command, *target, "--format", "json", brought=brought).json
        assert shown["tool"]["facts"] == digest
        jsonschema.validate(shown, schema(shown["schema"]))
    sarif = run("check", folder, "--format", "sarif", brought=brought).json
    assert sarif["runs"][0]["tool"]["driver"]["properties"] == {"facts": digest}
    assert digest[:23] in run("--version", brought=brought).out
    assert run("--version", brought=None).out.count("\n") == 1


def test_the_digest_is_of_names_and_contents(brought: Path) -> None:
    before = facts.digest(brought)
    (brought / "README.md").write_text("no facts", encoding="utf-8")
    assert facts.digest(brought) == before
    file = brought / "data" / "vllm" / "releases.json"
    file.write_bytes(file.read_bytes() + b"\n")
    assert facts.digest(brought) != before


def test_a_copy_of_the_shipped_facts_judges_as_they_do(folder: Folder, tmp_path: Path) -> None:
    digest = maker.copy(tmp_path / "same")
    assert digest == facts.digest(maker.PACKAGE)
    one = run("check", folder, "--format", "json", brought=None).json
    other = run("check", folder, "--format", "json", brought=tmp_path / "same").json
    assert one["engines"] == other["engines"]
    assert one["findings"] == other["findings"]


def _spoil(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


RELEASES = "data/vllm/releases.json"
POLICY = "engines/vllm/families/mimo/policy.json"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_spoil(RELEASES, "{"), "releases.json"),
        (_spoil(RELEASES, "[" * 100_000), "releases.json"),
        (_spoil(RELEASES, '{"covered": [], "rules": {}, "more": 1}'), "releases.json"),
        (_spoil(POLICY, '{"title": "\x1b[31m", "mtp_layers": "__import__(1)"}'), "policy.json"),
        (lambda folder: (folder / POLICY).unlink(), "policy.json is missing"),
        (lambda folder: (folder / RELEASES).unlink(), "releases.json is missing"),
        (_spoil(POLICY, " " * (facts.LIMIT + 1)), "has more than"),
        (lambda folder: (folder / "data").rename(folder / "gone"), "no facts"),
        (lambda folder: folder.rename(folder.parent / "gone"), "no such folder"),
        (
            lambda folder: ((folder / POLICY).unlink(), os.mkfifo(folder / POLICY)),
            "missing, or no file",
        ),
    ],
)
def test_wrong_facts_are_one_line_with_a_remedy(
    spoil: Callable[[Path], Any], said: str, folder: Folder, brought: Path
) -> None:
    spoil(brought)
    ran = run("check", folder, brought=brought)
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: MTPFIX_FACTS=")
    assert said in error
    assert "unset MTPFIX_FACTS" in hint
    assert "\x1b" not in ran.err


def test_a_block_that_no_file_of_facts_holds(folder: Folder, brought: Path) -> None:
    file = brought / "data" / "vllm" / "blocks.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**stated, "blocks": {}}), encoding="utf-8")
    ran = run("check", folder, brought=brought)
    assert ran.code == 2
    assert ran.err.startswith("error: MTPFIX_FACTS=")


def test_no_module_is_run_that_is_named(folder: Folder, tmp_path: Path) -> None:
    package = tmp_path / "evil_facts"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('run')", encoding="utf-8")
    ran = run("check", folder, brought="evil_facts", path=tmp_path)
    assert ran.code == 2
    assert "no facts" in ran.err
