"""w4afp8: linear layers in blocks of FP8, experts in four bits; its list is dropped. Pure.

Source: `W4AFp8Config`, whose `from_config` reads no list.
"""

from __future__ import annotations

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.model import Decision, Module

_BLOCK = (128, 128)


def decider(setting: Setting) -> Decide:
    """Return the decisions of every release."""

    def decide(module: Module) -> Decision:
        if module.kind == "linear":
            return Decision(module, "quantized", "Fp8LinearMethod", "fp8-block", block=_BLOCK)
        if module.kind == "experts":
            return Decision(module, "quantized", "W4AFp8MoEMethod")
        return plain(module)

    return decide
