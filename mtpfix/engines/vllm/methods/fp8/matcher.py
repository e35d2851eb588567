"""fp8: every Linear and every expert, unless its name is in the list. Pure.

Source: `Fp8Config.get_quant_method` of each release.
"""

from __future__ import annotations

from mtpfix.engines.vllm.methods.base import Decide, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.names import Names, skipped
from mtpfix.model import Decision, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    names = Names(setting.view.ignore)
    release = setting.context.release

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = skipped(module.name, names, setting.packed, release)
        if entry is not None:
            return plain(module, entry)
        return quantized(module, setting.view, setting.context)

    return decide
