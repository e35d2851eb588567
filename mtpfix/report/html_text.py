"""Pages that need no network: their frame, and text that stays text.

A page runs one script and one style sheet, both of our own, and its policy lets in nothing else,
whatever a name from a checkpoint tries to be.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from mtpfix import __version__
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.report.wording import Sign


def document(title: str, body: Iterable[str], rules: str) -> str:
    """Return a whole page.

    Args:
        title: as HTML.
        body: what stands in `main`, as HTML.
        rules: style that this page needs beside the common one.
    """
    script, style = _own("page.js"), f"{_own('page.css')}{rules}"
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; {_CLOSED}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(body)}</main>\n<footer>mtpfix {__version__}</footer>\n"
        '<div id="tip" class="tip" hidden></div>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


_CLOSED = "base-uri 'none'; form-action 'none'"


def _own(name: str) -> str:
    return (resources.files("mtpfix") / "data" / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


# --- text --------------------------------------------------------------------


def text(words: str, limit: int = PROSE_LIMIT) -> str:
    """Return words as HTML."""
    return escape(inert(words, limit))


def code(name: str) -> str:
    """Return a name as HTML."""
    return f"<code>{text(name) or '(the empty name)'}</code>"


def prose(words: str) -> str:
    """A sentence; what stands in backticks is a name."""
    parts = inert(words, PROSE_LIMIT).split("`")
    closed = len(parts) - 1 if len(parts) % 2 else len(parts) - 2
    shown = [escape(part) for part in parts]
    for number in range(1, closed, 2):
        shown[number] = f"<code>{shown[number]}</code>"
    if len(parts) % 2 == 0:
        shown[-2:] = [f"{shown[-2]}`{shown[-1]}"]
    return "".join(shown)


def signed(sign: Sign, words: str = "") -> str:
    """Sign and word in their colour; the word is there for who sees neither."""
    said = words or sign.word
    return f'<span class="{sign.mood}"><span aria-hidden="true">{sign.sign}</span> {said}</span>'


def described(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Labels, and what is said of each as HTML."""
    yield "<dl>\n"
    for label, said in facts:
        yield f"<dt>{escape(label)}</dt><dd>{said}</dd>\n"
    yield "</dl>\n"
