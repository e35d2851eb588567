"""Tables of what a method says of a scheme, a JSON file beside its module. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from mtpfix.checkpoint.scheme import Scheme
from mtpfix.model import Json


def row(method: str, found: Scheme) -> Mapping[str, Json] | None:
    """Return the first row for a scheme; None: the method has no words for it.

    Args:
        method: the name of the table.
        found: the scheme. Its format is what a row is `of`; the tensors about activations are its
            `inputs`, where it names any.
    """
    rows = (each for each in _rows(method) if each["of"] == found.format)
    return next((r for r in rows if set(r.get("inputs", found.inputs)) == found.inputs), None)


@cache
def _rows(method: str) -> tuple[Mapping[str, Json], ...]:
    data = files("mtpfix.quant.schemes") / f"{method}.json"
    return tuple(json.loads(data.read_text("utf-8"))["rows"])
