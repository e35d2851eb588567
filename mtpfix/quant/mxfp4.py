"""mxfp4: routed experts only, and no list has a say.

`Mxfp4Config.from_config` drops whatever the metadata holds
(vLLM, `model_executor/layers/quantization/mxfp4.py`); `modules_to_not_convert` is read
because other readers of the file go by it.
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "mxfp4"
METHODS = (METHOD, "gpt_oss_mxfp4")
"""The second is vLLM's own name for the first where the model is gpt-oss."""


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    method = str(place.value["quant_method"]).lower()
    return view(place, method, "modules_to_not_convert", format="quark-mxfp4")
