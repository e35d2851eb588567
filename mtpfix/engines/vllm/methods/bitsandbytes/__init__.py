"""bitsandbytes: every Linear in 4 or 8 bits, but for a list, and all routed experts.

Read as `BitsAndBytesConfig.from_config` reads it
(vLLM up to 0.27, `model_executor/layers/quantization/bitsandbytes.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod
from mtpfix.engines.vllm.methods.bitsandbytes import matcher
from mtpfix.engines.vllm.methods.shared.components import Leading
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location
from mtpfix.quant.spelling import COMPONENTS


class BitsAndBytes(UnmappedMethod):
    """bitsandbytes, whose entries are never exact: each may lead another name."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        bits = 8 if location.value.get("load_in_8bit") else 4
        return replace(super().read(location), format=f"bitsandbytes-{bits}bit")

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Leading:
        """Return the entries, as they are compared with names."""
        return Leading(entries)


METHODS = (
    BitsAndBytes(
        name="bitsandbytes",
        compares="an entry matches one component of a name, or its first components",
        key="llm_int8_skip_modules",
        spelling=COMPONENTS,
    ),
)
