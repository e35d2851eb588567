"""Makes the data, runs every contender in turn, prints medians, ratios and peak memory.

python -m bench [local] [growth] [repairs] [start] [remote] [audit] [graft] [block] [values]
                [--rounds N] [--data DIR]
python -m bench plugin --python VLLM_PYTHON
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import block, local, plugin, remote, values

PARTS: dict[str, Callable[[Path, int], str]] = {
    "local": local.large,
    "growth": local.growth,
    "repairs": local.repairs,
    "start": local.start,
    "remote": remote.headers,
    "audit": remote.audit,
    "graft": remote.graft,
    "block": block.large,
    "values": values.passes,
}
PLUGIN = "plugin"
"""The part that needs a vLLM: run where it is asked for."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join((*PARTS, PLUGIN)))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender")
    parser.add_argument("--data", type=Path, help="keep the data here, for another run")
    parser.add_argument("--python", help="interpreter of an environment with vLLM, for `plugin`")
    options = parser.parse_args()
    parts = dict(PARTS)
    if options.python:
        parts[PLUGIN] = partial(plugin.start, python=options.python)
    elif PLUGIN in options.parts:
        parser.error("plugin: give an environment with vLLM by --python")
    unknown = set(options.parts) - set(parts)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {options.rounds}")
    with tempfile.TemporaryDirectory() as made:
        for name in options.parts or PARTS:
            print(f"\n{parts[name](options.data or Path(made), options.rounds)}", flush=True)


if __name__ == "__main__":
    main()
