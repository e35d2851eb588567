"""Every document that a command writes has a JSON Schema, and is what it says."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import mtpfix
from mtpfix.acceptance import baseline
from mtpfix.cli import codes
from mtpfix.engines.verification import Verification, Verified
from mtpfix.model import Precision, State
from mtpfix.report import graft, probe, verify
from mtpfix.report.json import schema
from tests.unit.grafts.pairs import pair
from tests.unit.report.schemas import NAMES, validator

from .conftest import Folder, Run

COMMANDS = {
    "inspect": ("mtpfix.report/1", ["inspect", "{}", "--vllm", "all", "--trunk"]),
    "check": ("mtpfix.report/1", ["check", "{}"]),
    "check of many": ("mtpfix.audit/1", ["check", "{}", "no-such-folder"]),
    "rewrite": ("mtpfix.rewrite/1", ["rewrite", "{}"]),
    "rewrite --write": ("mtpfix.rewrite/1", ["rewrite", "{}", "--write"]),
    "names": ("mtpfix.names/1", ["names", "{}"]),
    "names of keys": ("mtpfix.names/1", ["names", "{}", "--method", "auto-round"]),
    "override": ("mtpfix.override/1", ["override", "{}"]),
    "override of SGLang": ("mtpfix.draft-folder/1", ["override", "{}", "--engine", "sglang"]),
    "families": ("mtpfix.families/1", ["families"]),
    "dialects": ("mtpfix.dialects/1", ["families", "--dialects"]),
    "explain": ("mtpfix.explain/1", ["explain", "MTP201"]),
    "explain all": ("mtpfix.explain/1", ["explain"]),
}


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtpfix.delivery.guard.prove", lambda *_: ())


@pytest.mark.parametrize("case", COMMANDS)
def test_a_document_is_what_its_schema_says(run: Run, folder: Folder, case: str) -> None:
    name, words = COMMANDS[case]
    document = run(*(word.format(folder) for word in words), "--format", "json").json
    validator(name).validate(document)
    stated = document[0] if isinstance(document, list) else document
    assert stated.get("schema", "mtpfix.override/1") == name


@pytest.mark.parametrize("options", [[], ["--write"], ["--precision", "bf16"]])
def test_a_graft_is_what_its_schema_says(run: Run, tmp_path: Path, options: list[str]) -> None:
    made = pair(tmp_path)
    words = ["graft", made.target, "--from", made.base, *options, "--format", "json"]
    document = run(*words).json
    validator(graft.SCHEMA).validate(document)
    assert document["schema"] == graft.SCHEMA
    assert all(bool(each["sha256"]) == ("--write" in options) for each in document["tensors"])


def test_a_drop_is_a_rewrite(run: Run, tmp_path: Path) -> None:
    document = run("graft", pair(tmp_path).target, "--drop", "--format", "json").json
    validator("mtpfix.rewrite/1").validate(document)


def test_the_answer_of_a_vllm_too() -> None:
    disk = Precision(State.UNQUANTIZED, "bf16")
    row = Verified("model.x", "draft", disk, "quantized", "Fp8", None, None, False, None)
    answer = Verification("0.32.0", None, (row,), ("build: KeyError: 'x'",), ("a: b",), 1)
    for target in ("folder", "hf://org/name@main"):
        validator(verify.SCHEMA).validate(json.loads(verify.json(answer, target)))


def test_every_schema_is_named_and_is_one() -> None:
    folder = resources.files("mtpfix") / "data" / "schemas"
    files = {file.name for file in folder.iterdir()}
    assert files == {f"{n.removeprefix('mtpfix.').replace('/', '-')}.schema.json" for n in NAMES}
    for name in NAMES:
        jsonschema.Draft202012Validator.check_schema(schema(name))
    beside = {
        verify.SCHEMA,
        graft.SCHEMA,
        codes.SYMPTOMS,
        probe.SCHEMA,
        baseline.SCHEMA,
    }  # tested with their commands
    assert {name for name, _ in COMMANDS.values()} | beside == set(NAMES)


def test_every_name_of_a_document_has_a_schema() -> None:
    """But for the file of a graft that is under way, which nobody else reads."""
    package = Path(mtpfix.__file__).parent
    texts = (path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    found = {name for text in texts for name in re.findall(r'"(mtpfix\.[a-z-]+/\d+)"', text)}
    assert found - {"mtpfix.manifest/1"} == set(NAMES) - {"mtpfix.override/1"}


def test_a_baseline_is_what_its_schema_says(run: Run, folder: Folder) -> None:
    file = folder.path.parent / "baseline.json"
    assert run("check", folder, "--write-baseline", file).code == 0
    document = json.loads(file.read_text(encoding="utf-8"))
    validator(baseline.SCHEMA).validate(document)
    assert document["schema"] == baseline.SCHEMA
    assert document["findings"]


def test_the_schemas_are_open_for_fields_to_come(run: Run, folder: Folder) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            assert node.get("additionalProperties") is not False
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    for name in NAMES:
        walk(schema(name))
    document = run("check", folder, "--format", "json").json
    document["new"] = document["model"]["new"] = 1
    jsonschema.Draft202012Validator(schema()).validate(document)


def test_the_page_names_every_schema() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "json.md"
    text = page.read_text(encoding="utf-8")
    for name in NAMES:
        stands = f"`{name}`" in text or f"{name.removeprefix('mtpfix.').replace('/', '-')}." in text
        assert stands, name
