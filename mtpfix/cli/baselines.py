"""The baseline of `check`: read, and written as one whole file."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtpfix.cli import gate, output
from mtpfix.errors import UsageError
from mtpfix.report.inert_text import inert

if TYPE_CHECKING:
    from mtpfix.acceptance.baseline import Baseline
    from mtpfix.model import Report

_LIMIT = 1 << 26
"""Bytes of a file that are read."""


def read(file: Path) -> Baseline:
    """Return what a file says was there before.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    from mtpfix.acceptance import baseline

    name = inert(str(file))
    remedy = "name a file that `mtpfix check --write-baseline` wrote, or a new one"
    try:
        with file.open("rb") as opened:
            raw = opened.read(_LIMIT + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        make = f"write it with `mtpfix check --write-baseline {name}`"
        remedy = make if isinstance(error, FileNotFoundError) else remedy
        raise UsageError(f"{name}: cannot be read ({error.strerror})", remedy) from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}: not UTF-8 text", remedy) from None
    if len(raw) > _LIMIT:
        raise UsageError(f"{name}: more than {_LIMIT} bytes", remedy)
    return baseline.parse(text, name)


def opened(wanted: gate.Wish, file: Path | None, written: Path | None) -> gate.Wish:
    """Return the wish with the baseline that counts; one that will be written must be one now.

    Raises:
        UsageError: a file cannot be read, or holds something else.
    """
    if written is not None and written.exists():
        read(written)
    return wanted if file is None else replace(wanted, baseline=read(file))


def write(file: Path, reports: Sequence[Report], wanted: gate.Wish) -> gate.Wish:
    """Write what counts of all reports; return the wish by which it is known.

    Targets that were not read keep what the file holds of them.

    Raises:
        WriteError: the file cannot be written.
    """
    from mtpfix.acceptance import baseline
    from mtpfix.findings import is_unjudged
    from mtpfix.report import wording

    counted = [gate.gated(report, replace(wanted, baseline=None)) for report in reports]
    former = read(file) if file.exists() else None
    made = baseline.made(inert(str(file)), counted, former)
    output.replace(file, baseline.render(made))
    held = [f for report in counted for f in report.findings if baseline.belongs(f)]
    output.note(f"wrote {made.file}: {wording.count(len(held), 'finding')}")
    unjudged = {f.code for report in counted for f in report.findings if is_unjudged(f)}
    if unjudged:
        output.note(
            f"note: what could not be judged is in no baseline: {', '.join(sorted(unjudged))}; "
            "ignore it by its code, with a reason, in mtpfix.toml"
        )
    return replace(wanted, baseline=made)
