"""`names` and `verify`: what engines call things, and what an installed one builds."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import Annotated

import typer

from mtpfix.cli import options, output
from mtpfix.cli.options import Color, Format, NamesFormat
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import PROSE_LIMIT, inert


def names(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A folder, its config.json, or a Hub repo org/name[@revision]."
        ),
    ] = ".",
    vllm: options.VllmAll = None,
    sglang: options.Sglang = None,
    platform: options.PlatformAll = None,
    engine: options.EngineOption = None,
    *,
    engine_names_only: options.EngineNamesOnly = False,
    for_tool: Annotated[
        str | None,
        options.option(
            "--for",
            metavar="TOOL",
            help="Write what pastes into this quantizer: llm-compressor, compressed-tensors, "
            "modelopt, auto-round, gptqmodel, quark or autoawq.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        options.option(
            "--method",
            metavar="NAME",
            help="The quantization method of the recipe, or the tool that writes it.  "
            "[default: what --for usually writes, or compressed-tensors]",
        ),
    ] = None,
    stored: Annotated[
        str | None,
        options.option(
            "--stored",
            metavar="FORMAT",
            help="How the recipe stores the MTP block, such as fp8-block; unquantized by default.",
        ),
    ] = None,
    revision: options.Revision = None,
    token: options.Token = None,
    output_format: options.NamesFormatOption = NamesFormat.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
) -> None:
    """Show the engines' construction-time names, and the ignore entries for a calibration recipe.

    No weights are needed. The entries keep the MTP block unquantized, in every release that
    supports the family; with --stored, the metadata gives it that scheme; with --for, they are
    written as that quantizer takes them. The exit code is 0 if
    they are right for the newest release, or for all that --vllm or --engine selects.
    """
    from mtpfix import calls
    from mtpfix.quant import tools
    from mtpfix.recipe import DEFAULT
    from mtpfix.repair.plan import Options
    from mtpfix.report import names as renderer
    from mtpfix.report.pasted import about, pasted
    from mtpfix.targets import Reference

    tool = None if for_tool is None else tools.tool(for_tool)
    if tool is None and output_format in (NamesFormat.python, NamesFormat.cli):
        raise UsageError(
            f"--format {output_format.value} is what a quantizer takes", "add --for TOOL"
        )
    if tool is not None and stored is not None:
        raise UsageError(
            "--for names what a tool must leave alone, and --stored is of a quantized block",
            "give one of them",
        )
    selection = options.selection(vllm, engine, platform, sglang)
    options.tell_unknown_patches(selection)
    with output.working("trying entries on every release"):
        found = calls.names_of(
            Reference(target, revision=revision, token=token),
            selection,
            Options(engine_names_only),
            method=tools.method_for(tool, method) if tool else method or DEFAULT,
            stored=stored,
        )
    if tool is not None:
        text = pasted(found, tool, output_format.value)
    elif output_format is NamesFormat.json:
        text = renderer.json(found)
    elif output_format is NamesFormat.yaml:
        text = renderer.yaml(found)
    else:
        screen = output.result_screen(color.value, output_file)
        text = renderer.text(found, screen.width, color=screen.color, ascii=screen.ascii)
    output.emit(text, output_file)
    if tool is not None and output_format is NamesFormat.json:  # which has no comments
        for line in about(found, tool, output_format.value):
            output.note(f"note: {inert(line, PROSE_LIMIT)}")
    if found.assumed:
        output.note(
            f"MTP903: {' and '.join(found.engines)} {', '.join(found.assumed)} is newer than this "
            "mtpfix, so the result is assumed"
        )
    raise typer.Exit(found.exit_code)


def verify(
    target: options.TargetArg = ".",
    engine: Annotated[
        list[str] | None,
        options.option(
            "--engine", metavar="NAME", help="The engine to ask: vllm or sglang.  [default: vllm]"
        ),
    ] = None,
    *,
    python: Annotated[
        str | None,
        options.option(
            "--python",
            metavar="PATH",
            help="The Python interpreter that has the engine.  [default: this one]",
        ),
    ] = None,
    timeout: Annotated[
        float,
        options.option(
            "--timeout", metavar="SECONDS", min=1, help="How long to wait for an answer."
        ),
    ] = 600,
    draft: options.Draft = None,
    revision: options.Revision = None,
    token: options.Token = None,
    output_format: options.FormatOption = Format.text,
    output_file: options.OutputFile = None,
    color: options.ColorOption = Color.auto,
    verbose: options.Verbose = False,
) -> None:
    """Ask an installed vLLM or SGLang what it builds, without a GPU and without loading weights.

    mtpfix compares the answer with what is on disk, and with its own prediction.
    """
    from mtpfix import calls
    from mtpfix.report import verify as renderer
    from mtpfix.selection import select
    from mtpfix.targets import Reference

    selection = select(engines=[options.one_engine(engine)])
    at = Reference(target, draft, revision, token)
    with output.working("asking the engine, which takes some seconds"):
        answer = calls.verify(at, selection, python=python, timeout=timeout)
    if output_format is Format.json:
        text = renderer.json(answer, target)
    else:
        screen = output.result_screen(color.value, output_file)
        text = renderer.text(
            answer, screen.width, color=screen.color, verbose=verbose, ascii=screen.ascii
        )
    output.emit(text, output_file)
    if renderer.unforeseen(answer):
        output.note(renderer.alarm(answer))
    raise typer.Exit(answer.exit_code)
