"""Answers requests in forked processes: what children share that import an engine once.

It runs inside the environment of an engine, so it imports the standard library alone.

A request is one line of JSON on standard input, with `answer` (the file to write the answer
to) and `timeout` in seconds; the rest is for the engine's own program. One line of JSON on
standard output says that the program is ready, and one that a request is done. Forking keeps
whatever one build changes in the engine out of the next.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

OURS = frozenset({"id", "answer", "timeout"})
"""Keys of a request that are none of the engine's."""


def claim_stdout() -> int:
    """Keep standard output for answers: whatever the engine prints goes to standard error."""
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def say(channel: int, message: Json) -> None:
    """Write one message to the parent."""
    os.write(channel, (json.dumps(message) + "\n").encode())


def failure(error: Exception, key: str) -> Json:
    """Return what the parent hears of an exception of ours, not of the engine's."""
    return {key: f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def answer(ask: Callable[..., Json], request: Json) -> None:
    """Run one build and write what came of it, whole or not at all."""
    signal.alarm(int(request["timeout"]))
    try:
        result = ask(**{key: value for key, value in request.items() if key not in OURS})
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        result = failure(error, "broken")
    target = Path(request["answer"])
    part = target.with_suffix(".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(target)


def serve(ask: Callable[..., Json], channel: int) -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answer(ask, request)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(channel, {"id": request["id"], "status": os.waitstatus_to_exitcode(status)})


def run(channel: int, adopt: Callable[[], Any]) -> None:
    """Import the engine, say so, and answer requests.

    Args:
        channel: where messages go.
        adopt: imports the module that has `prepare`, which returns what is installed, and
            `answer`, which answers a request.
    """
    try:
        build = adopt()
        about = build.prepare()
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        say(channel, failure(error, "failed"))
        return
    gc.freeze()
    say(channel, {"ready": about})
    serve(build.answer, channel)
