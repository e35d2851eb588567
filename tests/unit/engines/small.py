"""Small checkpoints, written as literals, that the tests of the pure stages share."""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.policy import covered_releases
from mtpfix.model import (
    Checkpoint,
    JsonFile,
    Listing,
    Module,
    Part,
    Platform,
    Problem,
    QuantView,
    Target,
    Tensor,
)
from tools.sample import Entry, Tensors, write_shard

Config = dict[str, Any]

PARTS: tuple[Part, ...] = ("trunk", "draft")
NEWEST = covered_releases()[-1]
ALL = covered_releases()

FP8: Config = {
    "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
    "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
}
"""A group in FP8 with a scale for each channel."""

GLM: Config = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": 1,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
}
MIMO: Config = {
    "architectures": ["MiMoForCausalLM"],
    "model_type": "mimo",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
}
DEEPSEEK: Config = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": 1,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "q_lora_rank": 8,
}
DEEPSEEK_V4: Config = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "compress_ratios": [4, 128, 0],
}
STEP5: Config = {
    "architectures": ["Step5ForCausalLM"],
    "model_type": "step5",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "sparse_config": {},
    "use_head_wise_attn_gate": True,
}
QWEN_NEXT: Config = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "num_experts": 2,
    "full_attention_interval": 2,
}

STEP: Config = {
    "architectures": ["Step3p5ForCausalLM"],
    "model_type": "step3p5",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "moe_num_experts": 2,
}


def with_list(config: Config, ignore: Any = (), **more: Any) -> Config:
    """A configuration with FP8 for every Linear and an ignore list."""
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], **FP8}},
        "ignore": list(ignore) if isinstance(ignore, tuple) else ignore,
        **more,
    }
    return {**config, "quantization_config": quantization}


def view_of(config: Config) -> QuantView:
    """The metadata of a configuration, as the dialect reads it."""
    place = metadata.find(configs_of(config))
    assert place is not None
    return metadata.read(place)


def configs_of(config: Config) -> dict[str, JsonFile]:
    raw = json.dumps(config, indent=2).encode()
    return {"config.json": JsonFile("config.json", raw, config)}


def context(config: Config, release: str = NEWEST, platform: Platform = "cuda") -> Context:
    place = metadata.find(configs_of(config))
    method = "compressed-tensors" if place is None else metadata.method_of(place)
    return construction.context(known(config), config, release, platform, method)


def with_fp8(config: Config, *ignore: str, **more: Any) -> Config:
    """A configuration in block FP8 with a list of exact names."""
    quantization = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "ignored_layers": list(ignore),
        **more,
    }
    return {**config, "quantization_config": quantization}


def known(config: Config) -> policy.Policy:
    family = policy.recognise(config)
    assert family is not None
    return policy.policy(family)


def modules(
    config: Config, part: Part = "draft", release: str = NEWEST, platform: Platform = "cuda"
) -> tuple[Module, ...]:
    return construction.modules(known(config), context(config, release, platform), part)


def bf16(module: str) -> Tensors:
    return {f"{module}.weight": ("BF16", (8, 8))}


def fp8(module: str) -> Tensors:
    return {f"{module}.weight": ("F8_E4M3", (8, 8)), f"{module}.weight_scale": ("BF16", (8, 1))}


def tensors(config: Config, quantized: Iterable[str] = (), drop: Iterable[str] = ()) -> Tensors:
    """All tensors: the trunk in FP8, the draft in BF16.

    Args:
        config: the model.
        quantized: names on disk, or ends of them, of draft modules that are in FP8, too.
        drop: names on disk, or ends of them, that are left out.
    """
    found: Tensors = {}
    for part in PARTS:
        for module in modules(config, part):
            for name in written_out(module):
                if (
                    name in module.stacked
                    or name.endswith(tuple(drop))
                    or f"{name}.weight" in found
                ):
                    continue
                plain = part == "draft" and not name.endswith(tuple(quantized))
                plain = plain or not module.asks or module.kind in ("lm_head", "embedding")
                found.update(bf16(name) if plain else fp8(name))
    for each in construction.plain(known(config), context(config)):
        if not each.name.removesuffix(".weight").endswith(tuple(drop)):
            found.setdefault(each.name, ("BF16", (8,)))
    if config.get("model_type") == "mimo":  # what is attended to has biases, whatever it says
        for shard in ("q_proj", "k_proj", "v_proj"):
            found[f"model.mtp_layers.0.self_attn.{shard}.bias"] = ("BF16", (8,))
    return found


def checkpoint(
    config: Config, tensors: Mapping[str, Entry], problems: Sequence[Problem] = ()
) -> Checkpoint:
    header = {name: Tensor(dtype, shape, 0, 0) for name, (dtype, shape) in tensors.items()}
    shards = dict.fromkeys(header, "model.safetensors")
    listing = Listing(
        Target("local", "x"), ("model.safetensors",), configs_of(config), shards, "headers"
    )
    return Checkpoint(listing, {"model.safetensors": header}, tuple(problems))


def case(
    config: Config,
    found: Mapping[str, Entry] | None = None,
    release: str = NEWEST,
    platform: Platform = "cuda",
) -> Case:
    """One checkpoint under one release."""
    stored = tensors(config) if found is None else found
    inventory = Inventory(checkpoint(config, stored))
    return Case(known(config), context(config, release, platform), inventory)


def cases(
    config: Config, found: Mapping[str, Entry] | None = None, releases: Iterable[str] = (NEWEST,)
) -> tuple[Case, ...]:
    """One checkpoint under several releases; the headers are shared."""
    stored = tensors(config) if found is None else found
    inventory = Inventory(checkpoint(config, stored))
    return tuple(Case(known(config), context(config, r), inventory) for r in releases)


def write(folder: Path, config: Config, tensors: Mapping[str, Entry]) -> Path:
    """Writes `config.json` and one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_shard(folder / "model.safetensors", tensors)
    return folder


class _TooSlowError(Exception):
    """Raised by the alarm of `at_most`."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails the test when the block takes longer; skips it where there is no alarm."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("needs an alarm")

    def ring(*_: object) -> None:
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, ring)
    gc.disable()  # what rings inside a callback of the collector is lost
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    slow = False
    try:
        yield
    except _TooSlowError:
        slow = True  # its traceback holds all that was made so far
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert not slow, f"took more than {seconds} s"
