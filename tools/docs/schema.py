"""The JSON Schemas that mtpfix ships, as tables: one for each object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from mtpfix.report.markdown_text import table

Schema = Mapping[str, Any]

_HEADS = ("field", "value", "meaning")


def pages() -> str:
    """Every schema, one section each."""
    folder = resources.files("mtpfix") / "data" / "schemas"
    files = sorted((file for file in folder.iterdir()), key=lambda file: file.name)
    return "\n".join(line for file in files for line in _section(file.name, file.read_text()))


def _section(name: str, text: str) -> Iterator[str]:
    schema = json.loads(text)
    fields = schema.get("properties", {})
    yield f"## {fields.get('schema', {}).get('const', schema['title'])}\n"
    yield f"{schema['description']}\n"
    yield f"File: {{download}}`{name} <../../mtpfix/data/schemas/{name}>`.\n"
    rows = [row for name, value in fields.items() for row in _rows(name, value)]
    yield from table(_HEADS, rows) if rows else [f"Value: {_value(schema)}"]
    for title, inner in schema.get("$defs", {}).items():
        yield f"\n### {title}\n"
        yield f"{inner.get('description', '')}\n"
        if "properties" not in inner:
            yield f"Value: {_value(inner)}"
            continue
        rows = [row for name, value in inner["properties"].items() for row in _rows(name, value)]
        yield from table(_HEADS, rows)


def _rows(path: str, schema: Schema) -> Iterator[tuple[str, str, str]]:
    """The row of a field, and of the fields inside it."""
    yield f"`{path}`", _value(schema), _cell(schema.get("description", ""))
    for name, value in schema.get("properties", {}).items():
        yield from _rows(f"{path}.{name}", value)
    items = schema.get("items", {})
    for name, value in items.get("properties", {}).items():
        yield from _rows(f"{path}[].{name}", value)


def _value(schema: Schema) -> str:
    """What a value may be, in a few words."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(word)}`" for word in schema["enum"])
    if "$ref" in schema:
        if schema["$ref"].startswith("urn:"):  # another document, with a schema of its own
            return f"`{schema['$ref']}`"
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_value(one) for one in schema[key])
    kinds = schema.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: Schema) -> str:
    if kind == "array" and "items" in schema:
        return f"list of {_value(schema['items'])}"
    return kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
