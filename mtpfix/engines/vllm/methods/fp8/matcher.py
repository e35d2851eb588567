"""fp8: every Linear and every expert, unless its name is in the list. Pure.

Source: `Fp8Config.get_quant_method` of each release.
"""

from __future__ import annotations

from dataclasses import replace

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.names import Names, skipped
from mtpfix.model import Decision, Json, Module
from mtpfix.quant.arguments import Grid, grid


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    names = Names(setting.view.ignore)
    release = setting.context.release
    block = _block(setting.view.raw.get("weight_block_size"))

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = skipped(module.name, names, setting.packed, release)
        if entry is not None:
            return plain(module, entry)
        return replace(quantized(module, setting.view, setting.context), block=block)

    return decide


def _block(size: Json) -> Grid | None:
    return grid(*size) if isinstance(size, list) and len(size) == 2 else None  # noqa: PLR2004
