"""Writes into the pages what their commands print now.

python -m tests.docs.refresh [PAGE ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.docs.stage import Shown, pages, played, theatre


def refreshed(page: str, results: list[Shown]) -> str:
    """The page with the output that came."""
    lines = page.splitlines()
    for result in reversed(results):
        came = [f"{result.block.indent}{line}".rstrip() for line in result.came]
        lines[result.first : result.first + len(result.shown)] = came
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", type=Path, nargs="*", metavar="PAGE")
    wanted = parser.parse_args().pages or pages()
    with tempfile.TemporaryDirectory() as scratch, theatre(Path(scratch)) as house:
        for number, page in enumerate(wanted):
            old = page.read_text(encoding="utf-8")
            folder = Path(scratch) / str(number)
            new = refreshed(old, list(played(old, house.stage(folder))))
            if new != old:
                page.write_text(new, encoding="utf-8")
                print(f"{page}: made anew")


if __name__ == "__main__":
    main()
