"""How the tests of the patch write an edit, and find where a value stands."""

from __future__ import annotations

from typing import Any

from mtpfix.model import Edit
from mtpfix.repair import jsontext


def edit(op: Any, pointer: str, value: Any = None) -> Edit:
    return Edit("config.json", pointer, op, value)


def locate(raw: bytes, pointer: str) -> jsontext.Node:
    """The value at a pointer, found as every edit finds it."""
    path = jsontext.path_of(pointer)
    jsontext.load(raw)
    return jsontext.follow(jsontext.scan(raw, [path]), path, pointer)
