"""AWQ: one scheme for every layer, but for parts of names in `modules_to_not_convert`.

Read as `AutoAWQConfig.from_config` reads it, and `AWQMarlinConfig` before 0.24
(vLLM, `model_executor/layers/quantization/auto_awq.py`, `awq_marlin.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.place import Place
from mtpfix.quant.single import view

METHOD = "awq"
METHODS = ("awq", "awq_marlin", "auto_awq")
"""Names that vLLM takes for it."""
KEY = "modules_to_not_convert"


def read(place: Place) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: the list is none, or holds something else than strings.
    """
    return view(place, METHOD, KEY, format="awq")
