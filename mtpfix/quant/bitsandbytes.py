"""bitsandbytes: every Linear in 4 or 8 bits, but for `llm_int8_skip_modules`.

Read as `BitsAndBytesConfig.from_config` reads it
(vLLM up to 0.27, `model_executor/layers/quantization/bitsandbytes.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "bitsandbytes"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    bits = 8 if place.value.get("load_in_8bit") else 4
    return view(place, METHOD, "llm_int8_skip_modules", format=f"bitsandbytes-{bits}bit")
