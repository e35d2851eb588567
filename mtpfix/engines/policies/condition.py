"""What all records have in common, and when a row holds.

The docstring beneath a field says what the field means: the JSON Schemas and the table of
fields in docs/architecture.md are made of them (`python -m tools.schema`).
"""

from functools import lru_cache

import msgspec
from packaging.specifiers import SpecifierSet

from mtpfix.engines.policies.expression import Expression
from mtpfix.model import Grade, Platform


class Releases(str):
    """A specifier of releases, such as `>=0.24,<0.30`.

    Raises:
        ValueError: the text is no specifier.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Releases":
        """Return the specifier that a text is."""
        specifier(text)
        return super().__new__(cls, text)


@lru_cache(maxsize=1024)
def specifier(text: str) -> SpecifierSet:
    """Return the specifier that a text is, parsed.

    Raises:
        ValueError: the text is no specifier.
    """
    return SpecifierSet(text)


EVERY = Releases(">=0")
"""All releases."""


def every() -> Releases:
    """Return the specifier of all releases: the default of a field."""
    return EVERY


class Record(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    eq=False,
    repr_omit_defaults=True,
):
    """Base of all records. Two are the same only if they stand in the same place of a file."""


class File(Record, frozen=True, kw_only=True):
    """Base of the records that a whole file is parsed into."""

    schema: str = msgspec.field(default="", name="$schema")
    """Path of the JSON Schema of this file; editors complete keys with it."""
    about: str = ""
    """Remark for readers."""


class ByRelease(Record, frozen=True, kw_only=True):
    """Base of rows that hold for some releases only."""

    releases: Releases = msgspec.field(default_factory=every)
    """The releases that the row holds for, such as `>=0.24,<0.30`; left out: all."""
    grade: Grade | None = None
    """The evidence for the row: `run` (by the engine), `read` (in its sources) or `assumed`."""
    note: str = ""
    """Remark for readers."""


class Condition(ByRelease, frozen=True, kw_only=True):
    """Base of rows that hold for some releases, platforms, methods and configurations only."""

    platforms: tuple[Platform, ...] | None = None
    """The platforms that the row holds for; left out: all."""
    methods: tuple[str, ...] | None = None
    """The quantization methods that the row holds for; left out: all. The empty name stands
    for a checkpoint without quantization metadata."""
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")
    """Quantization methods that the row does not hold for."""
    when: Expression | None = None
    """Expression over `config.json` that must be true."""


class TextRow(Condition, frozen=True, kw_only=True):
    """A row whose answer is text."""

    value: str
    """The answer."""


class ErrorRow(Condition, frozen=True, kw_only=True):
    """A row whose answer is an exception of the engine."""

    error: str
    """The exception, as `Type: message`; `{name}` stands for the name of the module."""
