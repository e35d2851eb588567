"""The blocks of code in a page of Markdown: what kind each is, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^`]*)$")
_DIRECTIVE = re.compile(r"\{code-block\}\s*(\S*)")
_CAPTION = re.compile(r"^:caption:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        kind: its language, or the name of its directive in braces.
        caption: name of the file that it is; empty: it is none.
        lines: its text, without the indent of the fence.
        first: number of the first line of its text in the page, from 0.
        indent: blanks before the fence.
    """

    kind: str
    caption: str
    lines: tuple[str, ...]
    first: int
    indent: str = ""

    @property
    def text(self) -> str:
        """The text as it would stand in a file."""
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a `console` block, and the lines that it is said to print.

    Attributes:
        script: what is typed.
        shown: the lines below it.
        first: number of the first of them in the page, from 0.
    """

    script: str
    shown: tuple[str, ...]
    first: int


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        at += 1
        if opened is None:
            continue
        end = _end(lines, at, opened["fence"])
        yield _block(opened, lines[at:end], at)
        at = end + 1


def _end(lines: Sequence[str], begin: int, fence: str) -> int:
    for at in range(begin, len(lines)):
        stripped = lines[at].strip()
        if stripped.startswith(fence) and not stripped.strip("`"):
            return at
    raise ValueError(f"line {begin}: the block has no end")


def _block(opened: re.Match[str], inside: Sequence[str], first: int) -> Block:
    indent, kind = opened["indent"], opened["info"].strip()
    lines = [line.removeprefix(indent) for line in inside]
    caption = ""
    if (directive := _DIRECTIVE.fullmatch(kind)) is not None:
        kind = directive[1]
        while lines and (lines[0].startswith(":") or not lines[0].strip()):
            option = _CAPTION.match(lines.pop(0))
            caption = option[1] if option else caption
            first += 1
    elif kind.startswith("{"):
        kind = kind[: kind.index("}") + 1]
    return Block(kind, caption, tuple(lines), first, indent)


def commands(block: Block) -> list[Command]:
    """The commands of a `console` block: `$ ` begins one, a backslash at its end goes on.

    Raises:
        ValueError: it begins with output.
    """
    found: list[Command] = []
    lines = list(block.lines)
    while lines:
        line = lines.pop(0)
        if not line.startswith("$ "):
            raise ValueError(f"line {block.first + 1}: no command stands before the output")
        script = [line.removeprefix("$ ")]
        while script[-1].endswith("\\"):
            script.append(lines.pop(0))
        shown: list[str] = []
        while lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        first = block.first + len(block.lines) - len(lines) - len(shown)
        found.append(Command("\n".join(script), tuple(shown), first))
    return found
