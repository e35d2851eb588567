"""Tiny configurations of the families, and what their checkpoints hold.

Configurations come from `tiny_configs.json`; names and shapes of tensors from
`tiny_shapes.json`, which `tools.shapes` records.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPES = HERE / "tiny_shapes.json"
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


def brief(family: str) -> bool:
    """Whether the recorder asks about few schemes: others of its kind have met them all."""
    return bool(_data()["families"][family].get("brief"))


def unfit(family: str) -> dict[str, str]:
    """Schemes that no sound checkpoint of the family can be forged for, and why."""
    reasons: dict[str, str] = _data()["families"][family].get("unfit", {})
    return reasons


def variant(family: str, scheme: str) -> str:
    """The variant of a family that a scheme is for, where it is not the base.

    `schemes` names it by scheme, or for all of them (`*`) where no release loads the base.
    """
    found: dict[str, str] = _data()["families"][family].get("schemes", {})
    return found.get(scheme, found.get("*", BASE))


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


# --- tensors -------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """One tensor of an unquantized checkpoint."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantizable: bool
    """Whether vLLM quantizes its module where the target is `Linear`."""

    @property
    def matrix(self) -> bool:
        """Whether it is the weight of a layer that could be quantized."""
        return self.name.endswith(".weight") and len(self.shape) > 1


@cache
def _shapes() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(SHAPES.read_text(encoding="utf-8"))
    return data


def tensors(family: str, variant: str, part: str) -> list[Stored]:
    """What an unquantized checkpoint holds for one part of the model."""
    found = _shapes()[f"{family}/{variant}"][part]
    if found == BASE:
        found = _shapes()[f"{family}/{BASE}"][part]
    return [
        Stored(name.replace("*", str(i)), *_stored(text))
        for name, text in found.items()
        for i in range(_shapes()["experts"] if "*" in name else 1)
    ]


def _stored(text: str) -> tuple[tuple[int, ...], str, bool]:
    size, dtype, *mark = text.split(" ")
    return tuple(int(n) for n in size.split("x")), dtype, mark == ["q"]
