"""Tiny models as SGLang reads them: data, `sglang_tiny.json`, over those of `tools.tiny`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mtpfix.engines.sglang import policy
from tools import tiny


@cache
def _models() -> dict[str, Any]:
    path = Path(__file__).with_name("sglang_tiny.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: spec for name, spec in found.items() if name != "//"}


def families() -> list[str]:
    """Return every tiny model, by the name of its recording."""
    return list(_models())


def like(family: str) -> str:
    """Return the tiny model of `tools.tiny` that a family's is made of, names on disk included."""
    found: str = _models()[family].get("like", family)
    return found


def schemes(family: str) -> tiny.Config:
    """Return the quantization configurations that a family alone is recorded under, by name."""
    found: tiny.Config = _models()[family].get("schemes", {})
    return found


def brief(family: str) -> bool:
    """Return whether the recorder asks about few schemes: others of its kind meet them all."""
    return bool(_models()[family].get("brief"))


def variant(family: str, scheme: str = "") -> str:
    """Return the variant of that model that SGLang's is made of, for a scheme."""
    found: dict[str, str] = _models()[family].get("variants", {})
    return found.get(scheme, found.get("*", tiny.BASE))


def config(family: str) -> tiny.Config:
    """Return the configuration of a tiny model, without quantization."""
    found = tiny.config(like(family), variant(family))
    tiny.merge(found, changes(family))
    return found


def arguments(stated: tiny.Config) -> dict[str, Any]:
    """Return what a server is told so that it builds the draft of a configuration."""
    family = policy.index().recognise(stated)
    return {} if family is None else policy.policy(family).record.arguments


def told(folder: Path) -> dict[str, Any]:
    """Return the same of a checkpoint."""
    return arguments(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def changes(family: str) -> tiny.Config:
    """Return what is otherwise in the configuration than for vLLM."""
    spec = _models()[family]
    repeated = spec.get("repeat", {}).items()
    return {**spec.get("set", {}), **{key: [value] * times for key, (value, times) in repeated}}


def adapt(folder: Path, family: str) -> None:
    """Make a checkpoint that `tools.forge` wrote one that SGLang reads."""
    path = folder / "config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    tiny.merge(stated, changes(family))
    path.write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def reshape(folder: Path, shape: tuple[int, ...]) -> Path:
    """Give all tensors of one element that shape: a vector of one, or a scalar."""
    tensors = {
        name: tensor.reshape(shape) if tensor.numel() == 1 else tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
