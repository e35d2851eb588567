"""experts_int8: routed experts are quantized while they are loaded; there is no list.

`ExpertsInt8Config.from_config` reads nothing
(vLLM, `model_executor/layers/quantization/experts_int8.py`). The key is the one that
transformers has for modules that stay as they are.
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "experts_int8"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "modules_to_not_convert", format="unquantized")
