"""fp8, and what is matched like it: one scheme for every layer, but for a list of names.

fbgemm_fp8 is read as `FBGEMMFp8Config.from_config` reads it
(vLLM, `model_executor/layers/quantization/fbgemm_fp8.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.vllm.methods.fp8 import deepseek_v4, matcher, reader, refusal
from mtpfix.engines.vllm.methods.shared.names import Names
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location


class FbgemmFp8(Method):
    """fbgemm_fp8: what is common to all of them."""

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def listed(self, entries: Iterable[Entry], release: str) -> Names:
        """Return the entries, as they are compared with names."""
        return Names(entries)

    def exact(self, entry: Entry) -> bool:
        """Return whether it fits no end of a name, and no expert, whose parent it fits too."""
        return "experts" not in entry.text and entry.within is None


class Fp8(FbgemmFp8):
    """fp8, which has two keys for its list."""

    def read(self, location: Location) -> QuantView:
        """Return what metadata says."""
        return reader.read(location)


class DeepseekV4(Fp8):
    """deepseek_v4_fp8, where the model names the format of routed experts."""

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return deepseek_v4.decider(setting)

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return the class that a platform has for experts that ModelOpt kept."""
        return deepseek_v4.traits(view, context)


_COMPARES = "names are compared whole, without wildcards or patterns"

METHODS = (
    Fp8(name=reader.METHOD, compares=_COMPARES),
    DeepseekV4(name=reader.DEEPSEEK_V4, compares=_COMPARES, dialect=reader.METHOD),
    FbgemmFp8(name="fbgemm_fp8", compares=_COMPARES, format="fp8-channel"),
)
