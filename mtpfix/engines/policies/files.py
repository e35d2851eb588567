"""Reads the policy files of an engine into their records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from mtpfix import facts
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

    Families and methods stand in its package, the rest in `mtpfix/data`, or in the same places of
    the folder that the user brought (`mtpfix/facts.py`).

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
        if folder.startswith(f"{FAMILIES}/"):
            return facts.content(f"engines/{self.engine}/{name}")
        if folder != METHODS:
            return facts.content(f"data/{self.engine}/{name}")
        home = f"engines/{self.engine}/{METHODS}"
        for package in facts.names_in(home):
            if file in facts.names_in(f"{home}/{package}"):
                return facts.content(f"{home}/{package}/{file}")
        raise _wrong(f"no package of a quantization method holds {file}")


def parse(data: bytes, record: type[_R], name: str) -> _R:
    """Return the record that some JSON holds.

    Args:
        data: the JSON.
        record: type of the record.
        name: name of the file, for the error.

    Raises:
        RecordError: the JSON does not fit the record.
        FactsError: the same of facts that the user brought.
    """
    try:
        return msgspec.json.decode(data, type=record, dec_hook=parsed)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong(f"{name}: {error}") from error


def _wrong(why: str) -> Exception:
    """Return the error for a wrong file: of the user, where it is one that he brought."""
    return facts.refused(why) or RecordError(why)


def parsed(kind: type, value: Any) -> Any:
    """Return the expression, template or specifier that a text is.

    Raises:
        ValueError: it is none.
    """
    if kind not in _PARSED or not isinstance(value, str):
        raise ValueError(f"Expected `str`, got {value!r:.60}")
    return kind(value)
