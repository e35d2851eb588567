"""The Sphinx extension: puts what is made from the code where a page says `<!-- made: NAME -->`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pygments.lexers.shell import BashSessionLexer

from mtpfix import __version__
from tools.docs import reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_MARK = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)


_OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./(?:tests|tools|bench|mtpfix)/[^)]*\)")
"""A link to a folder of the repo: where the site is read, there is none."""


_CODE = re.compile(r"^### (MTP\d+): ", re.MULTILINE)
"""The heading of a finding, which other pages refer to by its code alone."""


def filled(text: str) -> str:
    """The text of a page with everything that is made."""
    text = _CODE.sub(r"(\1)=\n\g<0>", text)
    return _MARK.sub(lambda found: reference.PAGES[found[1]](), _OUTSIDE.sub(r"\1", text))


def _read(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = filled(source[0])


class _Console(BashSessionLexer):  # type: ignore[misc,unused-ignore]
    """`console` blocks: only a dollar asks for input, since `#` begins a comment in output."""

    _ps1rgx = re.compile(r"^(\$ )(.*\n?)")


_VALUES = ("attribute", "property", "data")


class _Attributes:
    """Keeps docstrings of attributes from napoleon, which takes a colon for the end of a type."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def hide(
        self, _app: Sphinx, what: str, _name: str, _of: object, _how: object, lines: list[str]
    ) -> None:
        if what in _VALUES:
            self._kept, lines[:] = [*lines], []

    def show(
        self, _app: Sphinx, what: str, _name: str, _of: object, _how: object, lines: list[str]
    ) -> None:
        if what in _VALUES:
            lines[:] = self._kept


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    attributes = _Attributes()
    app.add_lexer("console", _Console)
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", attributes.hide, priority=400)
    app.connect("autodoc-process-docstring", attributes.show, priority=600)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}
