"""fbgemm_fp8: every Linear in FP8, but for `modules_to_not_convert`.

Read as `FBGEMMFp8Config.from_config` reads it
(vLLM, `model_executor/layers/quantization/fbgemm_fp8.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "fbgemm_fp8"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "modules_to_not_convert", format="fp8-channel")
