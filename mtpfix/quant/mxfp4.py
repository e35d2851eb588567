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


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, "modules_to_not_convert", format="quark-mxfp4")
