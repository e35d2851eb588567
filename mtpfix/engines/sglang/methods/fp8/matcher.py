"""fp8: every linear layer and every expert, unless the list skips it; heads are not asked. Pure.

Source: `Fp8Config.get_quant_method`.
"""

from __future__ import annotations

from functools import lru_cache

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.sglang.methods.fp8 import nvfp4_experts
from mtpfix.engines.sglang.methods.fp8.entries import spelled
from mtpfix.engines.sglang.methods.records import Classes, ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.paths import Paths
from mtpfix.engines.sglang.methods.shared.rules import rules, table
from mtpfix.model import Decision, Json, Module
from mtpfix.quant.arguments import Grid, grid


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part."""
    view = setting.view
    listed = Paths(spelled(view.ignore))
    block = block_of(view.raw.get("weight_block_size")) if view.format == "fp8-block" else None
    mixed = nvfp4_experts.stated(view.raw) and rules("nvfp4_experts", setting.context.release)

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = listed.skips(module.name, setting.packed)
        if entry is not None:
            return plain(module, entry)
        row = chosen(classes(), module.kind, view.format, setting.context)
        return made(module, row, view.format, block=block)

    return nvfp4_experts.decider(setting, decide, classes()) if mixed else decide


def block_of(size: Json) -> Grid | None:
    """Return outputs and inputs of a block, where two sizes are stated."""
    return grid(*size) if isinstance(size, list) and len(size) == 2 else None  # noqa: PLR2004


@lru_cache(maxsize=1)
def classes() -> tuple[ClassRow, ...]:
    """Return what is built for layers that no entry exempts."""
    return table("fp8/fp8.json", Classes).classes
