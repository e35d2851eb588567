"""bitsandbytes: every Linear that the list does not spare, and all routed experts. Pure.

Source: `BitsAndBytesConfig.get_quant_method` of each release up to 0.27.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.vllm.methods.base import (
    Decide,
    Setting,
    alike,
    own_name,
    plain,
    unmapped,
)
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.components import Leading
from mtpfix.model import Decision, Entry, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    spared = Leading(setting.view.ignore)

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = spared.first(module.name) if module.kind == "linear" else None
        if entry is not None:
            return plain(module, entry)
        return quantized(module, setting.view, setting.context)

    return decide


COMPARES = "an entry is one component of a name, or all of them up to one"
probes = own_name
renamed = unmapped
traits = alike


def exact(entry: Entry) -> bool:
    """Never: any entry may lead another name."""
    return False


def listed(entries: Iterable[Entry], release: str) -> Leading:
    """The entries, as they are compared with names."""
    return Leading(entries)
