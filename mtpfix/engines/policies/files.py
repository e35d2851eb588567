"""Reads the policy files of an engine into their records."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import msgspec

from mtpfix.engines.policies.condition import Releases
from mtpfix.engines.policies.expression import Expression, Template

_PARSED = (Expression, Releases, Template)
"""What is parsed from text where it is loaded."""

FAMILIES = "families"
"""The folder with a folder for each family."""
METHODS = "methods"
"""The folder whose files stand in the packages of the quantization methods."""

_R = TypeVar("_R")


class RecordError(Exception):
    """A policy file that is not as its record says: a mistake of ours, not of the user."""


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """What is known about one engine.

    Families and methods stand in its package, the rest in `mtpfix/data`.

    Attributes:
        engine: the engine, as its folders are called.
    """

    engine: str

    def read(self, name: str, record: type[_R]) -> _R:
        """Return the record of one file, named as `content` says.

        Raises:
            RecordError: the file holds an unknown key, a wrong value or a wrong expression.
        """
        return parse(self.content(name), record, name)

    def content(self, name: str) -> bytes:
        """Return what a file holds.

        Args:
            name: `families/NAME/policy.json`, `methods/NAME.json` in whatever package of a
                method, or a file of `mtpfix/data/ENGINE`.

        Raises:
            RecordError: there is no such file.
        """
        folder, _, file = name.rpartition("/")
        root = resources.files("mtpfix")
        if folder.startswith(f"{FAMILIES}/"):
            return (root / "engines" / self.engine / name).read_bytes()
        if folder != METHODS:
            return (root / "data" / self.engine / name).read_bytes()
        for package in (root / "engines" / self.engine / METHODS).iterdir():
            if (package / file).is_file():
                return (package / file).read_bytes()
        raise RecordError(f"no package of a quantization method holds {file}")


def parse(data: bytes, record: type[_R], name: str) -> _R:
    """Return the record that some JSON holds.

    Args:
        data: the JSON.
        record: type of the record.
        name: name of the file, for the error.

    Raises:
        RecordError: the JSON does not fit the record.
    """
    try:
        return msgspec.json.decode(data, type=record, dec_hook=parsed)
    except msgspec.DecodeError as error:
        raise RecordError(f"{name}: {error}") from error


def parsed(kind: type, value: Any) -> Any:
    """Return the expression, template or specifier that a text is.

    Raises:
        ValueError: it is none.
    """
    if kind not in _PARSED or not isinstance(value, str):
        raise ValueError(f"Expected `str`, got {value!r:.60}")
    return kind(value)
