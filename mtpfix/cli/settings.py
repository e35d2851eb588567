"""Defaults of a project: `mtpfix.toml`, or `[tool.mtpfix]` in `pyproject.toml`.

Only the working directory is looked at. What the command line or the environment
says goes first. Whatever the file changes is said on stderr, since a file that came
with a download could make the gate milder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtpfix.cli.options import FailOn, PlatformChoice, RepairFormat, ReportFormat
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import inert

if TYPE_CHECKING:
    import typer

    from mtpfix.acceptance.ignores import Ignore

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = "mtpfix.toml"
SHARED = "pyproject.toml"

_LIMIT = 1 << 20
"""Bytes of a file that are read."""


class _Key(NamedTuple):
    """One setting: the parameter of the commands, the words it may be, what it may hold."""

    parameter: str
    words: type[Enum] | None = None
    many: bool = True
    """Whether it may be a list."""
    tables: bool = False
    """Whether items of the list may be tables."""


KEYS: Mapping[str, _Key] = {
    "vllm": _Key("vllm"),
    "sglang": _Key("sglang"),
    "platform": _Key("platform", PlatformChoice),
    "select": _Key("select"),
    "ignore": _Key("ignore", tables=True),
    "fail-on": _Key("fail_on", FailOn, many=False),
    "format": _Key("output_format", ReportFormat, many=False),
    "baseline": _Key("baseline", many=False),
}

_JUDGING = ("vllm", "sglang", "platform", "select", "ignore", "fail-on", "format")
COMMANDS: Mapping[str, Sequence[str]] = {
    "inspect": _JUDGING,
    "check": (*_JUDGING, "baseline"),
    "rewrite": _JUDGING,
    "override": ("vllm", "sglang", "platform"),
    "names": ("vllm", "sglang", "platform"),
}
"""Command -> the settings that it heeds."""

Settings = Mapping[str, Any]
"""Setting -> a word, or a list of words."""


class Found(NamedTuple):
    """The settings of a file, its name, and what it ignores for a reason."""

    file: str
    settings: Settings
    ignores: tuple[Ignore, ...] = ()


def find(folder: Path) -> Found | None:
    """The settings of a folder; `mtpfix.toml` goes before `pyproject.toml`.

    Raises:
        UsageError: the file cannot be read, is no TOML, or holds something else than settings.
    """
    own = _read(folder / OWN)
    if own is not None:
        return _found(own, OWN)
    shared = _read(folder / SHARED)
    tools = {} if shared is None else shared.get("tool")
    if not isinstance(tools, dict) or "mtpfix" not in tools:
        return None
    return _found(tools["mtpfix"], SHARED)


def defaults(found: Found, command: str) -> dict[str, Any]:
    """Parameter -> value, for those settings that a command heeds."""
    chosen = {k: found.settings[k] for k in heeded(found, command) if k in found.settings}
    return {KEYS[key].parameter: value for key, value in chosen.items()}


def heeded(found: Found, command: str) -> list[str]:
    """The settings of a file that a command heeds; a format that it lacks is none of them."""
    given = {*found.settings, *(["ignore"] if found.ignores else [])}
    keys = [key for key in COMMANDS.get(command, ()) if key in given]
    known = [form.value for form in RepairFormat]
    if command == "rewrite" and found.settings.get("format", known[0]) not in known:
        keys.remove("format")
    return keys


def reads(command: str | None) -> bool:
    """Whether a command heeds settings at all."""
    return command in COMMANDS


def ignores(context: typer.Context) -> tuple[Ignore, ...]:
    """What the file ignores for a reason, in a command: no option takes the place of it."""
    return context.obj if isinstance(context.obj, tuple) else ()


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a TOML file; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
    except OSError as error:
        raise _refused(path.name, f"cannot be read ({error.strerror})") from None
    if len(raw) > _LIMIT:
        raise _refused(path.name, f"more than {_LIMIT} bytes")
    try:
        found: dict[str, Any] = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path.name}: not TOML ({inert(str(error))})",
            'write a setting a line, such as: vllm = ">=0.30"; --isolated reads no file',
        ) from None
    return found


def _found(given: object, file: str) -> Found:
    if not isinstance(given, dict):
        raise _refused(file, "`mtpfix` is not a table")
    settings, tables = {}, []
    for key, value in given.items():
        words, held = _without_tables(key, value)
        tables += held
        if words or not held:
            settings[key] = _value(key, words, file)
    if not tables:
        return Found(file, settings)
    from mtpfix.cli import ignore_tables  # noqa: PLC0415 - few projects have any

    return Found(file, settings, ignore_tables.read(tables, file))


def _without_tables(key: str, value: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Return the value of a setting without its tables, and these."""
    if key not in KEYS or not KEYS[key].tables or not isinstance(value, list):
        return value, []
    tables = [item for item in value if isinstance(item, dict)]
    return [item for item in value if not isinstance(item, dict)], tables


def _value(key: str, value: object, file: str) -> str | list[str]:
    """The value of one setting as options take it."""
    known = KEYS.get(key)
    if known is None:
        raise _refused(file, f"there is no setting `{inert(key)}`")
    given = value if isinstance(value, list) and known.many else [value]
    words = [_word(key, word, file) for word in given]
    if not words:
        raise _refused(file, f"`{key}` is an empty list")
    return words if known.many else words[0]


def _word(key: str, word: object, file: str) -> str:
    known = KEYS[key]
    if not isinstance(word, str) or not word:
        kind = "a string or a list of strings" if known.many else "a string"
        first = "newest" if known.words is None else next(iter(known.words)).value
        example = f'{key} = "{first}"'
        if known.tables:
            example = 'ignore = ["MTP103"], or a table below [[ignore]]'
        raise UsageError(f"{file}: `{key}` is not {kind}", f"write for example: {example}")
    if known.words is not None and word not in [one.value for one in known.words]:
        choices = ", ".join(one.value for one in known.words)
        raise UsageError(f"{file}: `{key}` cannot be {inert(word)}", f"choose from: {choices}")
    return word


def _refused(file: str, why: str) -> UsageError:
    where = "of mtpfix.toml" if file == OWN else "of [tool.mtpfix]"
    return UsageError(
        f"{file}: {why}", f"the settings {where} are {', '.join(KEYS)}; --isolated reads no file"
    )
