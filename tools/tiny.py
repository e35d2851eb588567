"""Tiny models of the families: their configurations, and what their checkpoints hold.

Each family's folder says it in two files: `tiny.json` is written by hand, `tiny_shapes.json`
by `tools.shapes`. What several families share stands in `tools/tiny.json`. Most families have
one tiny model, of their own name; those of several architectures have one for each.

A model in `tiny.json` puts blocks together (`use`; `text`, `llm` and `vision` for nested
configurations), takes fields out (`drop`) and sets them (`set`). Its `variants` set more.
`unfit` names the schemes that no sound checkpoint of it can be forged for, and why; `schemes`
the variant that a scheme is for; `brief` has the recorder ask about few. `names` is for
`tools.disk`.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "mtpfix" / "engines" / "vllm" / "families"
"""The folders of the families."""
SHAPES = "tiny_shapes.json"
"""The recording in a family's folder."""
BASE = "base"
"""Name of the variant that changes nothing."""
EXPERTS = 4
"""Routed experts of every tiny model that has any."""

Config = dict[str, Any]


def _read(path: Path) -> Config:
    data: Config = json.loads(path.read_text(encoding="utf-8"))
    return data


@cache
def shared() -> Config:
    """Return what several families share: blocks of configurations, and fused layers."""
    return _read(HERE / "tiny.json")


@cache
def _models() -> dict[str, Config]:
    """Return every tiny model, with the names that all of its family have."""
    found: dict[str, Config] = {}
    for path in sorted(FOLDER.glob("*/tiny.json")):
        data = _read(path)
        for model, spec in data["models"].items():
            names = {**data.get("names", {}), **spec.get("names", {})}
            found[model] = {"variants": {}, **spec, "names": names, "folder": path.parent}
    return found


def families() -> list[str]:
    """Every tiny model, by the name of its recordings."""
    return list(_models())


def folder(family: str) -> Path:
    """Return the folder of the family that a tiny model is of."""
    path: Path = _models()[family]["folder"]
    return path


def names(family: str) -> Config:
    """Return how a tiny model's tensors are named on disk, for `tools.disk`."""
    found: Config = _models()[family]["names"]
    return found


def variants(family: str) -> list[str]:
    """Variants of a family, the plain one first."""
    return [BASE, *_models()[family]["variants"]]


def brief(family: str) -> bool:
    """Whether the recorder asks about few schemes: others of its kind have met them all."""
    return bool(_models()[family].get("brief"))


def unfit(family: str) -> dict[str, str]:
    """Schemes that no sound checkpoint of the family can be forged for, and why."""
    reasons: dict[str, str] = _models()[family].get("unfit", {})
    return reasons


def variant(family: str, scheme: str) -> str:
    """The variant of a family that a scheme is for, where it is not the base.

    `schemes` names it by scheme, or for all of them (`*`) where no release loads the base.
    """
    found: dict[str, str] = _models()[family].get("schemes", {})
    return found.get(scheme, found.get("*", BASE))


def config(family: str, variant: str = BASE) -> Config:
    """The tiny configuration of a family, without quantization."""
    spec = _models()[family]
    result = _blocks(spec["use"])
    for part in ("text", "vision", "llm"):
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
        result.update(copy.deepcopy(shared()["blocks"][name]))
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
    nested: Config = config.get("text_config") or config.get("llm_config") or config
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
def shapes(family: str) -> Config:
    """Return what is recorded of the tensors of a family, by `model/variant`."""
    path = folder(family) / SHAPES
    return _read(path) if path.is_file() else {}


def measured(family: str) -> bool:
    """Return whether the tensors of all its variants are recorded."""
    return shapes(family).keys() >= {f"{family}/{each}" for each in variants(family)}


def tensors(family: str, variant: str, part: str) -> list[Stored]:
    """What an unquantized checkpoint holds for one part of the model."""
    known = shapes(family)
    found = known[f"{family}/{variant}"][part]
    if found == BASE:
        found = known[f"{family}/{BASE}"][part]
    return [
        Stored(name.replace("*", str(i)), *_stored(text))
        for name, text in found.items()
        for i in range(EXPERTS if "*" in name else 1)
    ]


def _stored(text: str) -> tuple[tuple[int, ...], str, bool]:
    size, dtype, *mark = text.split(" ")
    return tuple(int(n) for n in size.split("x")), dtype, mark == ["q"]
