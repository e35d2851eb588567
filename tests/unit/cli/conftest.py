"""A tiny checkpoint, and a way to run the command line on it."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mtpfix.cli import main

Json = dict[str, Any]
Header = dict[str, tuple[str, tuple[int, ...]]]

_SIZES = {"BF16": 2, "F8_E4M3": 1}
_WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
_INPUTS = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True, "symmetric": True}

CONFIG: Json = {
    "architectures": ["MiMoForCausalLM"],
    "model_type": "mimo",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 1,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": _WEIGHTS, "input_activations": _INPUTS}
        },
    },
}

_LINEAR = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)


_NORMS = ("token", "hidden", "input", "post_attention", "final")


def header() -> Header:
    """Two quantized layers, and an MTP layer in BF16."""
    plain = ("model.embed_tokens", "lm_head", "model.norm")
    tensors: Header = {f"{name}.weight": ("BF16", (4, 4)) for name in plain}
    for layer in range(2):
        for name in _LINEAR:
            tensors[f"model.layers.{layer}.{name}.weight"] = ("F8_E4M3", (4, 4))
            tensors[f"model.layers.{layer}.{name}.weight_scale"] = ("BF16", (4, 1))
    for name in ("input_proj", *_LINEAR):
        tensors[f"model.mtp_layers.0.{name}.weight"] = ("BF16", (4, 4))
    for name in _NORMS:
        tensors[f"model.mtp_layers.0.{name}_layernorm.weight"] = ("BF16", (4,))
    for name in "qkv":
        tensors[f"model.mtp_layers.0.self_attn.{name}_proj.bias"] = ("BF16", (4,))
    return tensors


def safetensors(tensors: Header) -> bytes:
    """A whole file, its data all zero."""
    entries: Json = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, size = end, _SIZES[dtype]
        for length in shape:
            size *= length
        end = begin + size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    head = json.dumps(entries).encode()
    return struct.pack("<Q", len(head)) + head + bytes(end)


class Folder:
    """A checkpoint that a test may spoil."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = copy.deepcopy(CONFIG)
        path.mkdir()
        self.tensors(header())
        self.save()

    def __str__(self) -> str:
        return str(self.path)

    def tensors(self, tensors: Header) -> None:
        (self.path / "model.safetensors").write_bytes(safetensors(tensors))

    def save(self, **changes: Any) -> None:
        """Writes config.json, with some fields changed; None takes a field away."""
        for key, value in changes.items():
            self.config[key] = value
            if value is None:
                del self.config[key]
        text = json.dumps(self.config, indent=2)
        (self.path / "config.json").write_text(text, encoding="utf-8")

    def ignore(self, *entries: str) -> None:
        self.config["quantization_config"]["ignore"] = list(entries)
        self.save()

    def ignored(self) -> list[str]:
        """Return the ignore list as it is on disk."""
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        entries: list[str] = config["quantization_config"]["ignore"]
        return entries

    def bytes(self) -> dict[str, bytes]:
        """The content of every file."""
        return {p.name: p.read_bytes() for p in sorted(self.path.iterdir()) if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "model")


class Ran(NamedTuple):
    """What a run came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process, at 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "MTPFIX_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def go(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return go
