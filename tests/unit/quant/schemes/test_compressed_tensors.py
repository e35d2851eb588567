"""Config groups for a quantized MTP block: planned by trial, read by compressed-tensors itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mtpfix.model import Edit
from mtpfix.repair import patch
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    DEEPSEEK_V4,
    FP8,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    Config,
    Tensors,
    cases,
    configs_of,
    tensors,
    view_of,
    with_list,
)
from tools.sample import Entry

STORED: Mapping[str, Mapping[str, Entry]] = {
    "fp8-block": {"weight": ("F8_E4M3", (256, 256)), "weight_scale": ("BF16", (2, 2))},
    "fp8-channel": {"weight": ("F8_E4M3", (256, 256)), "weight_scale": ("BF16", (256, 1))},
    "fp8-tensor": {"weight": ("F8_E4M3", (256, 256)), "weight_scale": ("BF16", (1,))},
    "fp8-tensor-static": {
        "weight": ("F8_E4M3", (256, 256)),
        "weight_scale": ("BF16", (1,)),
        "input_scale": ("BF16", (1,)),
    },
    "int8-channel": {"weight": ("I8", (256, 256)), "weight_scale": ("BF16", (256, 1))},
    "w4-group-128": {
        "weight_packed": ("I32", (256, 32)),
        "weight_scale": ("BF16", (256, 2)),
        "weight_shape": ("I64", (2,)),
    },
    "w8-channel": {
        "weight_packed": ("I32", (256, 64)),
        "weight_scale": ("BF16", (256, 1)),
        "weight_shape": ("I64", (2,)),
    },
    "nvfp4-pack": {
        "weight_packed": ("U8", (256, 128)),
        "weight_scale": ("F8_E4M3", (256, 16)),
        "weight_global_scale": ("F32", (1,)),
        "input_global_scale": ("F32", (1,)),
    },
    "mxfp4-pack": {"weight_packed": ("U8", (256, 128)), "weight_scale": ("U8", (256, 8))},
    "mxfp8": {"weight": ("F8_E4M3", (256, 256)), "weight_scale": ("U8", (256, 8))},
}
"""How quantizers store a layer, by how."""
W4: Config = {
    "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
}
EVERYTHING = ("_proj", "_mqa", "fc")


def stored(config: Config, how: str, quantized: Sequence[str] = EVERYTHING) -> Tensors:
    """All tensors: a trunk in FP8, and of the block what ends so stored in one way."""
    plain, found = tensors(config), tensors(config, quantized)
    changed = {name for name in found if plain.get(name) != found[name]}
    modules = {name.rpartition(".")[0]: None for name in found if name in changed}
    new = {f"{m}.{part}": entry for m in modules for part, entry in STORED[how].items()}
    kept = {name: entry for name, entry in found.items() if name not in changed}
    width: Entry = ("BF16", (256,))
    return {n: width if "norm" in n else entry for n, entry in kept.items()} | new


def planned(
    config: Config,
    found: Tensors,
    releases: Sequence[str] = (NEWEST,),
    options: Options = Options(engine_names_only=True),  # noqa: B008 - a frozen value
) -> Plan:
    return plan(cases(config, found, releases), view_of(config), options, configs_of(config))


def after(config: Config, edits: Sequence[Edit]) -> Any:
    """The metadata after some edits."""
    raw = patch.apply(configs_of(config)["config.json"].raw, edits)
    return json.loads(raw)["quantization_config"]


def under(groups: Any, **more: Any) -> Config:
    return with_list(GLM, ("lm_head",), config_groups=groups, **more)


def failing(config: Config, found: Tensors, made: Plan) -> list[str]:
    (case,) = cases(config, found)
    return [r.decision.module.name for r in case.judged(made.view, case.draft) if not r.agrees]


# --- each way to store a block ----------------------------------------------------


@pytest.mark.parametrize("how", sorted(set(STORED) - {"fp8-channel"}))
@pytest.mark.parametrize("config", [GLM, DEEPSEEK, QWEN_NEXT, MIMO], ids=lambda c: c["model_type"])
def test_a_block_gets_the_scheme_that_it_is_stored_in(config: Config, how: str) -> None:
    config, found = with_list(config, ("lm_head",)), stored(config, how)
    made = planned(config, found)
    assert made.schemes
    assert failing(config, found, made) == []
    metadata = after(config, made.edits)
    assert metadata["config_groups"]["group_0"]["targets"] == ["Linear"]
    assert all("re:^" in target for target in metadata["config_groups"]["mtp"]["targets"])


@pytest.mark.parametrize(
    ("how", "weights"),
    [
        ("fp8-block", {"num_bits": 8, "strategy": "block", "block_structure": [128, 128]}),
        ("w4-group-128", {"num_bits": 4, "strategy": "group", "group_size": 128}),
        ("w8-channel", {"num_bits": 8, "strategy": "channel"}),
        ("nvfp4-pack", {"num_bits": 4, "strategy": "tensor_group", "group_size": 16}),
    ],
)
def test_numbers_are_those_of_the_tensors(how: str, weights: Config) -> None:
    config = with_list(GLM, ("lm_head",))
    made = planned(config, stored(GLM, how))
    group = after(config, made.edits)["config_groups"]["mtp"]
    assert weights.items() <= group["weights"].items()


@pytest.mark.parametrize("how", sorted(set(STORED) - {"fp8-channel"}))
def test_compressed_tensors_reads_the_groups(how: str) -> None:
    quantization = pytest.importorskip("compressed_tensors.quantization")
    config = with_list(GLM, ("lm_head",))
    made = planned(config, stored(GLM, how))
    read = quantization.QuantizationConfig.model_validate(after(config, made.edits))
    assert set(read.config_groups) == {"group_0", "mtp"}


# --- formats ----------------------------------------------------------------------


def test_groups_of_other_formats_say_their_own() -> None:
    config = under({"group_0": {"targets": ["Linear"], **W4}}, format="pack-quantized")
    metadata = after(config, planned(config, stored(GLM, "fp8-block")).edits)
    assert metadata["format"] == "mixed-precision"
    formats = {name: group["format"] for name, group in metadata["config_groups"].items()}
    assert formats == {"group_0": "pack-quantized", "mtp": "float-quantized"}


def test_groups_of_one_format_need_not() -> None:
    config = with_list(GLM, ("lm_head",))
    metadata = after(config, planned(config, stored(GLM, "fp8-block")).edits)
    assert metadata["format"] == "float-quantized"
    assert "format" not in metadata["config_groups"]["group_0"]


# --- targets ----------------------------------------------------------------------


def test_a_group_that_has_the_scheme_gets_the_target() -> None:
    config = under({"group_0": {"targets": [r"re:^model\.layers\.[01]\..*"], **FP8}})
    metadata = after(config, planned(config, stored(GLM, "fp8-channel")).edits)
    assert metadata["config_groups"]["group_0"]["targets"] == [
        r"re:^model\.layers\.[01]\..*",
        r"re:^model\.layers\.2\..*",
    ]


def test_only_what_is_wrong_is_named() -> None:
    targets = [r"re:^model\.layers\.[01]\..*", r"re:^model\.layers\.2\.mlp\..*"]
    config = under({"group_0": {"targets": targets, **FP8}})
    metadata = after(config, planned(config, stored(GLM, "fp8-channel")).edits)
    assert metadata["config_groups"]["group_0"]["targets"] == [
        *targets,
        r"re:^model\.layers\.2\.self_attn\..*",
    ]


def test_a_group_goes_first_where_another_would_win() -> None:
    config = under({"group_0": {"targets": [r"re:.*_proj$", "Linear"], **FP8}})
    found = stored(GLM, "fp8-block")
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert list(after(config, made.edits)["config_groups"]) == ["mtp", "group_0"]


def test_what_is_unquantized_in_the_block_gets_its_entry() -> None:
    config = with_list(GLM, ("lm_head",))
    found = stored(
        GLM,
        "fp8-block",
        (
            "experts.0.up_proj",
            "experts.0.down_proj",
            "experts.0.gate_proj",
            "experts.1.up_proj",
            "experts.1.down_proj",
            "experts.1.gate_proj",
        ),
    )
    made = planned(config, found)
    assert failing(config, found, made) == []
    metadata = after(config, made.edits)
    assert metadata["config_groups"]["mtp"]["targets"] == [
        r"re:^model\.layers\.2\.mlp\.experts\..*"
    ]
    assert r"re:^model\.layers\.2\.self_attn\..*" in metadata["ignore"]


def test_an_entry_that_would_exempt_the_block_goes() -> None:
    config = with_list(GLM, ("lm_head", r"re:^model\.layers\.2\..*"))
    found = stored(GLM, "fp8-block")
    made = planned(config, found)
    assert failing(config, found, made) == []
    assert made.removed == (r"re:^model\.layers\.2\..*",)


def test_names_that_are_taken_stay_as_they_are() -> None:
    groups = {"mtp": {"targets": ["Linear"], **FP8}, "mtp_1": {"targets": ["none"], **FP8}}
    config = under(groups)
    metadata = after(config, planned(config, stored(GLM, "fp8-block")).edits)
    assert {name: metadata["config_groups"][name] for name in groups} == groups
    assert "mtp_2" in metadata["config_groups"]


# --- targets for the target model --------------------------------------------------

LOADED = "0.32.0"
"""The release that loaded what these repairs write, made small."""
V4: Config = {**DEEPSEEK_V4, "expert_dtype": "fp8"}
V4_TARGETS = [r"re:.*attn\.(indexer\.)?w\w+$", r"re:.*experts\.(\d+\.)?(w1|w2|w3)$"]
V4_BLOCK = r"re:^model\.layers\.2\..*"
V4_WIDER = r"re:^model\.layers\.(?:0|1)\.ffn\.shared_experts\.down_proj$"
NEMOTRON: Config = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "num_hidden_layers": 3,
    "hybrid_override_pattern": "*E-",
    "mtp_hybrid_override_pattern": "*E",
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
}
NEMOTRON_TARGETS = [r"re:.*mixer\.\w+_proj$", r"re:.*experts\.(\d+\.)?(up_proj|down_proj)$"]
REPAIR_TRUNK = Options(engine_names_only=True, repair_trunk=True)


def targeting(config: Config, targets: Sequence[str], *ignore: str) -> Config:
    groups = {"g": {"targets": list(targets), **FP8}}
    return with_list(config, ("lm_head", *ignore), config_groups=groups)


def wrong(config: Config, found: Tensors, made: Plan) -> list[str]:
    """The modules of the target model that are built otherwise than they are stored."""
    (case,) = cases(config, found, (LOADED,))
    reports = case.judged(made.view, case.trunk)
    return [report.decision.module.name for report in reports if report.agrees is False]


def test_a_name_that_engines_ask_by_and_no_target_fits_gets_one_on_request() -> None:
    """vLLM asks about DeepSeek-V4's `w2` as `down_proj`."""
    config = targeting(V4, V4_TARGETS, V4_BLOCK)
    found = tensors(config)
    unasked = planned(config, found, (LOADED,))
    assert unasked.edits == ()
    assert len(wrong(config, found, unasked)) == 2
    made = planned(config, found, (LOADED,), REPAIR_TRUNK)
    assert after(config, made.edits)["config_groups"]["g"]["targets"] == [*V4_TARGETS, V4_WIDER]
    assert wrong(config, found, made) == failing(config, found, made) == []
    assert made.schemes == (f"fp8-channel: config group `g` for `{V4_WIDER}`",)


def test_target_model_and_block_are_repaired_at_once() -> None:
    config = targeting(V4, V4_TARGETS)
    made = planned(config, tensors(config), (LOADED,), REPAIR_TRUNK)
    metadata = after(config, made.edits)
    assert metadata["config_groups"]["g"]["targets"] == [*V4_TARGETS, V4_WIDER]
    assert metadata["ignore"] == ["lm_head", V4_BLOCK]
    found = tensors(config, ("w1", "w2", "w3", "wq_a", "wq_b", "wkv", "wo_a", "wo_b"))
    made = planned(config, found, (LOADED,), REPAIR_TRUNK)
    assert wrong(config, found, made) == []
    assert after(config, made.edits)["config_groups"]["g"]["targets"] == [
        *V4_TARGETS,
        V4_WIDER,
        r"re:^model\.layers\.2\.ffn\.shared_experts\.down_proj$",
    ]


def test_experts_that_are_asked_about_by_a_name_of_no_target_get_one() -> None:
    """vLLM asks for the gate of Nemotron-H's experts as `.None`."""
    config = targeting(NEMOTRON, NEMOTRON_TARGETS)
    found = tensors(config, ("up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"))
    made = planned(config, found, (LOADED,), REPAIR_TRUNK)
    assert wrong(config, found, made) == failing(config, found, made) == []
    assert after(config, made.edits)["config_groups"]["g"]["targets"] == [
        *NEMOTRON_TARGETS,
        r"re:^model\.layers\.1\.mixer\.experts\..*",
        r"re:^mtp\.layers\.1\.mixer\.experts\..*",
    ]


def test_what_is_unquantized_in_the_target_model_gets_no_target() -> None:
    config = targeting(V4, V4_TARGETS, V4_BLOCK)
    plain: Tensors = {"layers.0.ffn.shared_experts.w2.weight": ("BF16", (8, 8))}
    found = {
        name: entry
        for name, entry in tensors(config).items()
        if not name.startswith("layers.0.ffn.shared_experts.w2.")
    }
    made = planned(config, found | plain, (LOADED,), REPAIR_TRUNK)
    target = r"re:^model\.layers\.1\.ffn\.shared_experts\.down_proj$"
    assert after(config, made.edits)["config_groups"]["g"]["targets"] == [*V4_TARGETS, target]


def test_a_group_of_another_scheme_gets_no_target() -> None:
    groups = {"g": {"targets": ["re:none"], **W4}}
    config = with_list(V4, ("lm_head", V4_BLOCK), config_groups=groups, format="pack-quantized")
    assert planned(config, tensors(config), (LOADED,), REPAIR_TRUNK).schemes == ()


# --- what is not changed --------------------------------------------------------------


def test_a_right_block_is_left_alone() -> None:
    config = with_list(GLM, ("lm_head",))
    made = planned(config, stored(GLM, "fp8-channel"), ALL)
    assert (made.edits, made.schemes) == ((), ())


def test_a_second_plan_has_nothing_to_do() -> None:
    config, found = with_list(GLM, ("lm_head",)), stored(GLM, "nvfp4-pack")
    made = planned(config, found)
    again = {**config, "quantization_config": after(config, made.edits)}
    assert planned(again, found).edits == ()


def test_the_target_model_is_built_as_before() -> None:
    config, found = with_list(GLM, ("lm_head",)), stored(GLM, "nvfp4-pack")
    made = planned(config, found, ALL)
    for case in cases(config, found, ALL):
        old, new = case.judged(view_of(config), case.trunk), case.judged(made.view, case.trunk)
        assert [(r.decision.built, r.decision.scheme, r.decision.expects) for r in old] == [
            (r.decision.built, r.decision.scheme, r.decision.expects) for r in new
        ]


def test_a_release_that_cannot_is_told_the_first_that_can() -> None:
    config = with_list(GLM, ("lm_head",), config_groups={"g": {"targets": ["re:none"], **FP8}})
    made = planned(config, stored(GLM, "fp8-channel"), ("0.20.2", NEWEST))
    assert all(stays.releases == ("0.20.2",) for stays in made.unresolved)


# --- what a stranger may write ----------------------------------------------------------


@pytest.mark.parametrize(
    "groups",
    [
        {"g": {"targets": ["Linear"]}},
        {"g": {"targets": ["Linear"], "weights": None}},
        {"g": {"targets": None, **FP8}},
        {"g": {"targets": ["Linear"], "weights": {}}},
        {"g": {"targets": ["Linear"], "weights": {"num_bits": "8", "strategy": []}}},
        {"g": {"targets": ["Linear"], **FP8}, "h": {"targets": ["Linear"], **W4}},
        {"g": {"targets": [f"re:(a+)+{n}" for n in range(50)], **FP8}},
        {},
    ],
)
def test_strange_groups_end_in_a_plan(groups: Any) -> None:
    config = under(groups)
    made = planned(config, stored(GLM, "fp8-block"))
    assert isinstance(made, Plan)


def test_thousands_of_targets_are_no_trouble() -> None:
    names = [f"model.layers.{n}.mlp.experts.{m}.up_proj" for n in range(40) for m in range(100)]
    config = under({"g": {"targets": [*names, "Linear"], **FP8}})
    found = stored(GLM, "fp8-block")
    assert failing(config, found, planned(config, found)) == []
