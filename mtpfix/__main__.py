"""`python -m mtpfix`: the command line."""

from __future__ import annotations

import sys

from mtpfix.cli import main

if __name__ == "__main__":
    sys.exit(main())
