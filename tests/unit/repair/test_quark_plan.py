"""Plans for MTP blocks beside a trunk that Quark quantized in another way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mtpfix.repair import patch
from mtpfix.repair.plan import Plan
from mtpfix.repair.planner import plan
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    Config,
    Tensors,
    cases,
    configs_of,
    tensors,
    view_of,
)
from tools import schemes

Stored = Callable[[str], Tensors]
CHANNEL: dict[str, Any] = {
    "weight": {"dtype": "fp8_e4m3", "qscheme": "per_channel", "symmetric": True},
    "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_channel", "is_dynamic": True},
}
EVERYTHING = ("_proj", "_with_mqa")


def quark(config: Config, **more: Any) -> Config:
    stated = {**schemes.quantization("quark-fp8"), "global_quant_config": CHANNEL}
    return {**config, "quantization_config": {**stated, "exclude": ["lm_head"], **more}}


def mxfp4(name: str) -> Tensors:
    return {f"{name}.weight": ("U8", (32, 16)), f"{name}.weight_scale": ("U8", (32, 1))}


def static(name: str) -> Tensors:
    scales: Tensors = {f"{name}.weight_scale": ("F32", ()), f"{name}.input_scale": ("F32", ())}
    return {f"{name}.weight": ("F8_E4M3", (8, 8)), **scales}


def native(name: str) -> Tensors:
    if ".experts." in name:
        return {f"{name}.weight": ("I8", (32, 16)), f"{name}.scale": ("F8_E8M0", (32, 1))}
    return {f"{name}.weight": ("F8_E4M3", (128, 128)), f"{name}.scale": ("F8_E8M0", (1, 1))}


def stored(config: Config, root: str, store: Stored, ends: Sequence[str]) -> Tensors:
    """Return the trunk in FP8 by channel, and what ends so below `root` in another way."""
    found = tensors(config)
    for name in [n.removesuffix(".weight") for n in found if n.endswith(".weight")]:
        if name.startswith(root) and name.endswith(tuple(ends)) and "eh_proj" not in name:
            del found[f"{name}.weight"]
            found.update(store(name))
    return found


def made(
    config: Config, found: Tensors, releases: Sequence[str] = ALL
) -> tuple[Plan, dict[str, Any]]:
    """Return the plan and the quantization after it."""
    planned = plan(cases(config, found, releases), view_of(config), configs=configs_of(config))
    after = json.loads(patch.apply(configs_of(config)["config.json"].raw, planned.edits))
    return planned, after["quantization_config"]


def wrong(config: Config, found: Tensors, after: dict[str, Any], release: str) -> list[str]:
    new = {**config, "quantization_config": after}
    (case,) = cases(new, found, (release,))
    reports = case.judged(view_of(new), case.draft)
    return [each.decision.module.name for each in reports if each.agrees is False]


@pytest.mark.parametrize("config", [DEEPSEEK, GLM])
@pytest.mark.parametrize("store", [mxfp4, static])
def test_a_block_of_another_format_gets_one_key(config: Config, store: Stored) -> None:
    found = stored(config, "model.layers.2.", store, EVERYTHING)
    planned, after = made(quark(config), found)
    assert list(after["layer_quant_config"]) == ["model.layers.2.*"]
    assert after["exclude"][0] == "lm_head"
    for release in ("0.20.2", "0.26.0", "0.33.0"):
        assert wrong(quark(config), found, after, release) == []
    assert len(planned.schemes) == 1


def test_what_is_unquantized_beside_it_is_excluded() -> None:
    found = stored(DEEPSEEK, "model.layers.2.mlp.experts.", mxfp4, ("_proj",))
    _, after = made(quark(DEEPSEEK), found)
    assert list(after["layer_quant_config"]) == ["model.layers.2.mlp.experts"]
    assert wrong(quark(DEEPSEEK), found, after, "0.33.0") == []


def test_a_key_that_fits_first_is_passed() -> None:
    config = quark(DEEPSEEK, layer_quant_config={"*": CHANNEL})
    found = stored(DEEPSEEK, "model.layers.2.", mxfp4, EVERYTHING)
    _, after = made(config, found)
    assert list(after["layer_quant_config"]) == ["model.layers.2.*", "*"]


def test_entries_that_exclude_what_is_quantized_are_narrowed() -> None:
    config = quark(
        DEEPSEEK, exclude=["lm_head", "model.layers.2.mlp.experts", "re:model.layers.2.*"]
    )
    found = stored(DEEPSEEK, "model.layers.2.", mxfp4, EVERYTHING)
    _, after = made(config, found)
    assert wrong(config, found, after, "0.33.0") == []


@pytest.mark.parametrize(
    ("release", "right"), [("0.27.1", False), ("0.28.0", True), ("0.29.0", True), ("0.30.0", False)]
)
def test_two_releases_can_serve_a_native_block_of_deepseek_v4(release: str, right: bool) -> None:
    """Only their block FP8 for Quark has `weight_scale_inv`, which the loader makes of `scale`."""
    config = quark(DEEPSEEK_V4)
    ends = ("_proj", ".w1", ".w2", ".w3", "wkv", "wo_a", "wo_b", "wq_a", "wq_b")
    found = stored(DEEPSEEK_V4, "mtp.0.", native, ends)
    planned, after = made(config, found, (release,))
    assert bool(planned.schemes) is right
    assert (wrong(config, found, after, release) == []) is right
