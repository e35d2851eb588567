"""GPTQ: every linear layer that no rule skips, and all experts, whatever the rules say. Pure.

Source: `GPTQMarlinConfig.get_quant_method`, `GPTQConfig.get_quant_method` and
`get_linear_quant_method` in `quantization/utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.dynamic_rules import Rules, packing
from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.sglang.methods.gptq.rules import check, skips
from mtpfix.engines.sglang.methods.records import Classes, ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.marlin import takes_gptq
from mtpfix.engines.sglang.methods.shared.rules import rules, table
from mtpfix.model import Decision, Json, Module, QuantView

_NEEDED = ("bits", "group_size", "desc_act")
_UNKNOWN = "ValueError: Unknown quantization method: gptq. Must be one of "


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part.

    Raises:
        PatternError: there are too many rules.
    """
    view, context = setting.view, setting.context
    stated = view.raw.get("dynamic")
    values: Mapping[str, Json] = stated if isinstance(stated, Mapping) else {}
    listed = Rules(view.ignore, values)
    marlin = takes_gptq(view.raw, context)
    kernel = "marlin" if marlin else "plain"
    heads = bool(view.raw.get("lm_head"))

    def decide(module: Module) -> Decision:
        if module.kind == "embedding" or (module.kind == "lm_head" and not heads):
            return plain(module)
        row = chosen(_classes(), module.kind, kernel, context)
        if module.kind == "experts":
            return made(module, row, packing=packing(None, view.raw))
        rule = listed.rule(module.name)
        if rule is not None and skips(rule):
            return plain(module, rule.entry)
        if rule is not None and module.name:
            check(rule, view.raw, marlin=marlin)
        used = rule if module.name else None
        entry = None if rule is None else rule.entry
        return made(module, row, entry=entry, packing=packing(used, view.raw))

    return decide


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    if takes_gptq(view.raw, context):
        return None
    if not rules("plain_gptq", context.release):
        return _UNKNOWN
    for key in _NEEDED:
        if key not in view.raw:
            return f"ValueError: Cannot find any of {[key]} in the model's quantization config."
    if context.fields.get("torch_dtype") == "bfloat16":
        return (
            "ValueError: torch.bfloat16 is not supported for quantization method gptq. "
            "Supported dtypes: [torch.float16]"
        )
    return None


@lru_cache(maxsize=1)
def _classes() -> tuple[ClassRow, ...]:
    return table("gptq/gptq.json", Classes).classes
