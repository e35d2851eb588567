"""bitsandbytes: every Linear that the list does not exempt, and all routed experts. Pure.

Source: `BitsAndBytesConfig.get_quant_method` of each release up to 0.27.
"""

from __future__ import annotations

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.components import Leading
from mtpfix.model import Decision, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    exempt = Leading(setting.view.ignore)

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = exempt.first(module.name) if module.kind == "linear" else None
        if entry is not None:
            return plain(module, entry)
        return quantized(module, setting.view, setting.context)

    return decide
