"""Foreign text made inert: names and messages from a checkpoint can only be read.

Left alone are letters, of every script, and visible signs. Everything else
(escape sequences, line breaks, bidirectional controls, invisible characters,
heaps of combining marks) is shown as the escape that Python would write.
Markup such as `[bold]` stays as it is, because patterns are full of brackets:
a renderer must not hand foreign text to anything that interprets markup.
"""

from __future__ import annotations

import json
import re
import unicodedata

NAME_LIMIT = 200
"""Characters of a name that are shown: more than any honest module name has."""

PROSE_LIMIT = 2000
"""Characters of a message that are shown."""

ASCII = str.maketrans({"✓": "+", "✗": "x", "\N{EN DASH}": "-", "…": "~"})
"""For where signs cannot be shown: one character for one, so that columns stay where they are."""

_UNUSUAL = re.compile(r"[^ -~]")
_UNUSUAL_IN_LINES = re.compile(r"[^\n -~]")

# Printable for Python, and yet nobody sees them: fillers, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def inert(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of visible characters that stands for `text`.

    Args:
        text: anything that was read from a file, a repository or an exception.
        limit: most characters of the result; what is longer loses its middle.
    """
    return _cut(_UNUSUAL.sub(_visible, _cut(text, limit)), limit)


def inert_json(document: str) -> str:
    """The same JSON document, its values untouched, without a live character in its text.

    Outside of strings JSON is ASCII, so whatever is replaced stands in a string,
    where JSON has an escape for it.
    """
    return _UNUSUAL_IN_LINES.sub(
        lambda found: found[0] if _harmless(found) else json.dumps(found[0])[1:-1], document
    )


def _cut(text: str, limit: int) -> str:
    """Head and tail of a text that is too long: in a module name both tell something."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}…{text[len(text) - tail :]}"


def _visible(found: re.Match[str]) -> str:
    return found[0] if _harmless(found) else found[0].encode("unicode_escape").decode("ascii")


def _harmless(found: re.Match[str]) -> bool:
    """Whether a character shows itself and keeps to its place."""
    char = found[0]
    if not char.isprintable() or _INVISIBLE.match(char):
        return False
    start = found.start()
    before = found.string[max(0, start - 2) : start]
    return not (_is_mark(char) and len(before) == 2 and all(map(_is_mark, before)))  # noqa: PLR2004


def _is_mark(char: str) -> bool:
    """Whether a character is drawn over the one before it."""
    return unicodedata.category(char).startswith("M")
