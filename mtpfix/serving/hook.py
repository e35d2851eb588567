"""Where mtpfix is hooked into vLLM, and what it says there.

vLLM resolves the quantization configuration at one place, in `VllmConfig.__post_init__`, in the
process that makes the engine's configuration. There, and nowhere else, main model, draft and
speculation are known together; engine cores and workers are handed the result. An object that
carries its resolved configuration already has been looked at, and is left alone.

Source: vllm/config/vllm.py of 0.24 to 0.33. Whatever goes wrong in here ends as one warning.
"""

# ruff: noqa: PLC0415 - vLLM is imported where it runs, and what judges only where it judges

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from mtpfix.serving.plugin import FORMER, SWITCH, WAYS

_LONGEST = 1000
"""Characters of a foreign message."""
_HOOK = "__post_init__"
_MARK = "_mtpfix"


def attach(way: str, name: str = SWITCH) -> None:
    """Have vLLM's configuration looked at whenever it is made.

    Args:
        way: what is asked for: `1` or `report`.
        name: the environment variable that said so.
    """
    try:
        from vllm.config import VllmConfig

        hook = getattr(VllmConfig, _HOOK)
        if not hasattr(hook, _MARK):
            setattr(VllmConfig, _HOOK, _looking(hook, way, name))
    except Exception as error:  # noqa: BLE001 - vLLM must run, whatever it has become
        _failed(error)


def _looking(hook: Callable[..., None], way: str, name: str) -> Callable[..., None]:
    """`VllmConfig.__post_init__`, with a look before it."""

    @functools.wraps(hook)
    def looking(config: Any, *arguments: Any, **named: Any) -> None:
        look(config, way, name)
        hook(config, *arguments, **named)

    setattr(looking, _MARK, way)
    return looking


def look(config: Any, way: str, name: str = SWITCH) -> None:
    """Look at one configuration, and say in one line what came of it.

    Args:
        config: vLLM's own, whose quantization is not resolved yet.
        way: what is asked for: `1` or `report`.
        name: the environment variable that said so.
    """
    try:
        if config.model_config is None or config.quant_config is not None:
            return
        if name == FORMER:
            say(logging.WARNING, f"{FORMER} is the old name of this switch: set {SWITCH}={way}.")
        if way not in WAYS:  # not said before: vLLM has no handlers when it loads plugins
            known = ", ".join(WAYS)
            what = f"{SWITCH} is {way[:80]!a}, which is not a known value: choose from {known}"
            say(logging.WARNING, f"{what}. The plugin does nothing.")
            return
        from mtpfix.serving import engine

        say(logging.INFO, engine.repair_in_memory(config, way))
    except Exception as error:  # noqa: BLE001 - serving must never be worse for it
        _failed(error)


@functools.cache
def say(level: int, said: str) -> None:
    """One line, once: vLLM makes several configurations of one model."""
    _log().log(level, "mtpfix: %s", said)


def _failed(error: Exception) -> None:
    """One line; nothing is imported for it, since that could fail too."""
    said = ascii(f"{type(error).__name__}: {error}"[:_LONGEST])
    _log().warning("mtpfix: failed, and has changed nothing: %s", said)


def _log() -> logging.Logger:
    """A logger below vLLM's own, whose handlers and level it has."""
    return logging.getLogger("vllm.mtpfix")
