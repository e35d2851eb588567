"""auto-round: the bits of a module, then the kernel that takes them. Pure.

Source: `AutoRoundConfig.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.layer_bits import LayerBits
from mtpfix.engines.policies.marlin import GROUPS, SYMMETRIC
from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.sglang.methods.auto_round.layers import Layers
from mtpfix.engines.sglang.methods.records import Classes, ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.marlin import ASYMMETRIC, takes_experts
from mtpfix.engines.sglang.methods.shared.rules import table
from mtpfix.model import Decision, Json, Module, QuantView
from mtpfix.quant.arguments import grid

_NEEDED = ("bits", "group_size", "sym")
_BITS, _TYPES = (2, 3, 4, 8), ("int",)
_PACKINGS = ("auto_round:auto_gptq", "auto_round:auto_awq")
_BACKENDS = ("auto", "gptq", "gptq:marlin", "awq", "awq:marlin", "marlin")
_BACKEND_KEYS = ("backend", "vllm_backend", "sglang_backend")


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part.

    Raises:
        PatternError: too many keys are patterns.
    """
    view, context = setting.view, setting.context
    layers = Layers(view, setting.packed, context.release)

    def decide(module: Module) -> Decision:
        if module.kind == "embedding":
            return plain(module)
        said = layers.of(module)
        if not said.quantized:
            return plain(module, said.entry)
        kernel = _kernel(module, said, view, context)
        row = chosen(_classes(), module.kind, kernel, context)
        packing = grid(said.bits, said.group_size)
        return made(module, row, entry=said.entry, packing=packing)

    return decide


def _kernel(module: Module, said: LayerBits, view: QuantView, context: Context) -> str:
    """Return the packing of weights, and what takes them."""
    backend = _backend(view.raw)
    gptq = "gptq" in _packing(view.raw) or "gptq" in backend
    fits = (said.bits, said.sym) in (SYMMETRIC if gptq else ASYMMETRIC)
    marlin = fits and said.group_size in GROUPS and (backend == "auto" or "marlin" in backend)
    if module.kind == "experts":
        marlin = marlin and takes_experts(said.group_size, context.fields)
    if marlin:
        return "gptq-marlin" if gptq else "awq-marlin"
    if not gptq:
        return "awq-plain"
    return "gptq-ordered" if view.raw.get("desc_act") else "gptq-plain"


def refusal(view: QuantView) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    return next(_refusals(view.raw), None)


def _refusals(raw: Mapping[str, Json]) -> Iterator[str]:
    for key in _NEEDED:
        if key not in raw:
            yield f"ValueError: Cannot find any of {[key]} in the model's quantization config."
    if raw.get("bits") not in _BITS:
        yield f"ValueError: Unsupported weight_bits: {raw.get('bits')}, currently only support"
    kind = raw.get("data_type", "int")
    if kind not in _TYPES:
        yield f"ValueError: Unsupported data_type: {kind}, currently only support"
    if _packing(raw) not in _PACKINGS:
        yield f"ValueError: Unsupported packing_format: {_packing(raw)}, currently only support"
    if _backend(raw) not in _BACKENDS:
        yield f"ValueError: Unsupported backend: {_backend(raw)},  currently only support"


def _packing(raw: Mapping[str, Json]) -> str:
    return str(raw.get("packing_format", _PACKINGS[0]))


def _backend(raw: Mapping[str, Json]) -> str:
    return next((str(raw[key]) for key in _BACKEND_KEYS if key in raw), _BACKENDS[0])


@lru_cache(maxsize=1)
def _classes() -> tuple[ClassRow, ...]:
    return table("auto_round/auto_round.json", Classes).classes
