"""The application: its commands, and what becomes of errors."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from mtpfix import __version__
from mtpfix.cli import checks, grafts, output, probes, queries, reference, repairs, settings
from mtpfix.cli.common_flags import add_flags
from mtpfix.errors import InternalError, MtpfixError
from mtpfix.serving import plugin

INTERRUPTED = 130

app = typer.Typer(
    name="mtpfix",
    # Plain help starts three times faster than help drawn by rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 clean, 1 findings or a change that is not written yet, 2 wrong usage or "
    "an unreadable target, 3 mtpfix could not judge (or no override works), 4 the files changed "
    "while mtpfix ran, 5 an error inside mtpfix. The newest release decides; with --vllm or "
    "--engine, all selected releases do. Environment variables can set options (MTPFIX_VLLM, "
    "MTPFIX_FAIL_ON, ...), except those that write, push or widen a repair. mtpfix reads defaults "
    "from mtpfix.toml, or from [tool.mtpfix] of pyproject.toml, in the working directory.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from mtpfix import facts  # noqa: PLC0415 - for `--version` alone

        known = facts.brought()
        output.emit(f"mtpfix {__version__}" + ("" if known is None else f", {known}") + "\n")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback acts on it
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated",
            envvar="MTPFIX_ISOLATED",
            show_envvar=False,
            help="Do not read defaults from mtpfix.toml or pyproject.toml.",
        ),
    ] = False,
) -> None:
    """Inspect, check and repair the quantization metadata of MTP blocks, by the engines' rules.

    mtpfix reads only JSON files and safetensors headers. It needs no GPU and no engine, and loads
    no weights.
    """
    command = context.invoked_subcommand
    if isolated or command is None or not settings.reads(command):
        return
    found = settings.find(Path())
    if found is not None and (keys := settings.heeded(found, command)):
        output.note(f"defaults from {found.file}: {', '.join(keys)}")
        context.default_map = {command: settings.defaults(found, command)}
        context.obj = found.ignores


class _Command(NamedTuple):
    run: Callable[..., None]
    short: str
    example: str


_COMMANDS = (
    _Command(
        checks.inspect,
        "Show what is on disk and what engines build.",
        "inspect ./model --vllm all",
    ),
    _Command(checks.check, "Check the same, as a gate for CI.", "check ./model --vllm 0.32.0"),
    _Command(repairs.rewrite, "Repair the metadata; show a diff first.", "rewrite ./model --write"),
    _Command(repairs.override, "Show the repair as flags for serving.", "override ./model"),
    _Command(
        grafts.graft, "Bring back a lost MTP block.", "graft ./quantized --from org/base --write"
    ),
    _Command(queries.names, "Show names and entries for a recipe.", "names ./model/config.json"),
    _Command(queries.verify, "Ask an installed engine itself.", "verify --python vllm/bin/python"),
    _Command(probes.probe, "Ask a running server whether its draft works.", "probe localhost:8000"),
    _Command(reference.explain, "Explain a finding or a message.", "explain MTP201"),
    _Command(reference.families, "Show what is covered.", "families"),
)

for _command in _COMMANDS:
    app.command(
        _command.run.__name__,
        short_help=_command.short,
        epilog=f"Example: mtpfix {_command.example}",
    )(add_flags(_command.run))


def _of_facts(error: Exception) -> int:
    """Say that brought facts may have caused an exception that nobody foresaw."""
    from mtpfix import facts  # noqa: PLC0415 - for what must not happen

    wrong = facts.refused(f"mtpfix cannot go by them ({type(error).__name__}: {error!s:.200})")
    if wrong is None:
        return InternalError.exit_code
    output.complain(wrong)
    return wrong.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the name of the program; None: those of this process.

    Returns:
        The exit code.
    """
    output.open_closed_streams()
    output.hush(False)
    if os.environ.get(plugin.FORMER) in (*plugin.WAYS, *plugin.OFF):
        del os.environ[plugin.FORMER]  # it speaks to the plugin: no release has such a name
    command = typer.main.get_command(app)
    try:
        command.main(args=None if arguments is None else list(arguments), prog_name="mtpfix")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except MtpfixError as error:
        output.complain(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: one line, not a traceback
        if os.environ.get("MTPFIX_DEBUG"):
            traceback.print_exc(file=sys.stderr)
        if os.environ.get("MTPFIX_FACTS"):
            return _of_facts(error)
        output.complain_of_bug(error)
        return InternalError.exit_code
    return 0
