"""fp_quant: every Linear in FP4, but for `modules_to_not_convert`.

Read as `FPQuantConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/fp_quant.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "fp_quant"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "modules_to_not_convert", format=None)
