"""quark: one configuration for all layers, others by name, and the list `exclude`.

Read as `QuarkConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/quark/quark.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Group, QuantView
from mtpfix.quant.place import Place, entries, escape, mapping

METHOD = "quark"
_OBJECTS = ("global_quant_config", "layer_type_quant_config", "export")


def read(place: Place) -> QuantView:
    """Reads the metadata.

    The configurations by name are groups without weights: what they say stays in `raw`.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    for key in _OBJECTS:
        mapping(place.file, place.at(key), place.value.get(key))
    where = place.at("exclude")
    return QuantView(
        method=METHOD,
        file=place.file,
        pointer=place.pointer,
        ignore=entries(place.file, where, place.value.get("exclude")),
        ignore_pointer=where,
        groups=tuple(_groups(place)),
        format=None,
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        null="exclude" in place.value and place.value["exclude"] is None,
    )


def _groups(place: Place) -> Iterator[Group]:
    key = "layer_quant_config"
    layers = mapping(place.file, place.at(key), place.value.get(key)) or {}
    for name, value in layers.items():
        here = f"{place.at(key)}/{escape(name)}"
        if mapping(place.file, here, value) is None:
            raise BrokenFileError(f"{place.file}: {here} is not an object", "remove the empty key")
        yield Group(name, (Entry(name, place.file, here),), None, None)
