"""Makes the data, runs every contender in turn, prints medians, ratios and peak memory.

python -m bench [local] [growth] [start] [remote] [audit] [--rounds N] [--data DIR]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import local, remote

PARTS: dict[str, Callable[[Path, int], str]] = {
    "local": local.large,
    "growth": local.growth,
    "start": local.start,
    "remote": remote.headers,
    "audit": remote.audit,
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender")
    parser.add_argument("--data", type=Path, help="keep the data here, for another run")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {options.rounds}")
    with tempfile.TemporaryDirectory() as made:
        for name in options.parts or PARTS:
            print(f"\n{PARTS[name](options.data or Path(made), options.rounds)}", flush=True)


if __name__ == "__main__":
    main()
