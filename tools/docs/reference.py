"""The pages of the reference that are made from the code, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import typer

import mtpfix
from mtpfix import errors
from mtpfix.cli import ignore_tables, settings
from mtpfix.cli.app import INTERRUPTED, app
from mtpfix.findings import kinds
from mtpfix.report import wording
from mtpfix.report.markdown_text import table
from mtpfix.symptoms import symptoms
from tools.docs import schema

_LEVELS = {
    "MTP0": "What is on disk",
    "MTP1": "What the metadata says",
    "MTP2": "What vLLM builds",
    "MTP3": "What no metadata can fix",
    "MTP4": "How the files are packed",
    "MTP5": "What the values are",
    "MTP9": "What could not be judged",
}
"""Beginning of a code -> what such findings are about."""


Command = Any
"""A command of click, which a newer typer brings itself and an older one imports."""

Parameter = Any
"""A parameter of it."""


def _commands() -> Mapping[str, Command]:
    """Every command, in the order of `mtpfix --help`."""
    group: Command = typer.main.get_command(app)
    commands: Mapping[str, Command] = group.commands
    return commands


# --- command line --------------------------------------------------------------


def cli() -> str:
    """Every command and every option, as the program itself describes them."""
    root = typer.main.get_command(app)
    parts = [*_described("mtpfix", root)]
    for name, command in _commands().items():
        parts += [f"## {name}", "", *_described(f"mtpfix {name}", command)]
    return "\n".join(parts)


def _described(name: str, command: Command) -> Iterator[str]:
    context = typer.Context(command, info_name=name, **command.context_settings)
    yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n"
    yield f"{_prose(command.help or '')}\n"
    if command.epilog and command.epilog.startswith("Example: "):
        yield f"```shell\n{command.epilog.removeprefix('Example: ')}\n```\n"
    yield f"```{{program}} {name}\n```\n"
    for parameter in command.get_params(context):
        yield from _parameter(parameter)


def _parameter(parameter: Parameter) -> Iterator[str]:
    if parameter.param_type_name == "option":
        flags = ", ".join(
            f"{flag} {parameter.metavar}" if parameter.metavar else flag
            for flag in (*parameter.opts, *parameter.secondary_opts)
        )
    else:
        flags = parameter.metavar
    yield f"::::{{option}} {flags}"
    variable = f" Environment: `{parameter.envvar}`." if isinstance(parameter.envvar, str) else ""
    yield f"{_prose(_help(parameter))}{variable}"
    yield "::::\n"


def _help(parameter: Parameter) -> str:
    said: str = getattr(parameter, "help", None) or ""
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    if "[default:" in said:
        said, _, rest = said.partition("[default:")
        return f"{_stopped(said)} Default: {rest.strip().removesuffix(']')}."
    if default in (None, False, "", ()) or not isinstance(default, str | int | float):
        return said
    return f"{_stopped(said)} Default: `{default}`."


def _stopped(text: str) -> str:
    return text.strip() if text.strip().endswith(".") else f"{text.strip()}."


def _prose(text: str) -> str:
    """Text of a help page as Markdown: no mark in it means anything, but a backtick does."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        for mark in ("\\", "*", "_", "<", ">", "[", "]", "|"):
            parts[place] = parts[place].replace(mark, f"\\{mark}")
    return "`".join(parts)


# --- findings --------------------------------------------------------------------


def findings() -> str:
    """Every finding: what it means, a case of it, and what to do.

    It stands in the page itself (`tools.docs.page`): reports link to it where the forge shows it.
    """
    lines: list[str] = []
    level = ""
    for code, one in kinds().items():
        if not code.startswith(level) or not level:
            level = code[:4]
            lines += [f"## {_LEVELS[level]}", ""]
        lines += [
            f"### {code}: {_prose(one.title)}",
            "",
            _prose(one.meaning),
            "",
            "For example",
            f": {_prose(one.example)}",
            "",
            "What to do",
            f": {_prose(one.remedy)}",
            "",
        ]
    return "\n".join(lines)


# --- messages --------------------------------------------------------------------


def messages() -> str:
    """Every symptom: what an engine says, what it means, and what to do."""
    lines: list[str] = []
    for one in symptoms():
        codes = ", ".join(f"[{code}](#{code})" for code in one.findings)
        lines += [
            f"## {_prose(one.title)}",
            "",
            f"```text\n{one.shown}\n```",
            "",
            _prose(one.meaning),
            "",
            "What to do",
            f": {_prose(one.remedy)}",
            "",
            f"Said by {' and '.join(wording.engine(name) for name in one.engines)}; "
            f"foretold by {codes}.",
            "",
        ]
    return "\n".join(lines)


# --- exit codes, settings, environment --------------------------------------------


_EXITS = {
    0: "clean, or repaired and judged clean again",
    1: "findings at or above `--fail-on`, or a diff that would change something",
    2: "usage, or the target cannot be read, or a file cannot be written",
    3: "could not judge: unknown model, method or release",
    4: "conflict: a file or a branch changed since it was read",
    errors.InternalError.exit_code: "an error inside mtpfix: nothing is said of the target",
    INTERRUPTED: "interrupted from the keyboard",
}


def exits() -> str:
    """Every exit code, and the errors of the library that come to it."""
    raised: dict[int, list[str]] = {}
    for name, error in vars(errors).items():
        known = isinstance(error, type) and issubclass(error, errors.MtpfixError)
        if known and name in mtpfix.__all__:
            raised.setdefault(error.exit_code, []).append(name)
    raised[errors.MtpfixError.exit_code].remove(errors.GateError.__name__)  # it has its report's
    unknown = raised.keys() - _EXITS.keys()
    if unknown:
        raise LookupError(f"nobody says what exit code {min(unknown)} means")
    rows = [
        (
            f"`{code}`",
            said,
            ", ".join(f"{{py:exc}}`mtpfix.{name}`" for name in raised.get(code, ())),
        )
        for code, said in _EXITS.items()
    ]
    return "\n".join(table(("exit code", "meaning", "raised in Python"), rows))


def settings_page() -> str:
    """Every setting of `mtpfix.toml`, and the commands that heed it."""
    rows = []
    for key, known in settings.KEYS.items():
        heeding = [f"`{name}`" for name, keys in settings.COMMANDS.items() if key in keys]
        words = "any" if known.words is None else ", ".join(f"`{w.value}`" for w in known.words)
        kind = "a string, or a list of strings" if known.many else "a string"
        kind = "a string, or a list of strings and tables" if known.tables else kind
        rows.append((f"`{key}`", kind, words, ", ".join(heeding)))
    return "\n".join(table(("setting", "value", "words", "commands"), rows))


def ignores() -> str:
    """Every key of a table that ignores a finding."""
    rows = [(f"`{key}`", f"{said}.") for key, said in ignore_tables.KEYS.items()]
    return "\n".join(table(("key", "value"), rows))


def environment() -> str:
    """Every environment variable of an option, and the commands that have it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, command in _commands().items():
        for parameter in command.params:
            if isinstance(parameter.envvar, str):
                row = found.setdefault(parameter.envvar, (parameter.opts[0], []))
                row[1].append(name)
    rows = [
        (f"`{variable}`", f"`{flag}`", ", ".join(f"`{name}`" for name in names))
        for variable, (flag, names) in sorted(found.items())
    ]
    return "\n".join(table(("variable", "stands for", "commands"), rows))


PAGES: Mapping[str, Callable[[], str]] = {
    "cli": cli,
    "messages": messages,
    "exits": exits,
    "settings": settings_page,
    "ignores": ignores,
    "environment": environment,
    "schemas": schema.pages,
}
"""Name in `<!-- made: NAME -->` -> what makes it."""
