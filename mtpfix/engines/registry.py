"""The engines by name, each imported when it is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.engines.base import Engine

ENGINES: dict[str, str] = {
    "vllm": "mtpfix.engines.vllm.engine",
    "sglang": "mtpfix.engines.sglang.engine",
}
"""Name of an engine -> the module whose `ENGINE` it is. The first is the default."""

BESIDE: tuple[str, ...] = ("sglang",)
"""The engines that are judged and planned for beside the default one where none is chosen.

They decide nothing, and one that fails with entries as without gets none.
"""

OPTIONS: tuple[str, ...] = ("vllm", "sglang")
"""The engines whose releases have an option of their own on the command line, such as `--vllm`."""

DEFAULT = "vllm"
"""The engine that `check` asks about where none is chosen."""


def engine(name: str) -> Engine:
    """Return an engine.

    Raises:
        UsageError: there is none of that name.
    """
    home = ENGINES.get(name)
    if home is None:
        known = ", ".join(ENGINES)
        raise UsageError(f"{name!r:.60} is not an engine that mtpfix knows", f"choose from {known}")
    return _loaded(home)


@cache
def _loaded(home: str) -> Engine:
    found: Engine = import_module(home).ENGINE
    return found
