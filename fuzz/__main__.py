"""Runs one target below atheris, the fuzzer for Python that libFuzzer drives.

    python -m fuzz header|index|config|pattern|planner|sglang|graft [--seconds 1200] [--corpus DIR]

Starts from `fuzz/seeds/TARGET` and keeps what it finds in the corpus; what breaks a promise is
written to `crash-*` and ends the run. A bug that was found is kept as a seed, and
`tests/unit/test_fuzz.py` replays all seeds, without atheris.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

SEEDS = Path(__file__).parent / "seeds"
LONGEST = {"pattern": 300, **dict.fromkeys(("config", "planner", "sglang"), 1 << 14)}
"""Bytes of the longest input."""

with atheris.instrument_imports(include=["mtpfix", "json", "regex._regex_core"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Fuzzes one target for some time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--corpus", type=Path, help="kept between runs; else thrown away")
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        corpus = given.corpus or Path(place)
        corpus.mkdir(parents=True, exist_ok=True)
        one = TARGETS[given.target]
        options = [
            f"-max_total_time={given.seconds}",
            f"-max_len={LONGEST.get(given.target, 4096)}",
            f"-dict={SEEDS / 'words.dict'}",
            "-timeout=60",
            "-rss_limit_mb=3000",
            "-print_final_stats=1",
        ]
        atheris.Setup(
            [sys.argv[0], *options, str(corpus), str(SEEDS / given.target)],
            lambda data: one(data) and None,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
