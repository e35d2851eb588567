"""AWQ: every Linear and every expert, unless a part of its name is in the list. Pure.

Source: `AutoAWQConfig.get_quant_method`, and `AWQMarlinConfig` before 0.24.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.vllm.methods.base import (
    Decide,
    RaisesError,
    Setting,
    mapped,
    own_name,
    plain,
)
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.skipped import skipped
from mtpfix.engines.vllm.methods.substrings import Parts
from mtpfix.engines.vllm.methods.wna16 import exempting, fallback, falls_back
from mtpfix.engines.vllm.methods.words_refused import refusal
from mtpfix.engines.vllm.policy import Context
from mtpfix.model import Decision, Entry, Module, QuantView


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError: the engine refuses the metadata as a whole.
    """
    view, context = setting.view, setting.context
    refused = refusal(view, context)
    if refused is not None:
        raise RaisesError(refused)
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
        return plain(module, entry) if entry is not None else quantized(module, view, context)

    return decide


COMPARES = "an entry fits every name that holds it as a part"
probes = own_name
renamed = mapped


def exact(entry: Entry) -> bool:
    """Never: any name may hold it."""
    return False


def listed(entries: Iterable[Entry], release: str) -> Parts:
    """The entries, as they are compared with names."""
    return Parts(entries)


def traits(view: QuantView, context: Context) -> Hashable:
    """Whether experts fall back, as on ROCm they always do."""
    return falls_back(view, context)
