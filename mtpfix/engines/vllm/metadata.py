"""Which quantization metadata vLLM takes, and what it says.

It is looked for in the order in which vLLM looks (`ModelConfig` and `get_quant_config` of
`model_executor/model_loader/weight_utils.py`), and read by its method (`Method.read`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mtpfix.checkpoint.document import value_at
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.methods.fp8 import reader as fp8
from mtpfix.engines.vllm.methods.modelopt import reader as modelopt
from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Json, JsonFile, QuantView
from mtpfix.quant import Location
from mtpfix.quant.readers.modelopt import alone

UNJUDGED: Mapping[str, str] = {
    "cpu_awq": "vLLM has it up to 0.22, for CPUs only",
    "w4afp8": "vLLM has it from 0.34 on",
    "gguf": "its weights are in a .gguf file, which mtpfix does not read",
}
"""Methods of covered releases that mtpfix does not read, and why."""

PLACES = ("/quantization_config", "/text_config/quantization_config", "/compression_config")
"""Where vLLM looks for metadata in `config.json`, first things first."""
_HALF = "/text_config/compression_config"
"""Where vLLM looks for the name of the method, and for nothing else."""


def find(configs: Mapping[str, JsonFile]) -> Location | None:
    """The quantization metadata that vLLM would use, or None if there is none.

    Raises:
        BrokenFileError: it is no object, or stands where vLLM finds its name and not its content.
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
        if pointer == PLACES[0] and (beside := alone(configs)) is not None:
            return beside
    if isinstance(value_at(config.value, _HALF), Mapping):
        raise BrokenFileError(
            f"config.json: vLLM takes the method from {_HALF}, but does not read its content",
            "move the object to the top, as quantization_config",
        )
    return None


def overriding(view: QuantView) -> Mapping[str, Json] | None:
    """What vLLM must be given in the place of `quantization_config` to read what `view` says.

    None: what stands in another file is read all the same.
    """
    return view.raw if view.file == "config.json" else methods.of(view.method).overriding(view)


def method_of(location: Location) -> str:
    """The quantization method as vLLM names it; empty where the metadata has none."""
    stated = location.value.get("quant_method")
    if stated is None and modelopt.made(location.value):
        return modelopt.METHOD
    method = stated.lower().replace("_tensors", "-tensors") if isinstance(stated, str) else ""
    return fp8.method(location) if method == fp8.METHOD else method


def known(method: str) -> bool:
    """Whether mtpfix reads the metadata of a method, by any name that vLLM has for it."""
    return method in methods.BY_QUANT_METHOD


def akin(method: str, other: str) -> bool:
    """Whether the metadata of both methods is read alike."""
    return _dialect(method) == _dialect(other)


def _dialect(method: str) -> str | None:
    found = methods.BY_QUANT_METHOD.get(method)
    return None if found is None else found.dialect or found.name


def read(location: Location, configs: Mapping[str, JsonFile] = MappingProxyType({})) -> QuantView:
    """The metadata, read by its method.

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
        why = f": {UNJUDGED[name]}" if name in UNJUDGED else ""
        raise UnknownError(
            f"{location.file}: quantization method {name!r:.60} is not covered yet{why}",
            f"covered: {', '.join(sorted(methods.BY_QUANT_METHOD))}",
            code="MTP902",
        )
    return method.with_twins(method.read(location), configs)
