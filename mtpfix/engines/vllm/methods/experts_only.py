"""Methods that quantize all routed experts and nothing else, whatever a list says. Pure.

Source: `get_quant_method` of `Mxfp4Config` and `ExpertsInt8Config`, whose `from_config` drop
what the metadata holds.
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
from mtpfix.engines.vllm.methods.skipped import Names
from mtpfix.model import Decision, Entry, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""

    def decide(module: Module) -> Decision:
        if module.kind != "experts":
            return plain(module)
        return quantized(module, setting.view, setting.context)

    return decide


COMPARES = "no list has a say: routed experts are always quantized, everything else never is"
probes = own_name
renamed = unmapped
traits = alike


def exact(entry: Entry) -> bool:
    """Whether the entry is no pattern: none is."""
    return True


def listed(entries: Iterable[Entry], release: str) -> Names:
    """No entry is read, so none fits."""
    return Names(())
