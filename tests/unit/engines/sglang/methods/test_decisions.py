"""What each of SGLang's methods builds, and which entry decides, release by release."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import HalvedError, RaisesError, Setting
from mtpfix.engines.sglang import methods
from mtpfix.engines.sglang.methods.modelopt.selection import in_force
from mtpfix.model import Decision, Entry, Kind, Module, QuantView
from mtpfix.quant import Location

OLD, NEW = "0.5.13", "0.5.23"
BLOCK = "model.decoder"
LINEAR, EXPERTS = f"{BLOCK}.self_attn.o_proj", f"{BLOCK}.mlp.experts"
PACKED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
TOKEN = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
CT = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"g": {"targets": ["Linear"], "weights": FP8, "input_activations": TOKEN}},
}
SIDE = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}
MXFP4 = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
METADATA: Mapping[str, Mapping[str, Any]] = {
    "compressed-tensors": CT,
    "fp8": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
    "mxfp8": {"quant_method": "mxfp8", "activation_scheme": "dynamic"},
    "modelopt_fp8": {"quant_method": "modelopt", "quant_algo": "FP8"},
    "modelopt_fp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
    "modelopt_mixed": {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": None,
        "quantized_layers": {BLOCK: {"quant_algo": "FP8"}, "x": {"quant_algo": "NVFP4"}},
    },
    "w4afp8": {"quant_method": "w4afp8"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    "gptq": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "sym": True,
    },
    "quark": {
        "quant_method": "quark",
        "export": {"kv_cache_group": []},
        "global_quant_config": {"weight": SIDE, "input_tensors": SIDE},
        "layer_quant_config": {},
        "layer_type_quant_config": {},
    },
    "auto-round": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True},
}
KEYS = {
    "compressed-tensors": "ignore",
    "fp8": "ignored_layers",
    "mxfp8": "modules_to_not_convert",
    "modelopt_fp8": "ignore",
    "modelopt_fp4": "ignore",
    "modelopt_mixed": "ignore",
    "awq": "modules_to_not_convert",
    "quark": "exclude",
}


def view(metadata: Mapping[str, Any]) -> QuantView:
    location = Location("config.json", "/quantization_config", metadata)
    return methods.BY_QUANT_METHOD[metadata["quant_method"]].read(location)


def context(release: str = NEW, **fields: Any) -> Context:
    return Context(
        release, "cuda", {"cuda_capability": 100, "model_type": "nemotron_h", **fields}, depth=3
    )


def decided(
    found: QuantView, name: str, kind: Kind = "linear", release: str = NEW, **fields: Any
) -> Decision:
    cls = {"experts": "FusedMoE", "lm_head": "ParallelLMHead"}.get(kind, "RowParallelLinear")
    setting = Setting(found, context(release, **fields), "draft", PACKED)
    return methods.of(found.method).decider(setting)(Module("draft", name, kind, cls, ()))


def listed(method: str, entries: Sequence[str]) -> QuantView:
    return view({**METADATA[method], KEYS[method]: list(entries)})


BUILT = {
    "compressed-tensors": ("CompressedTensorsW8A8Fp8", "CompressedTensorsW8A8Fp8MoE"),
    "fp8": ("Fp8LinearMethod", "Fp8MoEMethod"),
    "mxfp8": ("Fp8LinearMethod", "Fp8MoEMethod"),
    "modelopt_fp8": ("ModelOptFp8LinearMethod", "ModelOptFp8MoEMethod"),
    "modelopt_fp4": ("ModelOptFp4LinearMethod", "ModelOptNvFp4FusedMoEMethod"),
    "w4afp8": ("Fp8LinearMethod", "W4AFp8MoEMethod"),
    "awq": ("AWQMarlinLinearScheme", "AWQMoEScheme"),
    "gptq": ("GPTQMarlinLinearScheme", "GPTQMarlinMoEScheme"),
    "quark": ("QuarkW8A8Fp8", "QuarkW8A8FP8MoE"),
    "auto-round": ("GPTQMarlinLinearScheme", "GPTQMarlinMoEScheme"),
}


@pytest.mark.parametrize("release", [OLD, NEW])
@pytest.mark.parametrize("method", BUILT)
def test_what_no_entry_exempts_is_quantized(method: str, release: str) -> None:
    found = view(METADATA[method])
    made = [decided(found, n, k, release) for n, k in ((LINEAR, "linear"), (EXPERTS, "experts"))]
    assert tuple(d.scheme for d in made) == BUILT[method]
    assert {d.built for d in made} == {"quantized"}


def test_every_method_is_covered() -> None:
    assert set(methods.names()) == set(METADATA)
    assert decided(replace(view(CT), method=""), LINEAR).built == "unquantized"


@pytest.mark.parametrize("release", [OLD, "0.5.16", "0.5.17", NEW])
@pytest.mark.parametrize("method", [*KEYS, "gptq", "auto-round"])
def test_a_spelled_block_exempts_it_in_every_release(method: str, release: str) -> None:
    spelled = methods.of(method).spelling
    assert spelled.block is not None
    entry = spelled.block(f"{BLOCK}.")
    if method in KEYS:
        found = listed(method, [entry])
    else:
        key, value = ("dynamic", {}) if method == "gptq" else ("extra_config", {"bits": 16})
        found = view({**METADATA[method], key: {entry: value}})
    decision = decided(found, LINEAR, "linear", release)
    assert (decision.built, decision.because and decision.because.spelling) == (
        "unquantized",
        entry,
    )
    trunk = decided(found, "model.layers.4.self_attn.o_proj", "linear", release)
    assert trunk.because not in found.ignore
    built = decided(found, EXPERTS, "experts", release).built
    assert built == ("quantized" if method == "gptq" else "unquantized")


@pytest.mark.parametrize("release", [OLD, NEW])
@pytest.mark.parametrize("method", [*KEYS, "auto-round"])
def test_a_spelled_name_and_spelled_experts_are_exempt(method: str, release: str) -> None:
    spelled = methods.of(method).spelling
    entries = [spelled.name(LINEAR), spelled.experts(EXPERTS)]
    if method in KEYS:
        found = listed(method, entries)
    else:
        found = view({**METADATA[method], "extra_config": {e: {"bits": 16} for e in entries}})
    for name, kind in ((LINEAR, "linear"), (EXPERTS, "experts")):
        assert decided(found, name, kind, release).built == "unquantized"  # type: ignore[arg-type]


# --- compressed-tensors ------------------------------------------------------


def test_a_plain_entry_is_a_part_of_names_before_0_5_17() -> None:
    found = listed("compressed-tensors", ["layers.4", "o_proj"])
    assert decided(found, "model.layers.43.x", release="0.5.16").built == "unquantized"
    assert decided(found, "model.layers.43.x", release="0.5.17").built == "quantized"
    assert decided(found, LINEAR, release="0.5.17").because == found.ignore[1]


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("0.5.15", "Found a different quantization schemes for {shards} in {name}. vLLM"),
        (NEW, "Found different quantization schemes for {shards} in {name}. SGLang"),
    ],
)
def test_some_shards_are_an_error_in_the_words_of_the_release(release: str, text: str) -> None:
    name = f"{BLOCK}.self_attn.qkv_proj"
    found = listed("compressed-tensors", [f"{BLOCK}.self_attn.q_proj"])
    with pytest.raises(HalvedError) as raised:
        decided(found, name, release=release)
    said = text.format(shards=["q_proj", "k_proj", "v_proj"], name=name)
    assert raised.value.message == f"ValueError: {said} requires all to use the same scheme."


def test_experts_are_asked_by_three_layers_of_the_first() -> None:
    one = listed("compressed-tensors", [f"{EXPERTS}.0.gate_proj"])
    with pytest.raises(HalvedError, match="All MoE projections need to have same"):
        decided(one, EXPERTS, "experts")
    named = listed("compressed-tensors", [EXPERTS])
    assert decided(named, EXPERTS, "experts", "0.5.16").built == "unquantized"
    assert decided(named, EXPERTS, "experts", "0.5.17").built == "quantized"


def test_no_target_is_an_error() -> None:
    group = {"targets": ["re:other"], "weights": FP8, "input_activations": TOKEN}
    found = view({**CT, "config_groups": {"g": group}})
    with pytest.raises(RaisesError, match="Unable to find matching target for model"):
        decided(found, LINEAR)


def test_a_head_is_quantized_where_a_target_names_it_since_0_5_19() -> None:
    group = {"targets": ["Linear", "head"], "weights": FP8, "input_activations": TOKEN}
    found = view({**CT, "config_groups": {"g": group}})
    head = "model.shared_head.head"
    assert decided(found, head, "lm_head", "0.5.18").built == "unquantized"
    assert decided(found, head, "lm_head", "0.5.19").because == found.groups[0].targets[1]
    assert decided(view(CT), head, "lm_head").built == "unquantized"


def test_mxfp4_experts_cannot_be_exempted_since_0_5_17() -> None:
    weights = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}
    group = {"targets": ["Linear"], "weights": weights}
    said = {**CT, "format": "mxfp4-pack-quantized", "config_groups": {"g": group}}
    found = view({**said, "ignore": [r"re:model\..*"]})
    assert decided(found, EXPERTS, "experts", "0.5.16").built == "unquantized"
    assert decided(found, EXPERTS, "experts", "0.5.17").scheme == "Mxfp4MoEMethod"


@pytest.mark.parametrize(
    ("release", "capability", "scheme"),
    [("0.5.21", 100, "W4A4Fp4"), ("0.5.22", 90, "W4A16Fp4"), ("0.5.21", 90, None)],
)
def test_nvfp4_hangs_on_the_device(release: str, capability: int, scheme: str | None) -> None:
    side = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    group = {"targets": ["Linear"], "weights": side, "input_activations": side}
    found = view({**CT, "format": "nvfp4-pack-quantized", "config_groups": {"g": group}})
    if scheme is None:
        with pytest.raises(RaisesError, match="Current platform does not support w4a4 nvfp4"):
            decided(found, LINEAR, release=release, cuda_capability=capability)
    else:
        made = decided(found, LINEAR, release=release, cuda_capability=capability)
        assert made.scheme == f"CompressedTensors{scheme}"


# --- fp8 ---------------------------------------------------------------------


def test_fp8_entries_count_with_and_without_model() -> None:
    found = listed("fp8", ["model.decoder.self_attn"])
    assert decided(found, "decoder.self_attn.o_proj").because is not None
    because = decided(found, LINEAR).because
    assert because is not None
    assert (because.spelling, because.pointer) == (
        "model.decoder.self_attn",
        "/quantization_config/ignored_layers/0",
    )
    assert decided(listed("fp8", [""]), "model.anything").built == "unquantized"


def test_fp8_entries_are_renamed_in_both_spellings() -> None:
    found = listed("fp8", ["model.layers.61.x"])

    def rename(entry: Entry) -> Entry:
        return replace(entry, text=entry.text.replace("model.layers.61", "model.decoder"))

    renamed = methods.of("fp8").renamed(found.ignore, rename)
    assert [entry.text for entry in renamed] == ["layers.61.x", "model.decoder.x"]
    assert {entry.spelling for entry in renamed} == {"model.layers.61.x"}


def test_fp8_takes_one_expert_for_all_and_only_shards_for_fused_names() -> None:
    assert decided(listed("fp8", [f"{EXPERTS}.7.up_proj"]), EXPERTS, "experts").because is not None
    fused = f"{BLOCK}.mlp.gate_up_proj"
    assert decided(listed("fp8", [fused]), fused).built == "quantized"
    with pytest.raises(HalvedError, match="Detected some but not all shards of model"):
        decided(listed("fp8", [f"{BLOCK}.mlp.up_proj"]), fused)


def test_the_first_key_that_is_there_counts_even_if_its_list_is_empty() -> None:
    said = {**METADATA["fp8"], "ignored_layers": [], "modules_to_not_convert": [BLOCK]}
    assert view(said).ignore == ()


# --- ModelOpt ----------------------------------------------------------------


def test_the_end_of_an_entry_fits_names_of_every_layer() -> None:
    found = listed("modelopt_fp8", ["model.layers.61.self_attn.kv_b_proj"])
    trunk = "model.layers.3.self_attn.kv_b_proj"
    assert decided(found, trunk).built == "unquantized"
    spelled = methods.of("modelopt_fp8").spelling.name("model.layers.61.self_attn.kv_b_proj")
    apart = listed("modelopt_fp8", [spelled])
    assert decided(apart, trunk).built == "quantized"
    assert decided(apart, "model.layers.61.self_attn.kv_b_proj").built == "unquantized"


def test_modelopt_heads_ask_since_0_5_15() -> None:
    found = listed("modelopt_fp8", ["lm_head"])
    head = "model.shared_head.head"
    assert decided(found, head, "lm_head", "0.5.14").built == "unquantized"
    assert decided(found, head, "lm_head", "0.5.15").built == "quantized"
    assert decided(found, "lm_head", "lm_head").because == found.ignore[0]


@pytest.mark.parametrize(
    ("method", "key", "since"),
    [
        ("modelopt_fp4", "exclude_modules", "0.5.23"),
        ("modelopt_fp4", "modules_to_not_convert", "0.5.23"),
        ("modelopt_mixed", "exclude_modules", "0.5.17"),
    ],
)
def test_other_keys_of_the_list_are_read_since(method: str, key: str, since: str) -> None:
    found = view({**METADATA[method], key: ["model.*"]})
    before = f"0.5.{int(since.rpartition('.')[2]) - 1}"
    assert decided(found, LINEAR, release=since).because == found.ignore[0]
    assert decided(found, LINEAR, release=before).built == "quantized" or method != "modelopt_fp4"
    assert decided(found, LINEAR, release=before).because not in found.ignore


def test_fp8_of_modelopt_never_reads_another_key() -> None:
    assert view({**METADATA["modelopt_fp8"], "exclude_modules": ["model.*"]}).ignore == ()


@pytest.mark.parametrize(
    ("algo", "release", "model_type", "method"),
    [
        ("MIXED_PRECISION", "0.5.14", "glm", "w4afp8"),
        ("MIXED_PRECISION", "0.5.14", "nemotron_h", "modelopt_mixed"),
        ("MIXED_PRECISION", "0.5.15", "nemotron_h", "w4afp8"),
        ("MXFP8", "0.5.17", "glm", "modelopt_fp8"),
        ("MXFP8", "0.5.18", "glm", "mxfp8"),
        ("NVFP4_AWQ", NEW, "glm", "modelopt_fp4"),
    ],
)
def test_a_release_chooses_the_method(
    algo: str, release: str, model_type: str, method: str
) -> None:
    said = {"quant_method": "modelopt", "quant_algo": algo}
    assert in_force(said, context(release, model_type=model_type)) == method


def test_mixed_precision_without_nvfp4_loses_its_list() -> None:
    layers = {LINEAR: {"quant_algo": "FP8"}}
    said = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    found = view({**said, "quantized_layers": layers, "ignore": ["model.*"]})
    assert (found.method, found.ignore) == ("w4afp8", ())
    assert decided(found, LINEAR).expects == "fp8-block"
    assert decided(found, EXPERTS, "experts").scheme == "W4AFp8MoEMethod"


def test_mixed_precision_names_what_is_quantized() -> None:
    found = view(METADATA["modelopt_mixed"])
    assert decided(found, LINEAR).built == "unquantized"
    assert decided(found, BLOCK).because == found.groups[0].targets[0]
    layers = {f"{BLOCK}.q_proj": {"quant_algo": "FP8"}, f"{BLOCK}.k_proj": {"quant_algo": "NVFP4"}}
    differ = view({**METADATA["modelopt_mixed"], "quantized_layers": layers})
    with pytest.raises(RaisesError) as raised:
        decided(differ, f"{BLOCK}.qkv_proj")
    assert raised.value.message == (
        "ValueError: Mixed quant_algo within fused layer model.decoder.qkv_proj: "
        "{'FP8', 'NVFP4'}. All shards must use the same quantization."
    )


def test_mixed_precision_without_the_cache_needs_the_other_file_since_0_5_15() -> None:
    said = {k: v for k, v in METADATA["modelopt_mixed"].items() if k != "kv_cache_quant_algo"}
    with pytest.raises(RaisesError, match="Cannot find the config file for modelopt_mixed"):
        decided(view(said), LINEAR)


# --- the others --------------------------------------------------------------


def test_gptq_knows_no_rules_for_experts_and_no_kernel_but_marlin() -> None:
    found = view({**METADATA["gptq"], "dynamic": {r"-:model\.decoder\..*": {}}})
    assert decided(found, LINEAR).because == found.ignore[0]
    assert decided(found, EXPERTS, "experts").built == "quantized"
    plain = view({**METADATA["gptq"], "sym": False})
    assert decided(plain, LINEAR, release="0.5.19").scheme == "GPTQLinearScheme"
    with pytest.raises(RaisesError, match="GPTQ Method does not support MoE"):
        decided(plain, EXPERTS, "experts", "0.5.19")
    with pytest.raises(RaisesError, match="Unknown quantization method: gptq"):
        decided(plain, LINEAR, release="0.5.20")


@pytest.mark.parametrize(
    ("release", "ordered", "linear", "experts"),
    [
        ("0.5.17", False, "GPTQLinearScheme", "UnboundLocalError"),
        ("0.5.18", False, "GPTQLinearScheme", "MoeWNA16Method"),
        ("0.5.20", False, "RuntimeError", "MoeWNA16Method"),
        ("0.5.17", True, "GPTQLinearScheme", "UnboundLocalError"),
        ("0.5.18", True, "ValueError", "ValueError"),
    ],
)
def test_auto_round_without_marlin_hangs_on_the_release(
    release: str, ordered: bool, linear: str, experts: str
) -> None:
    # Run by SGLang 0.5.13, 0.5.17 to 0.5.20 and 0.5.23 on Qwen3.5 and GLM-4.5.
    told = view({**METADATA["auto-round"], "sym": False, "desc_act": ordered})
    cases: tuple[tuple[Kind, str], ...] = (("linear", linear), ("experts", experts))
    for kind, expected in cases:
        name = EXPERTS if kind == "experts" else LINEAR
        if expected.endswith("Error"):
            with pytest.raises(RaisesError, match=f"^{expected}: "):
                decided(told, name, kind, release=release)
        else:
            assert decided(told, name, kind, release=release).scheme == expected


def test_quark_takes_one_expert_for_all_since_0_5_21() -> None:
    found = listed("quark", [f"{EXPERTS}.3.up_proj"])
    assert decided(found, EXPERTS, "experts", "0.5.20").built == "quantized"
    assert decided(found, EXPERTS, "experts", "0.5.21").because == found.ignore[0]


def test_quark_names_are_mapped_in_layers_since_0_5_21() -> None:
    layers = {"mtp.0.attn.wq_a": {"weight": MXFP4, "input_tensors": MXFP4}}
    found = view({**METADATA["quark"], "layer_quant_config": layers, "exclude": []})

    def rename(entry: Entry) -> Entry:
        text = entry.text.replace("mtp.0", BLOCK)
        return replace(entry, text=text, written=entry.spelling)

    groups = tuple(
        replace(g, targets=methods.of("quark").renamed(g.targets, rename)) for g in found.groups
    )
    mapped = replace(found, groups=groups)
    schemes = {
        (release, end): decided(mapped, f"{BLOCK}.attn.{end}", release=release).scheme
        for release in ("0.5.20", "0.5.21", "0.5.22")
        for end in ("wq_a", "wqkv_a")
    }
    assert [key for key, scheme in schemes.items() if scheme == "QuarkW4A4MXFP4"] == [
        ("0.5.21", "wq_a"),
        ("0.5.22", "wq_a"),
        ("0.5.22", "wqkv_a"),
    ]


def test_only_four_methods_are_seen_by_a_name_mapper() -> None:
    entry = Entry("model.layers.61.x", "config.json", "/quantization_config/ignore/0")

    def rename(each: Entry) -> Entry:
        return replace(each, text=each.text.replace("61", "decoder"), written=each.spelling)

    seen = {
        name
        for name in methods.names()
        if any("decoder" in e.text for e in methods.of(name).renamed([entry], rename))
    }
    assert seen == {
        "compressed-tensors",
        "fp8",
        "mxfp8",
        "modelopt_fp8",
        "modelopt_fp4",
        "modelopt_mixed",
        "w4afp8",
        "quark",
    }


@pytest.mark.parametrize(
    ("metadata", "release", "error"),
    [
        ({"quant_method": "fp8"}, NEW, "ValueError: Cannot find any of ['activation_scheme']"),
        ({**METADATA["awq"], "bits": 8}, NEW, "ValueError: Currently, only 4-bit weight"),
        ({**METADATA["auto-round"], "bits": 5}, NEW, "ValueError: Unsupported weight_bits: 5"),
        ({**METADATA["quark"], "export": None}, NEW, "ValueError: The export key should be"),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"},
            NEW,
            "ValueError: ModelOptFp8Config only supports regular FP8",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4"},
            "0.5.16",
            "ValueError: NVFP4 quantization requires group_size and exclude_modules",
        ),
    ],
)
def test_metadata_is_refused(metadata: Mapping[str, Any], release: str, error: str) -> None:
    with pytest.raises(RaisesError) as raised:
        decided(view(metadata), LINEAR, release=release)
    assert raised.value.message.startswith(error)


def test_hostile_patterns_are_errors_and_end() -> None:
    from mtpfix.patterns import PatternError

    with pytest.raises(PatternError):
        decided(listed("compressed-tensors", ["re:("]), LINEAR)
    with pytest.raises(PatternError):
        decided(listed("modelopt_fp8", ["a)(b"]), LINEAR)
    slow = listed("modelopt_fp8", ["(a+)+b" + "!"])
    assert decided(slow, "a" * 40).built in ("quantized", "error")
