"""Quantization metadata that other engines read and vLLM does not (`data/foreign.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from mtpfix.errors import UnknownError
from mtpfix.quant.location import Location

_CODE = "MTP902"


def beside(names: Iterable[str]) -> UnknownError | None:
    """Why a checkpoint without quantization metadata cannot be judged; None if it can.

    Args:
        names: the files of the checkpoint.
    """
    known: dict[str, dict[str, str]] = _data()["files"]
    found = next((name for name in names if name in known), None)
    if found is None:
        return None
    row = known[found]
    return UnknownError(
        f"{found} is quantization metadata of {row['title']}, which only {row['reader']} reads: "
        "vLLM treats this checkpoint as unquantized",
        f"serve it with {row['reader']}, or use a checkpoint that was made for vLLM",
        code=_CODE,
    )


def unnamed(location: Location) -> UnknownError:
    """Why metadata that names no method cannot be judged."""
    rows = (
        row
        for row in _data()["unnamed"]
        if set(row["keys"]) <= location.value.keys()
        and location.value.keys().isdisjoint(row["lacks"])
    )
    row = next(rows, None)
    made = "" if row is None else f" (it looks like that of {row['title']})"
    way = "restore the quant_method" if row is None else f"serve it with {row['reader']}"
    return UnknownError(
        f"{location.file}: {location.pointer} names no quant_method{made}: vLLM treats this "
        "checkpoint as unquantized",
        f"{way}, or use a checkpoint that was made for vLLM",
        code=_CODE,
    )


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(
        (files("mtpfix") / "data" / "foreign.json").read_text("utf-8")
    )
    return data
