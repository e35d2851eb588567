"""Methods that vLLM takes for no draft (`refused` in their data): nothing is decided. Pure."""

from __future__ import annotations

from mtpfix.engines.vllm.methods.base import Decide, Setting, plain
from mtpfix.engines.vllm.methods.experts_only import exact, listed, renamed, traits
from mtpfix.model import Module

__all__ = ["COMPARES", "decider", "exact", "listed", "probes", "renamed", "traits"]

COMPARES = "no list has a say: vLLM takes the method for no draft"


def decider(setting: Setting) -> Decide:
    """Never reached where the method is refused."""
    return plain


def probes(module: Module) -> tuple[str, ...]:
    """No name is compared."""
    return ()
