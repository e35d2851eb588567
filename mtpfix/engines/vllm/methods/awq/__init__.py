"""AWQ: one scheme for every layer, but for parts of names in a list.

Read as `AutoAWQConfig.from_config` reads it, and `AWQMarlinConfig` before 0.24
(vLLM, `model_executor/layers/quantization/auto_awq.py`, `awq_marlin.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, Method, Setting
from mtpfix.engines.vllm.methods.awq import matcher, refusal
from mtpfix.engines.vllm.methods.shared.moe_wna16 import falls_back
from mtpfix.engines.vllm.methods.shared.names import Parts
from mtpfix.model import Entry, QuantView
from mtpfix.quant import beside
from mtpfix.quant.spelling import PARTS


class Awq(Method):
    """AWQ, whose entries are never exact: any name may hold them."""

    def refusal(self, view: QuantView, context: Context) -> str | None:
        """Return what vLLM raises while it reads the metadata; None: nothing."""
        return refusal.refusal(view, context)

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""
        return matcher.decider(setting)

    def traits(self, view: QuantView, context: Context) -> Hashable:
        """Return whether experts fall back, as on ROCm they always do."""
        return falls_back(view, context)

    def listed(self, entries: Iterable[Entry], release: str) -> Parts:
        """Return the entries, as they are compared with names."""
        return Parts(entries)


METHODS = (
    Awq(
        name="awq",
        compares="an entry matches every name that contains it",
        aliases=("awq_marlin", "auto_awq"),
        format="awq",
        twin_files=beside.FILES,
        spelling=replace(PARTS, anywhere=True),
    ),
)
