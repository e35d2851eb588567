"""The start of vLLM alone, with the plugin installed and off, and with it on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from statistics import median

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
    without = path.replace(str(where / "plugin"), str(where / "nothing"))

    def contender(name: str, **variables: str) -> Contender:
        given = {**plugged.QUIET, **variables}
        words = ("env", "-u", "PYTHONPATH", *(f"{key}={value}" for key, value in given.items()))
        return Contender(name, (*words, python, str(plugged.STARTER), str(model)))

    found = runs.in_turn(
        [
            contender(ALONE, PYTHONPATH=without),
            contender("installed, off", PYTHONPATH=path),
            contender("installed, MTPFIX_PLUGIN=1", PYTHONPATH=path, MTPFIX_PLUGIN="1"),
        ],
        rounds,
        typical=min,  # what else goes on only adds, and adds more than the plugin
    )
    title = f"Start of an engine, {os.cpu_count()} processors, the quickest of {rounds}"
    return f"{runs.table(title, found, [ALONE])}\n{_inside(python, path, str(model), rounds)}"


_TIMED = """\
import json, sys, time
from vllm.engine.arg_utils import EngineArgs

def timed(work):
    def run(*given):
        start = time.perf_counter()
        work(*given)
        spent.append(time.perf_counter() - start)
    return run

spent = []

@timed
def load():
    from mtpfix.serving import hook, plugin
    plugin.register()
    hook.look = timed(hook.look)

load()
EngineArgs(
    sys.argv[1],
    skip_tokenizer_init=True,
    trust_remote_code=True,
    max_model_len=128,
    speculative_config={"method": "mtp", "num_speculative_tokens": 1},
).create_engine_config()
print(json.dumps(spent))
"""


def _inside(python: str, path: str, model: str, rounds: int) -> str:
    """The time that the plugin itself takes in the process that makes the configuration."""
    from tools import plugged  # noqa: PLC0415 - as above

    env = {**os.environ, **plugged.QUIET, "PYTHONPATH": path, "MTPFIX_PLUGIN": "1"}
    found = []
    for _ in range(rounds):
        words = [python, "-c", _TIMED, model]
        ran = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        found.append(sum(json.loads(ran.stdout.splitlines()[-1])))
    return f"In the plugin's own code, switched on: {median(found):.2f} s (median of {rounds})\n"
