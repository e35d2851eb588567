"""What it takes to construct K-EXAONE (ExaoneMoE) on a CPU."""

from __future__ import annotations

from ..._child.patch import module, patch


@patch(until=(0, 31))
def exaone_config() -> None:
    """EXAONE's configuration gets the per-layer lists that the installed transformers dropped."""
    holder = module("transformers.models.exaone_moe.configuration_exaone_moe")
    if holder is None:
        return
    defaults = {
        "sliding_windows": None,
        "mtp_sliding_windows": None,
        "mtp_layer_types": "full_attention",
    }
    for name, value in defaults.items():
        if not hasattr(holder.ExaoneMoeConfig, name):
            setattr(holder.ExaoneMoeConfig, name, [value] * 64)
