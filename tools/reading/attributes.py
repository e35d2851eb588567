"""Values in classes, read in their source: packed mappings, name mappers, and functions as text."""

from __future__ import annotations

import ast
import hashlib
from typing import Any

from tools.reading.sources import Defined, Sources

Json = Any

KEYS = {"packed_modules_mapping": "packed", "hf_to_vllm_mapper": "mapper"}
"""Attributes that a class hands to the quantization config, and what the data calls them."""


def class_values(node: ast.ClassDef) -> dict[str, ast.expr]:
    """The mapping and the mapper that a class body sets, by what the data calls them."""
    found: dict[str, ast.expr] = {}
    for inner in node.body:
        if not isinstance(inner, (ast.Assign, ast.AnnAssign)) or inner.value is None:
            continue
        target = inner.targets[0] if isinstance(inner, ast.Assign) else inner.target
        nothing = isinstance(inner.value, ast.Constant) and inner.value.value is None
        if isinstance(target, ast.Name) and target.id in KEYS and not nothing:
            found[KEYS[target.id]] = inner.value
    return found


def additions(node: ast.AST) -> dict[str, list[str]]:
    """What code adds to `self.packed_modules_mapping` when it runs."""
    found = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Subscript):
            target = inner.targets[0]
            if ast.unparse(target.value).endswith(".packed_modules_mapping"):
                found[ast.literal_eval(target.slice)] = ast.literal_eval(inner.value)
    return found


def literal(sources: Sources, place: Defined, node: ast.expr | None) -> Json:
    """The value of an expression made of literals and class attributes; None where it is not."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = (literal(sources, place, side) for side in (node.left, node.right))
        both = isinstance(left, dict) and isinstance(right, dict)
        return _merged(left, right) if both else None
    if isinstance(node, ast.Attribute):
        key = KEYS.get(node.attr)
        cls = sources.expression(place.module, node.value)
        return None if cls is None or key is None else inherited(sources, cls, key)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "WeightsMapper":
        return {word.arg: _mapping(word.value) for word in node.keywords}
    if isinstance(node, ast.Name):
        found = sources.find(place.module, node.id)
        value = None if found is None else found.node
        return literal(sources, found, value) if found and isinstance(value, ast.expr) else None
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def inherited(sources: Sources, cls: Defined, key: str) -> Json:
    """The class attribute `packed` or `mapper`, wherever among the bases it is set."""
    for base in sources.bases(cls):
        value = class_values(base.node).get(key) if isinstance(base.node, ast.ClassDef) else None
        if value is not None:
            return literal(sources, base, value)
    return None


def normalised(node: ast.AST) -> str:
    """The source of a function as it runs: no comments, docstring or annotations."""
    copy = ast.parse(ast.unparse(node))
    for inner in ast.walk(copy):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner.returns = None
            if ast.get_docstring(inner, clean=False) is not None:
                inner.body = inner.body[1:] or [ast.Pass()]
        if isinstance(inner, ast.arg):
            inner.annotation = None
    return ast.unparse(copy)


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _merged(left: dict[str, Json], right: dict[str, Json]) -> dict[str, Json]:
    """Two mappings, or two mappers table by table."""
    return {
        **left,
        **{
            key: {**left[key], **value} if isinstance(left.get(key), dict) else value
            for key, value in right.items()
        },
    }


def _mapping(node: ast.expr) -> Json:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
