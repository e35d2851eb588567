"""Draws the pictures of the docs: what `mtpfix inspect` shows of the sample.

python -m tools.picture docs/inspect.svg     # in a terminal
python -m tools.picture docs/report.png      # as a page; needs a Chromium on the path
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import mtpfix
from mtpfix.report import html, text

SAMPLE = "examples/deepseek-v4-like"
COMMAND = f"$ mtpfix inspect {SAMPLE}\n"
WIDTH = 80
"""Columns of a terminal that nobody has made wider."""
PAGE = "1280,980"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that a viewer would have to fetch; without them it takes its own."""


def draw() -> str:
    """The picture as SVG."""
    shown = text.render(mtpfix.inspect(SAMPLE), width=WIDTH, color=True)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    page = Text(COMMAND + "\n") + Text.from_ansi(shown)
    console.print(page)
    picture = console.export_svg(title="mtpfix inspect", unique_id="mtpfix")
    return FONTS.sub("", picture).replace("<text ", '<text xml:space="preserve" ')


def photograph(file: Path) -> None:
    """The page of all releases, as a browser shows it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is on the path")
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "report.html"
        shown = html.render(mtpfix.inspect(SAMPLE, vllm=["all"], trunk=True))
        page.write_text(shown, encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={made}/profile", f"--window-size={PAGE}"]
        command = [browser, *options, f"--screenshot={file.resolve()}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    if file.suffix == ".png":
        photograph(file)
    else:
        file.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
