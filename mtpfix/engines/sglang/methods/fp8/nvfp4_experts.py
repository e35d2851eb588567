"""fp8 metadata whose routed experts are in NVFP4, as those of DeepSeek-V4-Pro-NVFP4. Pure.

Such experts have a list of their own, `ignore`, to which SGLang adds the draft: what was published
keeps its experts in MXFP4. The list of fp8 has no say about experts in either.
Source: `ModelConfig.nvfp4_moe_meta`, `HybridFp8NvFp4Config.get_quant_method`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies.method import Decide, Setting
from mtpfix.engines.sglang.methods.records import ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.engines.sglang.methods.shared.wildcards import Excluded
from mtpfix.model import Decision, Entry, Json, Module, QuantView

NVFP4, MXFP4 = "nvfp4", "mxfp4"
"""How experts, and those that are not in NVFP4, are called in the table of classes."""


def stated(raw: Mapping[str, Json]) -> bool:
    """Return whether metadata put routed experts in NVFP4."""
    algorithms = [str(raw.get(key, "")).upper() for key in ("quant_algo", "moe_quant_algo")]
    return algorithms == ["MIXED_PRECISION", "NVFP4"] and raw.get("group_size") is not None


def decider(setting: Setting, ask: Decide, classes: tuple[ClassRow, ...]) -> Decide:
    """Return the decisions of one release for one part.

    Args:
        setting: what they rest on.
        ask: the decisions about everything else.
        classes: what fp8 builds.

    Raises:
        PatternError: too many entries are patterns.
    """
    view, context = setting.view, setting.context
    excluded = Excluded(_entries(view, rules("experts_not_in_nvfp4", context.release)))
    usual = chosen(classes, "experts", view.format, context)
    in_mxfp4 = usual is not None and usual.expects == "quark-mxfp4"

    def decide(module: Module) -> Decision:
        if module.kind != "experts":
            return ask(module)
        if excluded.about(module, setting.packed) is None:
            return made(module, chosen(classes, "experts", NVFP4, context))
        return made(module, chosen(classes, "experts", MXFP4, context)) if in_mxfp4 else ask(module)

    return decide


def _entries(view: QuantView, added: list[str]) -> list[Entry]:
    listed = view.raw.get("ignore")
    texts = [*(listed if isinstance(listed, list) else ()), *added]
    return [Entry(text, view.file, "") for text in texts if isinstance(text, str)]
