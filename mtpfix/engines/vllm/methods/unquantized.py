"""No quantization metadata: every module is built unquantized, and no name is compared. Pure.

Source: `VllmConfig._get_quantization_config`, which returns None where `ModelConfig` finds no
metadata, and `LinearBase`, `FusedMoE` and `VocabParallelEmbedding`, which then ask nothing.
"""

from __future__ import annotations

from mtpfix.engines.vllm.methods.base import Decide, Setting, plain
from mtpfix.engines.vllm.methods.experts_only import exact, listed, renamed, traits
from mtpfix.model import Module

__all__ = ["COMPARES", "decider", "exact", "listed", "probes", "renamed", "traits"]

COMPARES = "no list has a say: there is no quantization metadata"


def decider(setting: Setting) -> Decide:
    """Return the decision that is the same for every module."""
    return plain


def probes(module: Module) -> tuple[str, ...]:
    """Return no name: none is compared."""
    return ()
