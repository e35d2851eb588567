"""Short flags that every command takes: `--quiet` and `--json`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from mtpfix.cli import options, output
from mtpfix.errors import UsageError

Command = Callable[..., None]

Quiet = Annotated[
    bool,
    options.option(
        "--quiet", "-q", help="Write only the result and errors: no notes, no progress."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
_FORMAT = "output_format"
_CONTEXT = "context"


def add_flags(run: Command) -> Command:
    """Return a command that takes both flags beside its own parameters."""

    @wraps(run)
    def command(context: typer.Context, *, quiet: bool, as_json: bool, **given: Any) -> None:
        output.hush(quiet)
        if as_json:
            given[_FORMAT] = _as_json(context, given[_FORMAT])
        if _CONTEXT in own.parameters:
            given[_CONTEXT] = context
        run(**given)

    own = inspect.signature(run, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    added: dict[str, tuple[Any, Any]] = {
        _CONTEXT: (typer.Context, inspect.Parameter.empty),
        "quiet": (Quiet, False),
        "as_json": (Json, False),
    }
    parameters = {name: each.replace(kind=kind) for name, each in own.parameters.items()}
    parameters |= {
        name: inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in added.items()
    }
    vars(command)["__signature__"] = own.replace(parameters=tuple(parameters.values()))
    command.__annotations__ = {name: each.annotation for name, each in parameters.items()}
    return command


def _as_json(context: typer.Context, given: Any) -> Any:
    """Return the member `json` of the command's formats.

    Raises:
        UsageError: the command line asks for another format too.
    """
    source = context.get_parameter_source(_FORMAT)
    chosen = type(given)("json")
    if given is not chosen and source is not None and source.name == "COMMANDLINE":
        raise UsageError(f"--json and --format {given.value} exclude each other", "leave one out")
    return chosen
