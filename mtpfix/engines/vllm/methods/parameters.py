"""Which parameters a built module has; the table is data. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters that a module of one format has, by suffix."""

    needed: frozenset[str]
    """Those that must be on disk, or stay uninitialised."""
    more: frozenset[str]
    """Those that have a default, or that only some configurations have."""


def params(method: str, expects: str | None) -> Params | None:
    """Parameters of a module that `method` builds for a format; None where that is not known."""
    table = _table()
    row = table["methods"].get(method, {}).get(expects)
    row = table["unquantized"] if expects == "unquantized" else row
    return None if row is None else Params(frozenset(row["needed"]), frozenset(row["more"]))


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    path = resources.files("mtpfix") / "data" / "vllm" / "parameters.json"
    table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table
