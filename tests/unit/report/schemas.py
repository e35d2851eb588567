"""The JSON Schemas as the tests take them: closed, so that no field goes undescribed."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
from referencing import Registry, Resource

from mtpfix.report.json import schema

NAMES = tuple(
    f"mtpfix.{kind}/1"
    for kind in (
        "report",
        "audit",
        "rewrite",
        "graft",
        "names",
        "verify",
        "families",
        "dialects",
        "explain",
        "symptoms",
        "probe",
        "override",
        "draft-folder",
        "baseline",
    )
)


def closed(node: Any) -> Any:
    """A schema in which every object that lists its fields has no others."""
    node = copy.deepcopy(node)
    _close(node)
    return node


def _close(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node["additionalProperties"] = False
        for child in node.values():
            _close(child)
    elif isinstance(node, list):
        for child in node:
            _close(child)


def validator(name: str) -> jsonschema.Draft202012Validator:
    """What checks documents of one schema."""
    known = [closed(schema(one)) for one in NAMES]
    registry = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in known)
    return jsonschema.Draft202012Validator(closed(schema(name)), registry=registry)
