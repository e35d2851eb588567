"""Imports vLLM once, then answers each request in a forked process of its own.

A request is one line of JSON on standard input: `id`, `folder`, `load`, `tolerant`,
`overrides`, `draft` (a folder, or null), `names` (see `destinations`, or null), `past_failures`,
`load_format`, `answer` (the file to write the answer to) and `timeout` in seconds. One line of
JSON on standard output says that the program is ready, and one that a request is done.
Forking keeps whatever one build changes in vLLM out of the next.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

OURS = frozenset({"id", "folder", "answer", "timeout"})
"""Keys of a request that are no option of the build."""
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Keeps vLLM off the network, quiet, and small."""


def adopt() -> ModuleType:
    """Imports the engine's folder as a package, so that the modules below can name each other.

    Started by its path, this file belongs to no package, and Python puts its folder
    itself first on the module path, where names like `load` could shadow others. The package
    is that of the engine, because the families' folders hold some of the modules.

    Returns:
        The `build` module of the child.
    """
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    name, home = "_mtpfix_vllm", here.parent
    spec = importlib.util.spec_from_file_location(name, home / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{home} is not a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return importlib.import_module(f"{name}.{here.name}.build")


def claim_stdout() -> int:
    """Keeps standard output for answers: whatever vLLM prints goes to standard error."""
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def say(channel: int, message: dict[str, Any]) -> None:
    """Writes one message to the parent."""
    os.write(channel, (json.dumps(message) + "\n").encode())


def answer(build: ModuleType, request: dict[str, Any]) -> None:
    """Runs one build and writes what came of it, whole or not at all."""
    signal.alarm(int(request["timeout"]))
    try:
        wanted = {key: value for key, value in request.items() if key not in OURS}
        result = build.answer(request["folder"], **wanted)
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        result = {"broken": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    target = Path(request["answer"])
    part = target.with_suffix(".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(target)


def serve(build: ModuleType, channel: int) -> None:
    """Answers requests until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answer(build, request)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(channel, {"id": request["id"], "status": os.waitstatus_to_exitcode(status)})


def main() -> None:
    """Entry point."""
    channel = claim_stdout()
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    try:
        build = adopt()
        about = build.prepare()
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        say(
            channel, {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        )
        return
    gc.freeze()
    say(channel, {"ready": about})
    serve(build, channel)


if __name__ == "__main__":
    main()
