"""Lines for a terminal: styles, and wrapping that never breaks a name.

The only place that writes through rich. Text goes in as `Text`, never as markup,
so a bracket in a foreign name stays a bracket.
"""

from __future__ import annotations

import re
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mtpfix.report.wording import Sign

STYLES = {
    "good": "green",
    "bad": "red",
    "unsure": "yellow",
    "quiet": "dim",
    "strong": "bold",
}
"""Mood -> style. Few, and of the terminal's own palette."""

MIN_WIDTH = 40


def mooded(text: str, mood: str = "") -> Text:
    """Text in the style of a mood."""
    return Text(text, STYLES.get(mood, ""))


def together(*texts: Text) -> Text:
    """Texts in a row, each in its own style."""
    return Text.assemble(*texts)


def signed(sign: Sign) -> Text:
    """Sign and word together."""
    return mooded(f"{sign.sign} {sign.word}", sign.mood)


def pad(text: Text, width: int) -> Text:
    """A copy of the text, filled up with blanks to a width in terminal cells."""
    filled = text.copy()
    filled.append(" " * (width - cell_len(text.plain)))
    return filled


def _breaks(text: str, width: int) -> list[int]:
    """Where to break a line: before words that do not fit; what is in backticks is one word."""
    breaks: list[int] = []
    used = 0
    for word in re.finditer(r"(?:`[^`]*`|\S)+\s*", text):
        size = cell_len(word[0])
        if used and used + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            used = 0
        used += size
    return breaks


class Page:
    """Collects lines.

    Args:
        width: columns; None: those of the terminal.
        color: whether styles become escape codes.
    """

    def __init__(self, width: int | None, *, color: bool) -> None:
        self._console = Console(
            file=StringIO(),
            width=width,
            color_system="standard" if color else None,
            force_terminal=color,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        self.width = max(self._console.width, MIN_WIDTH)

    def line(self, text: Text | str = "") -> None:
        """One line as it is: neither wrapped nor cropped."""
        made = Text(text) if isinstance(text, str) else text.copy()
        made.rstrip()
        self._console.print(made, soft_wrap=True)

    def item(self, label: Text, body: Text, indent: int = 0) -> None:
        """A label and text beside it, wrapped between words and aligned; long words stick out."""
        start = indent + cell_len(label.plain)
        lines = body.divide(_breaks(body.plain, max(self.width - start, MIN_WIDTH // 2)))
        for number, wrapped in enumerate(lines):
            before = together(Text(" " * indent), label) if number == 0 else Text(" " * start)
            self.line(together(before, wrapped))

    def text(self) -> str:
        """Everything so far."""
        file = self._console.file
        assert isinstance(file, StringIO)  # noqa: S101 - made above
        return file.getvalue()
