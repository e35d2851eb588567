"""`probe`: whether the draft of a running server does anything."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import Annotated

import typer

from mtpfix.cli import options, output
from mtpfix.cli.options import Color, Format


def probe(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="The address of a vLLM or SGLang server, such as http://localhost:8000.",
        ),
    ],
    *,
    seconds: Annotated[
        float,
        options.option(
            "--seconds", metavar="N", min=0, max=3600, help="How long to wait between the readings."
        ),
    ] = 10.0,
    least: Annotated[
        float,
        options.option(
            "--min-acceptance",
            metavar="SHARE",
            min=0,
            max=1,
            help="The share of proposed tokens that the target model has to take.",
        ),
    ] = 0.05,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
) -> None:
    """Read the metrics of a running server twice, and tell whether its draft does anything.

    vLLM has metrics by default, SGLang with --enable-metrics. The server must be at work: mtpfix
    sends no request of its own. The exit code is 0 if enough tokens are accepted, 1 if not, and 3
    if nothing was drafted.
    """
    from mtpfix import metrics
    from mtpfix.report import probe as renderer

    with output.working("waiting for the second reading"):
        found = metrics.probe(url, seconds, least)
    if output_format is Format.json:
        output.emit(renderer.json(found), output_file)
    else:
        screen = output.result_screen(color.value, output_file)
        shown = renderer.text(found, screen.width, color=screen.color, ascii=screen.ascii)
        output.emit(shown, output_file)
    raise typer.Exit(found.exit_code)
