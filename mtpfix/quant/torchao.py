"""torchao: one configuration for every Linear, or one by name, but for `modules_to_not_convert`.

Read as `TorchAOConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/torchao.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.model import Group, Json, QuantView
from mtpfix.quant.place import Place, entries, keys, mapping

METHOD = "torchao"
KEY = "modules_to_not_convert"
BY_NAME = "module_fqn_to_config"
"""Below `quant_type`: a configuration for each name, or none for those that stay plain."""
_DATA = ("quant_type", "default", "_data")


def read(place: Place) -> QuantView:
    """Reads the metadata; the names that have a configuration are the targets of one group.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    for depth in range(1, len(_DATA)):
        mapping(place.file, place.at(*_DATA[:depth]), _below(place.value, _DATA[:depth]))
    named = keys(place.file, place.at(*_DATA, BY_NAME), by_name(place.value) or None)
    where = place.at(KEY)
    return QuantView(
        method=METHOD,
        file=place.file,
        pointer=place.pointer,
        ignore=entries(place.file, where, place.value.get(KEY)),
        ignore_pointer=where,
        groups=(Group(BY_NAME, named, None, None),) if named else (),
        format=None,
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        null=KEY in place.value and place.value[KEY] is None,
    )


def by_name(raw: Mapping[str, Json]) -> Mapping[str, Json]:
    """The configurations by name; empty where there are none."""
    found = _below(raw, (*_DATA, BY_NAME))
    return found if isinstance(found, Mapping) else {}


def kind(raw: Mapping[str, Json]) -> Json:
    """The class of torchao's configuration, by its name."""
    return _below(raw, (*_DATA[:2], "_type"))


def _below(value: Json, path: tuple[str, ...]) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
