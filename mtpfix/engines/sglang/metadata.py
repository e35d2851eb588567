"""Which quantization metadata SGLang takes, and what it says.

It is looked for in the order in which SGLang looks (`ModelConfig._parse_quant_hf_config`), and read
by its method (`Method.read`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.checkpoint.document import value_at
from mtpfix.engines.sglang import methods
from mtpfix.engines.sglang.methods.modelopt import reader as modelopt
from mtpfix.engines.sglang.methods.modelopt import selection
from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import JsonFile, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers.modelopt import alone

PLACES = ("/quantization_config", "/compression_config")
"""Where SGLang looks for metadata in `config.json`, first things first."""


def find(configs: Mapping[str, JsonFile]) -> Location | None:
    """Return the quantization metadata that SGLang would use, or None if there is none.

    Raises:
        BrokenFileError: it is no object.
    """
    config = configs.get("config.json")
    if config is None:
        return None
    for pointer in PLACES:
        value = value_at(config.value, pointer)
        if isinstance(value, Mapping):
            found = Location("config.json", pointer, value, str(config.value.get("model_type")))
            return modelopt.elsewhere(found, configs) or found
        if value is not None:
            raise BrokenFileError(
                f"config.json: {pointer} is not an object",
                "restore the quantization_config that the quantizer wrote",
            )
    return alone(configs)


def method_of(location: Location) -> str:
    """Return the quantization method as SGLang names it; empty where the metadata has none."""
    stated = location.value.get("quant_method")
    if stated in (None, selection.ANY):
        made = selection.algorithm(location.value)
        return selection.newest(location.value) if isinstance(made, str) else ""
    name = str(stated).lower().replace("_tensors", "-tensors")
    # ModelOpt's own name alone counts only as it is spelled.
    return str(stated) if name == selection.ANY else name


def read(location: Location, configs: Mapping[str, JsonFile]) -> QuantView:
    """Return the metadata, read by its method.

    Args:
        location: the metadata.
        configs: the files among which it was found, for those that say the same.

    Raises:
        UnknownError: mtpfix does not know the method.
        BrokenFileError: the metadata is malformed.
    """
    name = method_of(location)
    method = methods.BY_QUANT_METHOD.get(name)
    if method is None:
        raise UnknownError(
            f"{location.file}: quantization method {name!r:.60} is not covered for SGLang",
            f"covered: {', '.join(sorted(methods.BY_QUANT_METHOD))}",
            code="MTP902",
        )
    return method.with_twins(method.read(location), configs)
