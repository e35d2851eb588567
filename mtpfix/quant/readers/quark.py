"""quark: one configuration for all layers, others by name, and the list `exclude`.

Read as `QuarkConfig.from_config` of vLLM and of SGLang reads it (`quantization/quark/quark.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Group, QuantView
from mtpfix.quant.location import Location, entries, escape, mapping, refuse_too_many

METHOD = "quark"
_OBJECTS = ("global_quant_config", "layer_type_quant_config", "export")


def read(location: Location) -> QuantView:
    """Reads the metadata.

    The configurations by name are groups without weights: what they say stays in `raw`.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    for key in _OBJECTS:
        mapping(location.file, location.at(key), location.value.get(key))
    where = location.at("exclude")
    return QuantView(
        method=METHOD,
        file=location.file,
        pointer=location.pointer,
        ignore=entries(location.file, where, location.value.get("exclude")),
        ignore_pointer=where,
        groups=tuple(_groups(location)),
        format=None,
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null="exclude" in location.value and location.value["exclude"] is None,
    )


def _groups(location: Location) -> Iterator[Group]:
    key = "layer_quant_config"
    layers = mapping(location.file, location.at(key), location.value.get(key)) or {}
    refuse_too_many(location.file, location.at(key), len(layers))
    for name, value in layers.items():
        here = f"{location.at(key)}/{escape(name)}"
        if mapping(location.file, here, value) is None:
            raise BrokenFileError(
                f"{location.file}: {here} is not an object", "remove the empty key"
            )
        yield Group(name, (Entry(name, location.file, here),), None, None)
