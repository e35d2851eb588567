"""The process: `mtpfix` and `python -m mtpfix`."""

from __future__ import annotations

import atexit
import gc
import sys

from mtpfix.cli import main


def run() -> int:
    """The command line of this process; returns its exit code."""
    # A checkpoint is kept until the end and dropped as a whole. To look for cycles among
    # 280,000 names, time and again and once more at the end, took a third of the time.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    return main()


if __name__ == "__main__":
    sys.exit(run())
