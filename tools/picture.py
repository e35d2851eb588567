"""Draws the picture in README.md: the output of `mtpfix inspect` on the sample, as SVG.

python -m tools.picture docs/inspect.svg
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mtpfix import api
from mtpfix.report import text

SAMPLE = "examples/deepseek-v4-like"
COMMAND = f"$ mtpfix inspect {SAMPLE}\n"
WIDTH = 88
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that a viewer would have to fetch; without them it takes its own."""


def draw() -> str:
    """The picture as SVG."""
    shown = text.render(api.inspect(SAMPLE), width=WIDTH, color=True)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    page = Text(COMMAND + "\n") + Text.from_ansi(shown)
    console.print(page)
    picture = console.export_svg(title="mtpfix inspect", unique_id="mtpfix")
    return FONTS.sub("", picture).replace("<text ", '<text xml:space="preserve" ')


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.parse_args().file.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
