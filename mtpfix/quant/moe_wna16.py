"""moe_wna16: a method that vLLM takes from the command line, and refuses as `quant_method`.

`MoeWNA16Config.from_config` looks for `gptq` or `awq` under the very key that chose it
(vLLM, `model_executor/layers/quantization/moe_wna16.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "moe_wna16"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "modules_to_not_convert", format="gptq")
