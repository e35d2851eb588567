"""deepseek_v4_fp8: as fp8, but for routed experts, whose format the model names. Pure.

Source: `DeepseekV4FP8Config` of each release; from 0.32 on CUDA and ROCm have that of V4.1.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import replace
from fnmatch import fnmatchcase

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting
from mtpfix.engines.vllm.methods.fp8 import matcher as fp8
from mtpfix.engines.vllm.methods.shared.classes import chosen
from mtpfix.model import Decision, Module, QuantView

KEPT = "mxfp4-kept"
"""The format of experts that ModelOpt left in MXFP4 when it made the others NVFP4."""
_LAYER = re.compile(r"layers\.(\d+)\.ffn\.experts$")


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    ask = fp8.decider(setting)
    ask_of_kept = fp8.decider(replace(setting, view=replace(setting.view, format=KEPT)))
    layers = setting.context.fields.get("num_hidden_layers")

    def decide(module: Module) -> Decision:
        kept = module.kind == "experts" and _kept(module.name, setting.view, layers)
        decision = (ask_of_kept if kept else ask)(module)
        in_blocks = module.kind == "linear" or decision.expects == setting.view.format
        return decision if in_blocks else replace(decision, block=None)

    return decide


def traits(view: QuantView, context: Context) -> Hashable:
    """The class that a platform has for experts that ModelOpt kept."""
    return repr(chosen("experts", replace(view, format=KEPT), context))


def _kept(name: str, view: QuantView, layers: object) -> bool:
    """Whether ModelOpt's own list (`ignore`), in the spelling of the checkpoint, fits experts."""
    patterns = view.raw.get("ignore")
    found = _LAYER.search(name)
    if found is None or not isinstance(layers, int) or not isinstance(patterns, list):
        return False
    number = int(found[1])
    layer = f"mtp.{number - layers}" if number >= layers else f"layers.{number}"
    stored = f"{layer}.ffn.experts"
    return any(isinstance(p, str) and fnmatchcase(stored, p) for p in patterns)
