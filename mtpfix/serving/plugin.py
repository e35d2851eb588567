"""The entry point that vLLM imports in each of its processes, asked for or not: next to nothing."""

from __future__ import annotations

import os

SWITCH = "MTPFIX_PLUGIN"
"""The environment variable that asks for the plugin."""
FORMER = "MTPFIX_VLLM"
"""Its old name. On the command line this variable stands for `--vllm`."""
WAYS = ("1", "report")
"""Values that ask for it."""
OFF = ("", "0")


def register() -> None:
    """Attach mtpfix to vLLM, if the environment asks for that; called once a process."""
    name, way = switch()
    if way not in OFF:
        from mtpfix.serving import hook  # noqa: PLC0415 - nothing is imported that is not asked for

        hook.attach(way, name)


def switch() -> tuple[str, str]:
    """Return the variable that speaks to the plugin, and its value.

    The old name counts only where the new one is not set, and only for a value that can mean
    nothing else: any other is a release for the command line.
    """
    if SWITCH not in os.environ and os.environ.get(FORMER) in WAYS:
        return FORMER, os.environ[FORMER]
    return SWITCH, os.environ.get(SWITCH, "")
