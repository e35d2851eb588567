"""Writes what the records of the policy files say of themselves.

    python -m tools.schema           write the JSON Schemas and the tables of fields
    python -m tools.schema --check   exit 1 where they are stale

The schemas stand in `mtpfix/data/vllm/schema`, so that editors complete the keys of the files
that name them; the tables stand in `docs/architecture.md`. What they say of a field is the
docstring beneath it.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from mtpfix.engines.policies.condition import ByRelease, Condition, File, Record, Releases
from mtpfix.engines.policies.expression import Expression, Template
from mtpfix.engines.policies.family import Index
from mtpfix.engines.policies.module import Blocks
from mtpfix.engines.sglang import records as sglang
from mtpfix.engines.vllm.records.engine import (
    Engine,
    Evidence,
    OtherDrafts,
    UndeclaredBlocks,
    Undrafted,
)
from mtpfix.engines.vllm.records.family import Family
from mtpfix.engines.vllm.records.method import Method, Schemes

ROOT = Path(__file__).parents[1]
DATA = ROOT / "mtpfix" / "data" / "vllm"
ENGINE = ROOT / "mtpfix" / "engines" / "vllm"
PAGE = ROOT / "docs" / "architecture.md"
FILES: dict[str, type[File]] = {
    "families/*/policy.json": Family,
    "methods/*.json": Method,
    "families.json": Index,
    "blocks.json": Blocks,
    "releases.json": Engine,
    "drafts.json": OtherDrafts,
    "undrafted.json": Undrafted,
    "undeclared.json": UndeclaredBlocks,
    "evidence.json": Evidence,
    "methods/schemes.json": Schemes,
}
"""The files as `PolicyFiles.read` names them, and the record of each."""

SGLANG = ROOT / "mtpfix" / "data" / "sglang" / "schema"
OTHER: dict[str, type[File]] = {
    "family": sglang.Family,
    "families": Index,
    "blocks": Blocks,
    "faults": sglang.Faults,
    "releases": sglang.Releases,
    "evidence": sglang.Evidence,
    "parameters": sglang.Formats,
}
"""The records of SGLang's files, by the name of their schema."""

_TABLES = re.compile(r"(<!-- fields: .*? -->\n).*?(<!-- end of fields -->)", re.DOTALL)
_COMMON = (Record, File, ByRelease, Condition)
"""Records whose fields have a table of their own, or need none."""
_TEXTS: dict[object, str] = {
    Expression: "expression",
    Template: "template",
    Releases: "specifier",
}
_WORDS: dict[type[types.Type], str] = {
    types.AnyType: "any",
    types.BoolType: "true or false",
    types.IntType: "number",
    types.StrType: "text",
}


# --- docstrings --------------------------------------------------------------


@cache
def described(record: type[Record]) -> dict[str, str]:
    """Return what the docstrings of a record say of its own fields, by key in the file.

    Raises:
        LookupError: a field has no docstring.
    """
    node = ast.parse(inspect.getsource(record)).body[0]
    body = node.body if isinstance(node, ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    names = {each.name: each.encode_name for each in msgspec.structs.fields(record)}
                    found[names[field.target.id]] = " ".join(text.split())
                case _:
                    raise LookupError(f"{record.__name__}.{field.target.id} has no docstring")
    return found


def _fields(record: type[Record]) -> dict[str, str]:
    """Return what is said of all fields of a record; its own words count before inherited ones."""
    found: dict[str, str] = {}
    for base in reversed(record.__mro__):
        if issubclass(base, Record):
            found |= described(base)
    return found


# --- schemas -----------------------------------------------------------------


def schemas() -> dict[Path, str]:
    """Return the text of each schema, by its path."""
    other = {SGLANG / f"{name}.schema.json": _schema(record) for name, record in OTHER.items()}
    return {schema_of(pattern): _schema(record) for pattern, record in FILES.items()} | other


def files_of(pattern: str) -> dict[str, Path]:
    """Return the files of a pattern by name; those of a method stand in its package."""
    folder, _, name = pattern.rpartition("/")
    if folder != "methods":
        home = ENGINE if folder.startswith("families") else DATA
        return {path.relative_to(home).as_posix(): path for path in sorted(home.glob(pattern))}
    found = {f"methods/{path.name}": path for path in sorted(ENGINE.glob(f"methods/*/{name}"))}
    return {known: path for known, path in found.items() if known == pattern or known not in FILES}


def schema_of(pattern: str) -> Path:
    """Return the path of the schema of some files."""
    name = pattern.replace("families/*/policy", "family").replace("methods/*", "method")
    name = name.replace("methods/schemes", "compressed_tensors")
    return DATA / "schema" / name.replace(".json", ".schema.json")


def _schema(record: type[File]) -> str:
    (_, parts) = msgspec.json.schema_components(
        (record,), schema_hook=_text, ref_template="#/$defs/{name}"
    )
    for name, kind in _records(record).items():
        parts[name]["description"] = _sentence(kind)
        for key, words in _fields(kind).items():
            parts[name]["properties"][key]["description"] = words
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **parts.pop(record.__name__),
        "$defs": dict(sorted(parts.items())),
    }
    return json.dumps(_ordered(whole), indent=1, ensure_ascii=False) + "\n"


def _ordered(value: Any) -> Any:
    """Return a schema that is the same whatever the release of msgspec.

    Alternatives stand in one order, and nothing is said of the names of keys, as older ones do.
    """
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _ordered(each) for key, each in value.items() if key != "propertyNames"}
    return {**inner, "anyOf": sorted(inner["anyOf"], key=json.dumps)} if "anyOf" in inner else inner


def _text(kind: type) -> dict[str, Any]:
    return {"type": "string", "format": _TEXTS[kind]}


def _records(record: type[Record]) -> dict[str, type[Record]]:
    """Return a record and all that its fields hold, by name, in the order of the fields."""
    found = {record.__name__: record}
    for kind in _types(record).values():
        for held in _held(kind):
            found |= {name: each for name, each in _records(held).items() if name not in found}
    return found


def _types(record: type[Record]) -> dict[str, types.Type]:
    """Return the types of the fields of a record, by key in the file."""
    info = types.type_info(record)
    return (
        {f.encode_name: f.type for f in info.fields} if isinstance(info, types.StructType) else {}
    )


def _held(kind: types.Type) -> Iterator[type[Record]]:
    """Find the records in the type of a field."""
    if isinstance(kind, types.StructType):
        if issubclass(kind.cls, Record):
            yield kind.cls
        return
    for key in kind.__struct_fields__:
        value = getattr(kind, key)
        for each in value if isinstance(value, tuple) else (value,):
            yield from _held(each) if isinstance(each, types.Type) else ()


# --- tables ------------------------------------------------------------------


def page() -> str:
    """Return the page with the tables of fields as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    return _TABLES.sub(lambda found: f"{found[1]}\n{tables()}\n{found[2]}", text)


def tables() -> str:
    """Return a table for each record of the policy of a family and of a method."""
    parts = ["**Every row** of a list:", _table(Condition, _fields(Condition))]
    seen: set[type[Record]] = set(_COMMON)
    for title, root in (("families/NAME/policy.json", Family), ("methods/NAME.json", Method)):
        parts += [f"**`{title}`**: {_sentence(root)}", _table(root, _own(root))]
        for record, keys in _rows(root, seen).items():
            rows = f"**{', '.join(f'`{key}`' for key in keys)}**: {_sentence(record)}"
            parts += [rows, _table(record, _own(record))]
    return "\n\n".join(parts) + "\n"


def _rows(root: type[Record], seen: set[type[Record]]) -> dict[type[Record], list[str]]:
    """Return the records below one, each with the fields that hold it; those seen are left out."""
    found: dict[type[Record], list[str]] = {}
    pending = [root]
    while pending:
        for key, kind in _types(pending.pop(0)).items():
            for held in _held(kind):
                if held not in seen:
                    pending.append(held)
                if held not in seen or held in found:
                    found.setdefault(held, []).append(key)
                    seen.add(held)
    return {record: list(dict.fromkeys(keys)) for record, keys in found.items()}


def _own(record: type[Record]) -> dict[str, str]:
    """Return the fields of a record but for those that every row has."""
    common = {key for base in _COMMON if issubclass(record, base) for key in described(base)}
    return {key: words for key, words in _fields(record).items() if key not in common}


def _sentence(record: type[Record]) -> str:
    return " ".join((inspect.getdoc(record) or "").split())


def _table(record: type[Record], fields: dict[str, str]) -> str:
    kinds = _types(record)
    lines = [f"| `{key}` | {_value(kinds[key])} | {words} |" for key, words in fields.items()]
    return "\n".join(["| field | value | meaning |", "|---|---|---|", *lines])


def _value(kind: types.Type) -> str:  # noqa: PLR0911 - a line for each type
    """Return what stands for a field in a file, in words."""
    match kind:
        case types.UnionType(types=several):
            told = [_value(each) for each in several if not isinstance(each, types.NoneType)]
            return " or ".join(told)
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in sorted(map(str, values)))
        case types.EnumType(cls=cls):
            return ", ".join(f"`{each.value}`" for each in cls)
        case types.CustomType(cls=cls):
            return _TEXTS[cls]
        case types.VarTupleType(item_type=item) | types.ListType(item_type=item):
            return "rows" if isinstance(item, types.StructType) else f"list: {_value(item)}"
        case types.TupleType(item_types=items):
            return f"pair of {_value(items[0])}s"
        case types.DictType(key_type=key, value_type=value):
            return f"{_value(key)} -> {_value(value)}"
        case _:
            return _WORDS.get(type(kind), "object")


def stale() -> list[Path]:
    """Return the files that are not as the records say."""
    wanted = {**schemas(), PAGE: page()}
    return [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 where a file is stale")
    if parser.parse_args().check:
        for path in (old := stale()):
            print(f"stale: {path.relative_to(ROOT)}; run python -m tools.schema", file=sys.stderr)
        sys.exit(bool(old))
    for path, text in {**schemas(), PAGE: page()}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
