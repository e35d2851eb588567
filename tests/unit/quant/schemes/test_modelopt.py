"""mtpfix.quant.schemes.modelopt: which algorithm says which scheme, and under which keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix.checkpoint.scheme import Scheme
from mtpfix.engines.registry import engine
from mtpfix.model import Edit, JsonFile, Kind, QuantView
from mtpfix.quant.schemes import Proposal
from mtpfix.quant.schemes.modelopt import proposals, with_layers
from mtpfix.quant.schemes.share import Block, Names, Share
from mtpfix.repair import patch

ROOT = "model.layers.2"
ON_DISK = (
    *(f"{ROOT}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj")),
    *(f"{ROOT}.mlp.experts.{number}.gate_proj" for number in range(3)),
)
QKV, EXPERTS = f"{ROOT}.self_attn.qkv_proj", f"{ROOT}.mlp.experts"
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]}
FP8 = Scheme("fp8-tensor", inputs=frozenset({"input_scale"}))
TRUNK = ("model.layers.0.mlp.experts.0.w1", "model.layers.0.mlp.experts.1.w1", "model.layers.0.o")


def files(
    quantization: dict[str, Any], beside: dict[str, Any] | None = None
) -> dict[str, JsonFile]:
    found = {"config.json": {"quantization_config": quantization}}
    if beside is not None:
        found["hf_quant_config.json"] = {"producer": {"name": "modelopt"}, "quantization": beside}
    return {
        name: JsonFile(name, json.dumps(value).encode(), value) for name, value in found.items()
    }


def read(configs: dict[str, JsonFile]) -> QuantView:
    view = engine("vllm").metadata(configs)
    assert view is not None
    return view


def share(scheme: Scheme, kinds: tuple[Kind, ...] = ("linear", "experts")) -> Share:
    modules: tuple[tuple[Kind, str], ...] = (("linear", QKV), ("experts", EXPERTS))
    asked = (QKV, *ON_DISK[:3], EXPERTS)
    return Share(
        scheme=scheme,
        names=asked,
        modules=tuple(module for module in modules if module[0] in kinds),
        selectors=(),
        on_disk=ON_DISK,
        wrong=Names(ON_DISK, (QKV, EXPERTS), asked),
    )


def block(
    quantization: dict[str, Any], *shares: Share, beside: dict[str, Any] | None = None, **more: Any
) -> Block:
    configs = files(quantization, beside)
    return Block(view=read(configs), configs=configs, shares=shares, trunk=TRUNK, **more)


def after(configs: dict[str, JsonFile], edits: tuple[Edit, ...]) -> dict[str, Any]:
    """Return what each edited file says of quantization."""
    found = {}
    for name in dict.fromkeys(edit.file for edit in edits):
        raw = patch.apply(configs[name].raw, [edit for edit in edits if edit.file == name])
        value = json.loads(raw)
        found[name] = value.get("quantization_config") or value["quantization"]
    return found


def first(asked: Block) -> tuple[Proposal, dict[str, Any]]:
    made = min(proposals(asked), key=lambda proposal: proposal.entries)
    return made, after(dict(asked.configs), made.edits)["config.json"]


@pytest.mark.parametrize(
    ("scheme", "row"),
    [
        (FP8, {"quant_algo": "FP8"}),
        (Scheme("fp8-channel"), {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}),
        (Scheme("fp8-block", block=(128, 128)), {"quant_algo": "FP8_PB_WO"}),
        (Scheme("mxfp8"), {"quant_algo": "MXFP8"}),
        (
            Scheme("modelopt-nvfp4", inputs=frozenset({"input_scale"})),
            {"quant_algo": "NVFP4", "group_size": 16},
        ),
        (Scheme("modelopt-nvfp4"), {"quant_algo": "W4A16_NVFP4", "group_size": 16}),
    ],
)
def test_an_algorithm_for_each_format(scheme: Scheme, row: dict[str, Any]) -> None:
    made, stated = first(block(NVFP4, share(scheme)))
    assert stated["quant_algo"] == "MIXED_PRECISION"
    assert stated["quantized_layers"][EXPERTS] == row
    assert row["quant_algo"] in made.schemes[1]
    assert made.whole


def test_what_was_quantized_is_named_with_experts_by_their_parent() -> None:
    made, stated = first(block(NVFP4, share(FP8)))
    assert list(stated["quantized_layers"]) == [
        *("model.layers.0.mlp.experts", "model.layers.0.o"),
        *ON_DISK[:3],
        EXPERTS,
    ]
    assert stated["quantized_layers"]["model.layers.0.o"] == {
        "quant_algo": "NVFP4",
        "group_size": 16,
    }
    assert made.entries == 6
    assert stated["ignore"] == ["lm_head"]


def test_names_that_engines_alone_ask_by_come_with_more_keys() -> None:
    asked = block(NVFP4, share(FP8), trunk_names=("model.layers.0.qkv",))
    made = [after(dict(asked.configs), each.edits)["config.json"] for each in proposals(asked)]
    names = [set(each["quantized_layers"]) for each in made]
    assert QKV not in names[0]
    assert QKV in names[1]
    assert ["model.layers.0.qkv" in each for each in names] == [False] * 3 + [True] * 3


def test_weights_alone_stay_so() -> None:
    groups = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4}}}
    _, stated = first(block({**NVFP4, "config_groups": groups}, share(FP8)))
    assert stated["quantized_layers"]["model.layers.0.o"]["quant_algo"] == "W4A16_NVFP4"


def test_a_block_without_a_quantized_module_needs_the_names_of_the_target_alone() -> None:
    _, stated = first(block(NVFP4))
    assert list(stated["quantized_layers"]) == ["model.layers.0.mlp.experts", "model.layers.0.o"]


def test_both_files_are_in_step() -> None:
    beside = {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}
    asked = block(NVFP4, share(FP8), beside=beside)
    made = after(dict(asked.configs), next(proposals(asked)).edits)
    flat, nested = made["config.json"], made["hf_quant_config.json"]
    assert flat["quantized_layers"] == nested["quantized_layers"]
    assert flat["quant_algo"] == nested["quant_algo"] == "MIXED_PRECISION"
    assert nested["exclude_modules"] == ["lm_head"]


# --- where each layer has an algorithm already ----------------------------------------


def mixed(**layers: str) -> dict[str, Any]:
    rows = {name: {"quant_algo": algorithm} for name, algorithm in layers.items()}
    return {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": {"model.layers.0.o": {"quant_algo": "NVFP4"}, **rows},
    }


def test_keys_are_added_and_those_that_are_there_stay() -> None:
    made, stated = first(block(mixed(**{"model.layers.3.mlp.experts": "FP8"}), share(FP8)))
    assert list(stated["quantized_layers"]) == [
        *("model.layers.0.o", "model.layers.3.mlp.experts"),
        *ON_DISK[:3],
        EXPERTS,
    ]
    assert made.entries == 4
    assert not made.whole


def test_an_algorithm_that_is_not_on_disk_is_replaced() -> None:
    before = mixed(**{ON_DISK[0]: "NVFP4", EXPERTS: "fp8"})
    made, stated = first(block(before, share(FP8)))
    assert stated["quantized_layers"][ON_DISK[0]] == {"quant_algo": "FP8"}
    assert stated["quantized_layers"][EXPERTS] == {"quant_algo": "fp8"}
    assert made.entries == 3


def test_a_file_that_is_not_read_gets_no_layers_of_its_own() -> None:
    nested = {**mixed(), "exclude_modules": []}
    asked = block({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, beside=nested)
    assert asked.view.file == "hf_quant_config.json"
    edits = with_layers(asked.view, asked.configs, (), {"mtp.fc": {"quant_algo": "FP8"}})
    assert [edit.file for edit in edits] == ["hf_quant_config.json"]


# --- what it cannot say ---------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme", [Scheme("int-pack"), Scheme("nvfp4-pack"), Scheme("fp8-block", block=(64, 64))]
)
def test_some_schemes_have_no_algorithm(scheme: Scheme) -> None:
    assert list(proposals(block(mixed(), share(scheme)))) == []


def test_blocks_of_another_size_are_for_routed_experts_alone() -> None:
    scheme = Scheme("fp8-block", block=(64, 64))
    _, stated = first(block(mixed(), share(scheme, ("experts",))))
    assert stated["quantized_layers"][EXPERTS] == {"quant_algo": "FP8_PB_WO", "group_size": 64}
    assert not list(proposals(block(mixed(a="FP8_PB_WO"), share(scheme, ("experts",)))))
    wide = Scheme("fp8-block", block=(64, 128))
    assert not list(proposals(block(mixed(), share(wide, ("experts",)))))


def test_mxfp8_that_names_no_algorithm_is_left_alone() -> None:
    stated = {"quant_method": "mxfp8", "ignored_layers": ["lm_head"]}
    assert not list(proposals(block(stated, share(FP8))))


@pytest.mark.parametrize(
    ("stated", "latent", "kept"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_scales_of_a_cache_that_would_be_dropped_forbid_it(
    stated: bool,
    latent: bool,
    kept: bool,
) -> None:
    scheme = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}} if stated else {}
    asked = block({**NVFP4, **scheme}, share(FP8), cache_scales=True, latent=latent)
    assert bool(list(proposals(asked))) is kept


@pytest.mark.parametrize("size", ["16", None, [16], 16.5, {}])
def test_a_group_size_of_any_type_is_passed_on(size: Any) -> None:
    _, stated = first(block({**NVFP4, "group_size": size}, share(FP8)))
    assert json.dumps(stated["quantized_layers"]["model.layers.0.o"])


@pytest.mark.parametrize("size", [[64], {}, "128", None])
def test_a_block_size_of_any_type_is_no_traceback(size: Any) -> None:
    stated = mixed(a="FP8_PB_WO")
    stated["quantized_layers"]["a"]["group_size"] = size
    scheme = Scheme("fp8-block", block=(128, 128))
    assert len(list(proposals(block(stated, share(scheme))))) in (0, 3)
