"""Text as Markdown that stays text: on GitHub, on the Hub, and inside a table. Pure.

Foreign names stand in code spans. In prose, everything that Markdown, HTML or a
forge would act on (emphasis, tags, table bars, links, mentions) is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mtpfix.report.inert_text import NAME_LIMIT, PROSE_LIMIT, inert

# A comment parts a mention, a reference or an address in two, and nobody sees it.
_PART = "<!-- -->"
_PROSE = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "\\`*_[]~$"},
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "&#124;",
        "@": f"@{_PART}",
        "#": f"&#35;{_PART}",
    }
)
_ADDRESS = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)")
_PLAIN = re.compile(r"[A-Za-z0-9 ]|[^\x00-\x7f]")


def code(text: str, limit: int = NAME_LIMIT) -> str:
    """A foreign name as a code span, in prose or in a cell of a table."""
    shown = inert(text, limit)
    if not shown.strip():
        return "(the empty name)"
    if "`" not in shown and "|" not in shown:
        return f"`{shown}`"
    spelled = (c if _PLAIN.fullmatch(c) else f"&#{ord(c)};" for c in shown)
    return f"<code>{''.join(spelled)}</code>"


def prose(text: str, limit: int = PROSE_LIMIT) -> str:
    """A sentence that may quote foreign text: what stands in backticks becomes a code span.

    A foreign backtick only shifts what is code and what is not: neither is acted upon.
    """
    parts = inert(text, limit).split("`")
    shown = [_escaped(part) for part in parts]
    closed = len(parts) - 1 if len(parts) % 2 else len(parts) - 2
    for number in range(1, closed, 2):
        shown[number] = (
            code(parts[number], limit) if parts[number].strip() else "``".translate(_PROSE)
        )
    if len(parts) % 2 == 0:
        shown[-2:] = [f"{shown[-2]}\\`{shown[-1]}"]
    return "".join(shown)


def _escaped(text: str) -> str:
    return _ADDRESS.sub(_PART, text.translate(_PROSE))


def table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table; its cells are Markdown already."""
    return [_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def details(summary: str, lines: Iterable[str]) -> list[str]:
    """Lines that a reader has to open; `summary` is Markdown-free text of our own."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def fenced(text: str, language: str) -> list[str]:
    """A block of foreign text, its fence longer than any that stands in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.split("\n"), fence]
