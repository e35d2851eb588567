"""The entry point that vLLM imports in each of its processes, asked for or not: next to nothing."""

from __future__ import annotations

import os

SWITCH = "MTPFIX_VLLM"
"""The environment variable that asks for the plugin. The command line has it too, for releases."""
WAYS = ("1", "report", "force")
"""Values that ask for it."""
OFF = ("", "0")


def register() -> None:
    """Attaches mtpfix to vLLM, if `MTPFIX_VLLM` asks for that; called once a process."""
    way = os.environ.get(SWITCH, "")
    if way not in OFF:
        from mtpfix.serving import edge  # noqa: PLC0415 - nothing is imported that is not asked for

        edge.attach(way)
