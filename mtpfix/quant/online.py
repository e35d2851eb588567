"""Names of what vLLM does to plain weights while it loads them, standing as `quant_method`.

They are meant for `--quantization`: `OnlineQuantizationConfig.from_config` refuses a
checkpoint that has one (vLLM, `model_executor/layers/quantization/online/base.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "online"
METHODS = (
    METHOD,
    "fp8_per_block",
    "fp8_per_channel",
    "fp8_per_tensor",
    "int8_per_channel_weight_only",
    "nvfp4_per_token",
)
"""As `QUANTIZATION_METHODS` lists them."""


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "ignore", format=None)
