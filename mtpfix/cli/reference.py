"""`explain` and `families`: what findings mean, and what is covered."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtpfix.cli import options, output
from mtpfix.cli.options import Color, Format, TableFormat

if TYPE_CHECKING:
    from mtpfix.engines.base import Engine

_LONGEST = 10_000_000
"""Characters of a log that are read."""


def _codes(incomplete: str) -> list[tuple[str, str]]:
    """Codes and titles for the completion of a shell."""
    from mtpfix.findings import kinds

    found = kinds().items()
    return [(code, one.title) for code, one in found if code.startswith(incomplete.upper())]


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE|MESSAGE",
            help="A code such as MTP201, or what vLLM or SGLang said; - reads a log from the "
            "standard input. Without it, all findings are listed.",
            autocompletion=_codes,
        ),
    ] = None,
    *,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
) -> None:
    """Explain what a finding, or a message of an engine, means and what to do about it."""
    if output_format is Format.json:
        text = json.dumps(_document(code), indent=2) + "\n"
    else:
        text = _explanation(code, output.result_screen(color.value, output_file))
    output.emit(text, output_file)


def _document(code: str | None) -> Any:
    """Return what is explained as JSON."""
    from mtpfix.cli import codes
    from mtpfix.findings import kinds

    if code is None:
        return [codes.view(kind) for kind in kinds().values()]
    if codes.is_code(code):
        return codes.view(codes.kind(code))
    return codes.view_all(codes.symptoms(_message(code)))


def _explanation(code: str | None, screen: output.Screen) -> str:
    """Return what is explained as text."""
    from mtpfix.cli import codes
    from mtpfix.findings import kinds
    from mtpfix.report import findings

    look = {"color": screen.color, "ascii": screen.ascii}
    if code is None:
        return findings.listed(kinds().values(), screen.width, **look)
    if codes.is_code(code):
        return findings.explained([codes.kind(code)], screen.width, **look)
    return findings.recognised(codes.symptoms(_message(code)), screen.width, **look)


def _message(given: str) -> str:
    return sys.stdin.read(_LONGEST) if given == "-" else given


def families(
    *,
    dialects: Annotated[
        bool, typer.Option("--dialects", help="Show quantization methods instead of families.")
    ] = False,
    engine: Annotated[
        str, options.option("--engine", metavar="NAME", help="The engine to show.")
    ] = "vllm",
    output_format: options.TableFormatOption = TableFormat.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
) -> None:
    """Show which model families and releases are covered, and on what evidence."""
    from mtpfix.engines import registry
    from mtpfix.report import dialects as of_dialects
    from mtpfix.report import families as of_families

    renderer = of_dialects if dialects else of_families
    _put(renderer, registry.engine(engine), output_format, output_file, color)


def _put(
    renderer: ModuleType,
    engine: "Engine",
    output_format: TableFormat,
    output_file: Path | None,
    color: Color,
) -> None:
    """Write what is covered of an engine in one of the three formats that a renderer knows."""
    if output_format is TableFormat.text:
        screen = output.result_screen(color.value, output_file)
        text = renderer.text(engine, screen.width, color=screen.color, ascii=screen.ascii)
    else:
        text = getattr(renderer, output_format.value)(engine)
    output.emit(text, output_file)
