"""A vLLM of a few lines: what the plugin touches of it, and nothing else."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mtpfix.engines.vllm.policy import PLATFORMS
from mtpfix.serving import hook, plugin

SAMPLE = Path(__file__).parents[3] / "examples" / "deepseek-v4-like"
_HOOK = "__post_init__"
_LAYERS = "vllm.model_executor.layers"


class QuantConfig:
    """Reads any metadata, as far as it can be read."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantConfig:
        config["total_num_heads"] = 4  # vLLM writes into what it reads
        return cls()


class FakeConfig:
    """`VllmConfig`: resolves the quantization configuration last."""

    def __init__(self, model: Any, speculative: Any = None, load: str = "auto") -> None:
        self.model_config, self.speculative_config = model, speculative
        self.load_config = SimpleNamespace(load_format=load, download_dir=None)
        self.quant_config: Any = None
        self.__post_init__()

    def __post_init__(self) -> None:
        if self.quant_config is None and self.model_config is not None:
            hf_config = self.model_config.hf_config
            stated = getattr(hf_config, "quantization_config", None)
            self.quant_config = copy.deepcopy(stated)
            if stated is not None:
                QuantConfig.from_config(stated)


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose draft vLLM 0.32 builds wrong."""
    shutil.copytree(SAMPLE, tmp_path / "model")
    return tmp_path / "model"


class Stage:
    """A vLLM with the plugin installed, and one checkpoint.

    Attributes:
        vllm: the class of its configuration.
        folder: the checkpoint.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.folder = folder
        self.vllm: Any = type("VllmConfig", (FakeConfig,), {_HOOK: getattr(FakeConfig, _HOOK)})
        self.patch = monkeypatch
        self._caplog = caplog
        caplog.set_level(logging.DEBUG, "vllm.mtpfix")

    def register(self, value: str | None) -> None:
        """What vLLM does with a plugin, under a value of MTPFIX_PLUGIN."""
        if value is None:
            self.patch.delenv(plugin.SWITCH, raising=False)
        else:
            self.patch.setenv(plugin.SWITCH, value)
        plugin.register()

    def lines(self) -> list[str]:
        """What was logged, `LEVEL text`."""
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]

    def model(self, **other: Any) -> SimpleNamespace:
        """A `ModelConfig` as vLLM makes it."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        fields: dict[str, Any] = {
            "model": str(self.folder),
            "revision": None,
            "quantization": "compressed-tensors",
            "hf_config": SimpleNamespace(quantization_config=config["quantization_config"]),
            "hf_overrides": {},
            "hf_config_path": None,
            "hf_token": None,
            "config_format": "auto",
            **other,
        }
        return SimpleNamespace(**fields)

    def mtp(self, method: str = "mtp", **other: Any) -> SimpleNamespace:
        """A `SpeculativeConfig` for the MTP block of the checkpoint."""
        return SimpleNamespace(method=method, draft_model_config=self.model(**other))

    def start(self, load: str = "auto", **other: Any) -> Any:
        """The configuration of an engine."""
        return self.vllm(self.model(**other), self.mtp(**other), load)


@pytest.fixture
def stage(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Stage:
    """A vLLM 0.32 for CUDA."""
    made = Stage(folder, monkeypatch, caplog)
    on = {f"is_{name}": partial(bool, name == "cuda") for name in PLATFORMS}
    envs = SimpleNamespace(VLLM_USE_MODELSCOPE=False)
    for fake in (
        module("vllm", __version__="0.32.0+cu130", envs=envs),
        module("vllm.config", VllmConfig=made.vllm),
        module("vllm.platforms", current_platform=SimpleNamespace(**on)),
        module("vllm.model_executor"),
        module("vllm.model_executor.layers"),
        module(f"{_LAYERS}.quantization", get_quantization_config=lambda _: QuantConfig),
    ):
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
        above, _, name = fake.__name__.rpartition(".")
        if above:
            setattr(sys.modules[above], name, fake)
    hook.say.cache_clear()
    return made
