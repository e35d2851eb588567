"""Tiny configurations of the families, read from `tiny_configs.json`."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BASE = "base"
"""Name of the variant that changes nothing."""

Config = dict[str, Any]


@cache
def _data() -> Config:
    data: Config = json.loads((HERE / "tiny_configs.json").read_text(encoding="utf-8"))
    return data


def families() -> list[str]:
    """Every family that has a tiny configuration."""
    return list(_data()["families"])


def variants(family: str) -> list[str]:
    """Variants of a family, the plain one first."""
    return [BASE, *_data()["families"][family]["variants"]]


def config(family: str, variant: str = BASE) -> Config:
    """The tiny configuration of a family, without quantization."""
    spec = _data()["families"][family]
    result = _blocks(spec["use"])
    for part in ("text", "vision"):
        if part in spec:
            result[f"{part}_config"] = _blocks(spec[part])
    for field in spec.get("drop", ()):
        del result[field]
    merge(result, spec["set"])
    if variant != BASE:
        merge(result, spec["variants"][variant])
    return result


def _blocks(names: list[str]) -> Config:
    result: Config = {}
    for name in names:
        result.update(copy.deepcopy(_data()["blocks"][name]))
    return result


def merge(into: Config, changes: Config) -> None:
    """Sets fields, in nested objects too."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def text(config: Config) -> Config:
    """The part that describes the language model."""
    nested: Config = config.get("text_config", config)
    return nested
