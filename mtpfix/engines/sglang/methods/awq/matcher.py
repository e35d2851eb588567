"""AWQ: every linear layer and every expert, unless a part of its name is in the list. Pure.

On CUDA Marlin takes the weights, where it can. Source: `AWQMarlinConfig` and `AWQConfig`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.sglang.methods.records import Classes, ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.marlin import takes_awq, takes_experts
from mtpfix.engines.sglang.methods.shared.rules import table
from mtpfix.model import Decision, Entry, Json, Module, QuantView
from mtpfix.quant.arguments import Grid, grid

_NEEDED = (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",))
"""Keys of which one each must be there, in the order in which they are looked for."""


class Parts:
    """A list of parts of names, in its order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    def first(self, name: str) -> Entry | None:
        """Return the first entry that is a part of `name`."""
        return next((entry for entry in self._entries if entry.text in name), None)


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part."""
    view, context = setting.view, setting.context
    listed, packed = Parts(view.ignore), _packing(view.raw)
    marlin = takes_awq(view.raw, context)
    heads = marlin and bool(view.raw.get("lm_head"))
    experts = "marlin" if takes_experts(view.raw.get("group_size"), context.fields) else "wna16"

    def decide(module: Module) -> Decision:
        if module.kind == "embedding" or (module.kind == "lm_head" and not heads):
            return plain(module)
        if module.kind == "experts" and not marlin:
            return plain(module)
        entry = listed.first(module.name)
        if entry is not None:
            return plain(module, entry)
        kernel = (experts if module.kind == "experts" else "marlin") if marlin else "plain"
        return made(module, chosen(_classes(), module.kind, kernel, context), packing=packed)

    return decide


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    for keys in _NEEDED:
        if not any(key in view.raw for key in keys):
            return (
                f"ValueError: Cannot find any of {list(keys)} in the model's quantization config."
            )
    bits = view.raw["w_bit"] if "w_bit" in view.raw else view.raw["bits"]
    if bits != 4:  # noqa: PLR2004 - what the name stands for
        return (
            "ValueError: Currently, only 4-bit weight quantization is supported for AWQ, "
            f"but got {bits} bits."
        )
    if not takes_awq(view.raw, context) and context.fields.get("torch_dtype") == "bfloat16":
        return (
            "ValueError: torch.bfloat16 is not supported for quantization method awq. "
            "Supported dtypes: [torch.float16]"
        )
    return None


def _packing(raw: Mapping[str, Json]) -> Grid | None:
    return grid(raw.get("w_bit", raw.get("bits")), raw.get("q_group_size", raw.get("group_size")))


@lru_cache(maxsize=1)
def _classes() -> tuple[ClassRow, ...]:
    return table("awq/awq.json", Classes).classes
