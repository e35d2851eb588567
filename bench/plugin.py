"""The start of vLLM alone, with the plugin installed and off, and with it on."""

from __future__ import annotations

import os
from pathlib import Path

from bench import runs
from bench.runs import Contender

ALONE = "vLLM alone"


def start(where: Path, rounds: int, python: str) -> str:
    """The start of a whole engine with a tiny model and its draft.

    Args:
        where: a folder for the model.
        rounds: starts of each contender.
        python: interpreter of an environment with vLLM that mtpfix is not installed in.
    """
    # It imports torch, and what this process holds would count as the peak of its children.
    from tools import plugged  # noqa: PLC0415

    model = where / "servable"
    if not model.exists():
        plugged.servable(model)
    path = plugged.pythonpath(where / "plugin")

    def contender(name: str, **variables: str) -> Contender:
        given = {**plugged.QUIET, **variables}
        words = ("env", "-u", "PYTHONPATH", *(f"{key}={value}" for key, value in given.items()))
        return Contender(name, (*words, python, str(plugged.STARTER), str(model)))

    found = runs.in_turn(
        [
            contender(ALONE),
            contender("installed, off", PYTHONPATH=path),
            contender("installed, MTPFIX_VLLM=1", PYTHONPATH=path, MTPFIX_VLLM="1"),
        ],
        rounds,
    )
    return runs.table(f"Start of an engine, {os.cpu_count()} processors", found, [ALONE])
