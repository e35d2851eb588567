"""torchao: one configuration for every Linear, or one by name, but for `modules_to_not_convert`.

Read as `TorchAOConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/torchao.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.model import Group, Json
from mtpfix.quant.location import Location, keys, mapping

BY_NAME = "module_fqn_to_config"
"""Below `quant_type`: a configuration for each name, or none for those that stay plain."""
_DATA = ("quant_type", "default", "_data")


def groups(location: Location) -> tuple[Group, ...]:
    """The names that have a configuration, as the targets of one group.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    for depth in range(1, len(_DATA)):
        mapping(location.file, location.at(*_DATA[:depth]), _below(location.value, _DATA[:depth]))
    found = by_name(location.value) or None
    named = keys(location.file, location.at(*_DATA, BY_NAME), found)
    return (Group(BY_NAME, named, None, None),) if named else ()


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
