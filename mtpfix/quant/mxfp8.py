"""mxfp8: ModelOpt's MXFP8 as MiniMax writes it, with the list `ignored_layers`.

Read as `ModelOptMxFp8Config.from_config` reads it from 0.24 on
(vLLM, `model_executor/layers/quantization/modelopt.py`).
"""

from __future__ import annotations

from mtpfix.errors import BrokenFileError
from mtpfix.model import QuantView
from mtpfix.quant import modelopt
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "mxfp8"
KEY = "ignored_layers"


def read(place: Place) -> QuantView:
    """Reads the metadata; with an algorithm it is ModelOpt's own.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    if modelopt.NESTED in place.value or place.value.get("quant_algo"):
        return modelopt.read(place)
    if KEY in place.value and place.value[KEY] is None:
        raise BrokenFileError(f"{place.file}: {place.at(KEY)} is null", "write [], or no list")
    return view(place, METHOD, KEY, format="mxfp8")
