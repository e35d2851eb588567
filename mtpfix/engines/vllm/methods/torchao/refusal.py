"""torchao metadata that vLLM refuses while it reads it, before any module is built. Pure.

Source: `TorchAOConfig.from_config`.
"""

from __future__ import annotations

from mtpfix.model import QuantView


def refusal(view: QuantView) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    kinds = view.raw.get("quant_type")
    if kinds is None:
        return "AssertionError: quant_type must be specified"
    if list(kinds) != ["default"]:
        return "AssertionError: Expected only one key 'default' in quant_type"
    return None
