"""A unified diff of two texts that differ in few places, fast on a million lines."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence


def diff(old: bytes, new: bytes, name: str) -> str:
    r"""A unified diff with three lines of context; empty if nothing differs.

    Lines end at `\n` only, so a `\r` before it is kept as part of the line; a
    missing final newline is marked the way git marks it.
    """
    before, after = (
        list(io.StringIO(text.decode("utf-8", "replace"), newline="\n")) for text in (old, new)
    )
    lines = [f"--- a/{name}\n", f"+++ b/{name}\n"]
    for hunk in _Matcher(before, after).get_grouped_opcodes(3):
        (_, begin, _, start, _), (_, _, end, _, stop) = hunk[0], hunk[-1]
        lines.append(f"@@ -{_range(begin, end)} +{_range(start, stop)} @@\n")
        for tag, first, last, low, high in hunk:
            if tag == "equal":
                lines += (f" {line}" for line in before[first:last])
            else:
                lines += (f"-{line}" for line in before[first:last])
                lines += (f"+{line}" for line in after[low:high])
    marked = (ln if ln.endswith("\n") else f"{ln}\n\\ No newline at end of file\n" for ln in lines)
    return "".join(marked) if old != new else ""


class _Matcher(difflib.SequenceMatcher[str]):
    """Meets differences from the top down, looking near first.

    The matcher of the library looks for the longest run of the whole text each
    time, which takes minutes for a long list with many changes.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self.before, self.after = before, after
        super().__init__(None, before, after)

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        """The equal lines at the top; if there are none, the longest run in reach."""
        ends = len(self.before) if ahi is None else ahi, len(self.after) if bhi is None else bhi
        size, most = 0, min(ends[0] - alo, ends[1] - blo)
        while size < most and self.before[alo + size] == self.after[blo + size]:
            size += 1
        reach = 256
        while not size:
            near = min(ends[0], alo + reach), min(ends[1], blo + reach)
            match = super().find_longest_match(alo, near[0], blo, near[1])
            if match.size or near == ends:
                return match
            reach *= 2
        return difflib.Match(alo, blo, size)


def _range(begin: int, end: int) -> str:
    """Lines `begin:end`, counted from 0, the way a hunk header writes them."""
    size = end - begin
    return f"{begin + (size > 0)}" if size == 1 else f"{begin + (size > 0)},{size}"
