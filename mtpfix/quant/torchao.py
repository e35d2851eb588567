"""torchao: one configuration for every Linear, or one by name, but for `modules_to_not_convert`.

Read as `TorchAOConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/torchao.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mtpfix.model import Group, Json, QuantView
from mtpfix.quant.place import Place, keys, mapping
from mtpfix.quant.single import view

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
    groups = (Group(BY_NAME, named, None, None),) if named else ()
    return replace(view(place, METHOD, KEY, format=None), groups=groups)


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
