"""humming: all that is not exempted by a list of parts of names, or by a `-:` rule.

Read as `HummingConfig.is_layer_skipped` reads it: the first of three lists that is there
(vLLM, `model_executor/layers/quantization/humming.py`).
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.lists import view
from mtpfix.quant.location import Location, mapping

METHOD = "humming"
LISTS = ("ignored_layers", "ignore", "modules_to_not_convert")
RULES = "dynamic"


def read(location: Location) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a list is none or holds something else than strings, or the rules
            are no object.
    """
    mapping(location.file, location.at(RULES), location.value.get(RULES))
    key = next((key for key in LISTS if key in location.value), LISTS[0])
    return view(location, METHOD, key, format=None)
