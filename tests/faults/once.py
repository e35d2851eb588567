"""One rewrite by the command line, in a process of its own: FOLDER [OUTPUT]."""

from __future__ import annotations

import sys

from tests.faults.subject import rewrite

sys.exit(rewrite(*sys.argv[1:]))
