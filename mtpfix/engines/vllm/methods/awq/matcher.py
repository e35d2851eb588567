"""AWQ: every Linear and every expert, unless a part of its name is in the list. Pure.

Source: `AutoAWQConfig.get_quant_method`, and `AWQMarlinConfig` before 0.24.
"""

from __future__ import annotations

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.moe_wna16 import (
    exempting,
    fallback,
    falls_back,
    packing,
)
from mtpfix.engines.vllm.methods.shared.names import Parts, skipped
from mtpfix.model import Decision, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    view, context = setting.view, setting.context
    parts = Parts(view.ignore)
    heads = bool(view.raw.get("lm_head"))

    def decide(module: Module) -> Decision:
        if module.kind == "embedding" or (module.kind == "lm_head" and not heads):
            return plain(module)
        # Experts are asked about without the packed mapping.
        packed = {} if module.kind == "experts" else setting.packed
        entry = skipped(module.name, parts, packed, context.release)
        if entry is None and module.kind == "experts" and falls_back(view, context):
            entry = exempting(module, view)
            return fallback(module, view) if entry is None else plain(module, entry)
        if entry is not None:
            return plain(module, entry)
        return quantized(module, view, context, packing=packing(view))

    return decide
