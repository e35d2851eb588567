"""The JSON Schemas and the tables of fields, and the policy files by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mtpfix.engines.policies.condition import Record
from tools import schema

DATA = [
    (path, schema.schema_of(pattern))
    for pattern in schema.FILES
    for path in schema.files_of(pattern).values()
]


def problems(value: Any, path: Path) -> list[str]:
    """What a schema says against a value."""
    known = json.loads(path.read_text(encoding="utf-8"))
    return [each.message for each in jsonschema.Draft202012Validator(known).iter_errors(value)]


def test_schemas_and_tables_are_as_the_records_say() -> None:
    assert schema.stale() == []


def test_the_check_names_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- fields: made -->\nold\n<!-- end of fields -->\n", encoding="utf-8")
    monkeypatch.setattr(schema, "PAGE", page)
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    monkeypatch.setattr(schema, "DATA", tmp_path)
    monkeypatch.setattr(schema, "SGLANG", tmp_path / "sglang")
    monkeypatch.setattr("sys.argv", ["schema", "--check"])
    with pytest.raises(SystemExit) as caught:
        schema.main()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert "page.md" in said
    assert "family.schema.json" in said
    monkeypatch.setattr("sys.argv", ["schema"])
    schema.main()
    assert schema.stale() == []
    assert "| `mtp_layers` |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", schema.schemas())
def test_a_schema_is_one(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("path", "known"), DATA, ids=lambda path: path.name)
def test_a_file_names_its_schema_and_is_valid_by_it(path: Path, known: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert (path.parent / value["$schema"]).resolve() == known
    assert problems(value, known) == []


@pytest.mark.parametrize(("path", "known"), DATA, ids=lambda path: path.name)
def test_a_key_that_is_wrong_is_told_by_the_schema(path: Path, known: Path) -> None:
    value = {**json.loads(path.read_text(encoding="utf-8")), "whne": "vision"}
    assert any("whne" in problem for problem in problems(value, known))


def test_every_file_has_a_schema() -> None:
    files = {path for path in schema.DATA.rglob("*.json") if path.parent.name != "schema"}
    files.update(
        schema.ENGINE.glob("methods/*/*.json"), schema.ENGINE.glob("families/*/policy.json")
    )
    assert {path for path, _ in DATA} == files
    written = set((schema.DATA / "schema").iterdir())
    assert written == {path for path in schema.schemas() if path.parent != schema.SGLANG}


class Bare(Record, frozen=True, kw_only=True):
    told: str
    """Something."""
    silent: str


def test_a_field_without_a_docstring_is_refused() -> None:
    with pytest.raises(LookupError, match=r"Bare\.silent has no docstring"):
        schema.described(Bare)


SGLANG = schema.ROOT / "mtpfix"
OTHERS = [
    *(path for path in (SGLANG / "data" / "sglang").glob("*.json")),
    *(SGLANG / "engines" / "sglang" / "families").glob("*/policy.json"),
]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_sglang_name_a_schema_that_they_fit(path: Path) -> None:
    stated = json.loads(path.read_text(encoding="utf-8"))
    known = (path.parent / stated["$schema"]).resolve()
    assert known in {each.resolve() for each in schema.schemas()}
    jsonschema.validate(stated, json.loads(known.read_text(encoding="utf-8")))
