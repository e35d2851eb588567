"""How the tests of the patch write an edit, and find where a value stands."""

from __future__ import annotations

from typing import Any

from mtpfix.checkpoint.document import JsonDocument, Node, path_of
from mtpfix.model import Edit


def edit(op: Any, pointer: str, value: Any = None) -> Edit:
    return Edit("config.json", pointer, op, value)


def locate(raw: bytes, pointer: str) -> Node:
    """The value at a pointer, found as every edit finds it."""
    path = path_of(pointer)
    return JsonDocument(raw).scan([path], Node(kind="[")).follow(path, pointer)
