"""ModelOpt: where metadata stands, flat or nested, and the layers that have an algorithm each.

What else `config.json` and `hf_quant_config.json` say is read by each engine in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mtpfix.errors import BrokenFileError
from mtpfix.model import Group, Json, JsonFile
from mtpfix.quant.location import Location, keys, mapping

BESIDE = "hf_quant_config.json"
"""The file that ModelOpt writes beside `config.json`, in the nested form."""

NESTED = "quantization"
"""The key below which `hf_quant_config.json` has everything."""

LAYERS = "quantized_layers"
"""Which layer has which algorithm, where `quant_algo` is MIXED_PRECISION."""


def alone(configs: Mapping[str, JsonFile]) -> Location | None:
    """Return the file beside a `config.json` that says nothing of quantization, or None."""
    file = configs.get(BESIDE)
    return Location(BESIDE, "", file.value) if file and isinstance(file.value, Mapping) else None


def nested(location: Location) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """Return what the nested form states, and the keys that lead to it.

    Raises:
        BrokenFileError: it is null, or no object.
    """
    stated = mapping(location.file, location.at(NESTED), location.value[NESTED])
    if stated is None:
        raise BrokenFileError(f"{location.file}: {location.at(NESTED)} is null", "remove the key")
    return stated, (NESTED,)


def groups(
    location: Location, stated: Mapping[str, Json], here: tuple[str, ...]
) -> Iterator[Group]:
    """Yield the keys of `quantized_layers` as the targets of one group, where there are any.

    Raises:
        BrokenFileError: they are no object, or a layer has no algorithm.
    """
    where = location.at(*here, LAYERS)
    found = keys(location.file, where, stated.get(LAYERS))
    for entry in found:
        layer = mapping(location.file, entry.pointer, stated[LAYERS][entry.text])
        if layer is None or not isinstance(layer.get("quant_algo"), str):
            raise BrokenFileError(
                f"{location.file}: {entry.pointer} has no quant_algo",
                "name the algorithm of the layer",
            )
    if found:
        yield Group(LAYERS, found, None, None)
