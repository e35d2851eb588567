import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.header import BITS
from mtpfix.checkpoint.precision import combine, grain, precision, split_name
from mtpfix.model import Precision, State, Tensor

N, K, E = 256, 512, 8
QUANTIZED, UNQUANTIZED = State.QUANTIZED, State.UNQUANTIZED
PLAIN_NAMES = ("bf16", "f16", "f32", "f64")
RAW = json.loads((files("mtpfix") / "data" / "formats.json").read_text("utf-8"))


def t(dtype, *shape):
    return Tensor(dtype, shape, 0, 0)


FP8, INT8, BF16 = t("F8_E4M3", N, K), t("I8", N, K), t("BF16", N, K)
ONE = t("F32")

CASES = [
    # unquantized
    ("bf16", {"weight": BF16}),
    ("f16", {"weight": t("F16", N, K), "bias": t("F16", N)}),
    ("f32", {"weight": t("F32", N, K)}),
    ("f64", {"weight": t("F64", N, K)}),
    ("bf16", {"": t("BF16", E, N, K)}),
    ("bf16", {"weight": BF16, "k_scale": ONE, "v_scale": ONE, "q_scale": ONE}),
    ("bf16", {"weight": BF16, "e_score_correction_bias": t("F32", N)}),
    ("bf16", {"weight": BF16, "input_scale": ONE}),
    ("bf16", {"weight": BF16, "scale": t("BF16", N)}),
    # compressed-tensors
    ("int-pack", {"weight_packed": t("I32", N, K // 8), "weight_scale": t("BF16", N, K // 128),
                  "weight_shape": t("I64", 2)}),
    ("int-pack", {"weight_packed": t("I32", N, K // 4), "weight_scale": t("F16", N, 1),
                  "weight_zero_point": t("I32", 1, N)}),
    ("nvfp4-pack", {"weight_packed": t("U8", N, K // 2), "weight_scale": t("F8_E4M3", N, K // 16),
                    "weight_global_scale": t("F32", 1), "input_global_scale": t("F32", 1)}),
    ("mxfp4-pack", {"weight_packed": t("U8", N, K // 2), "weight_scale": t("U8", N, K // 32)}),
    ("mxfp6-pack", {"weight_packed": t("U8", N, K * 3 // 4), "weight_scale": t("U8", N, K // 32)}),
    ("fp8-tensor", {"weight": FP8, "weight_scale": t("F32", 1), "input_scale": ONE}),
    ("fp8-channel", {"weight": FP8, "weight_scale": t("BF16", N, 1)}),
    ("fp8-channel", {"weight": FP8, "weight_scale": t("F32", N)}),
    ("fp8-group", {"weight": FP8, "weight_scale": t("F32", N, K // 128)}),
    ("fp8-block", {"weight": FP8, "weight_scale": t("BF16", N // 128, K // 128)}),
    ("int8-tensor", {"weight": INT8, "weight_scale": ONE}),
    ("int8-channel", {"weight": INT8, "weight_scale": t("F32", N, 1)}),
    ("int8-channel", {"weight": INT8, "weight_scale": t("F32", N, 1),
                      "weight_offset": t("F32", N, 1), "deq_scale": t("F32", N)}),
    ("int8-group", {"weight": INT8, "weight_scale": t("F32", N, 4)}),
    ("mxfp8", {"weight": FP8, "weight_scale": t("U8", N, K // 32)}),
    # block fp8, and its relatives
    ("fp8-block", {"weight": FP8, "weight_scale_inv": t("F32", N // 128, K // 128)}),
    ("fp8-block", {"weight": FP8, "weight_scale_inv": t("F8_E8M0", N // 128, K // 128)}),
    ("mxfp8", {"weight": FP8, "weight_scale_inv": t("U8", N, K // 32)}),
    ("fp8-block", {"": t("F8_E4M3", E, N, K), "_scale_inv": t("F32", E, N // 128, K // 128)}),
    ("fp8-scale", {"weight": FP8, "scale": t("F8_E8M0", N // 128, K // 128)}),
    ("fp4-scale", {"weight": t("I8", N, K // 2), "scale": t("F8_E8M0", N, K // 32)}),
    # modelopt and quark
    ("modelopt-nvfp4", {"weight": t("U8", N, K // 2), "weight_scale": t("F8_E4M3", N, K // 16),
                        "weight_scale_2": ONE, "input_scale": ONE}),
    ("modelopt-nvfp4", {"": t("U8", E, N, K // 2), "_weight_scale": t("F8_E4M3", E, N, K // 16),
                        "_weight_scale_2": t("F32", E), "_input_scale": t("F32", E)}),
    ("fp8-block", {"weight": FP8, "weight_scale": t("F32", N // 128, 1, K // 128, 1)}),
    ("quark-nvfp4", {"weight": t("U8", N, K // 2), "weight_scale": t("F8_E4M3", N, K // 16),
                     "weight_scale_2": ONE, "input_scale_2": ONE}),
    ("quark-mxfp4", {"weight": t("U8", N, K // 2), "weight_scale": t("U8", N, K // 32)}),
    ("quark-mxfp6", {"weight": t("U8", N, K * 3 // 4), "weight_scale": t("U8", N, K // 32)}),
    ("quark-int4", {"weight": t("I32", K, N // 8), "weight_scale": t("F16", K // 128, N),
                    "weight_zero_point": t("I32", K // 128, N // 8)}),
    # the rest
    ("gptq", {"qweight": t("I32", K // 8, N), "qzeros": t("I32", 4, N // 8),
              "scales": t("F16", 4, N), "g_idx": t("I32", K)}),
    ("gptq", {"qweight": t("I32", K // 8, N), "qzeros": t("I32", 4, N // 8),
              "scales": t("F16", 4, N), "bias": t("F16", N)}),
    ("awq", {"qweight": t("I32", K, N // 8), "qzeros": t("I32", 4, N // 8),
             "scales": t("F16", 4, N)}),
    ("bitsandbytes-4bit", {"weight": t("U8", N * K // 2, 1), "weight.absmax": t("U8", N),
                           "weight.quant_state.bitsandbytes__nf4": t("U8", 90)}),
    ("bitsandbytes-8bit", {"weight": INT8, "SCB": t("F32", N), "weight_format": t("U8")}),
    ("mxfp4-blocks", {"_blocks": t("U8", E, N, 16, 16), "_scales": t("U8", E, N, 16),
                      "_bias": t("BF16", E, N)}),
    ("mlx", {"weight": t("U32", N, K // 8), "scales": t("BF16", N, 8), "biases": t("BF16", N, 8)}),
    ("fp8-no-scale", {"weight": FP8}),
    ("fp8-no-scale", {"": t("F8_E5M2", E, N, K), "_bias": t("BF16", E, N)}),
    ("fp6-no-scale", {"weight": t("F6_E2M3", N, K)}),
    ("fp4-no-scale", {"weight": t("F4", N, K)}),
    ("int-no-scale", {"weight": INT8}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tensors"), CASES)
def test_format_is_recognised(name, tensors):
    state = UNQUANTIZED if name in PLAIN_NAMES else QUANTIZED
    assert precision(tensors) == Precision(state, name)


@pytest.mark.parametrize(("name", "tensors"), [case for case in CASES if case[0] in PLAIN_NAMES])
def test_packed_form_beside_an_unquantized_weight_is_mixed(name, tensors):
    assert precision({**tensors, "weight_packed": t("U8", N, K // 2)}) == Precision(State.MIXED)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [case for case in CASES if case[0] not in PLAIN_NAMES and "no-scale" not in case[0]],
)
def test_unquantized_weight_beside_the_tensors_of_a_format_is_mixed(name, tensors):
    suffix = "" if "" in tensors else "weight"
    assert precision({**tensors, suffix: BF16}) == Precision(State.MIXED)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"bias": t("BF16", N)},
        {"_bias": t("BF16", E, N)},
        {"bias": None},
        {"k_scale": ONE, "v_scale": ONE, "q_scale": ONE},
        {"e_score_correction_bias": t("F32", N)},
        {"input_scale": ONE},
        {"scale": t("F32", N)},
        {"something": t("I8", N)},
    ],
)
def test_module_without_weights_is_missing(tensors):
    assert precision(tensors) == Precision(State.MISSING)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight_scale": t("F32", N)},
        {"scales": t("F16", N)},
        {"weight_packed": t("U8", N, K)},
        {"weight_packed": t("I64", N, K), "weight_scale": ONE},
        {"weight": FP8, "weight_scale": t("F32", 3, 7, 5)},
        {"weight": t("U8", N, K // 2), "weight_scale": t("F8_E4M3", N, K // 16)},
        {"weight": t("U8", N, K // 2), "weight_scale": t("BF16", N, 1), "pre_quant_scale": ONE},
        {"_weight_qdata": t("I8", N, K), "_weight_scale": ONE},
    ],
)
def test_unknown_combination_with_a_marker_is_quantized_in_no_known_format(tensors):
    assert precision(tensors) == Precision(QUANTIZED)


@pytest.mark.parametrize("dtype", ["BOOL", "C64"])
def test_unknown_weight_dtype_without_a_marker_is_not_called_quantized(dtype):
    assert precision({"weight": t(dtype, N, K)}) == Precision(UNQUANTIZED)


# --- names only --------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("weight", Precision(UNQUANTIZED)),
        ("weight bias k_scale", Precision(UNQUANTIZED)),
        ("weight input_scale", Precision(UNQUANTIZED)),
        ("weight weight_scale", Precision(QUANTIZED)),
        ("weight weight_scale input_scale", Precision(QUANTIZED)),
        ("weight weight_scale_inv", Precision(QUANTIZED)),
        ("weight scale", Precision(QUANTIZED)),
        ("weight_packed weight_scale", Precision(QUANTIZED)),
        ("weight_packed weight_scale weight_shape", Precision(QUANTIZED, "int-pack")),
        ("weight_packed weight_scale weight_global_scale", Precision(QUANTIZED, "nvfp4-pack")),
        ("qweight qzeros scales", Precision(QUANTIZED)),
        ("qweight qzeros scales g_idx", Precision(QUANTIZED, "gptq")),
        ("weight weight.absmax weight.quant_map", Precision(QUANTIZED, "bitsandbytes-4bit")),
        ("_blocks _scales", Precision(QUANTIZED, "mxfp4-blocks")),
        ("weight weight_packed", Precision(State.MIXED)),
        ("weight qweight scales", Precision(State.MIXED)),
    ],
)
def test_names_alone_decide_as_far_as_they_go(names, expected):
    assert precision(dict.fromkeys(names.split())) == expected


def test_known_dtype_of_one_tensor_narrows_the_rest():
    assert precision({"weight": FP8, "weight_scale": None}) == Precision(QUANTIZED)
    assert precision({"weight": FP8, "scale": None}) == Precision(QUANTIZED, "fp8-scale")
    assert precision({"weight": BF16, "weight_scale": None}) == Precision(State.MIXED)
    assert precision({"weight": BF16, "scale": None}) == Precision(UNQUANTIZED, "bf16")


@pytest.mark.parametrize(("name", "tensors"), CASES)
def test_forgetting_dtypes_never_turns_the_answer_round(name, tensors):
    known = precision(tensors)
    for suffix in tensors:
        partly = precision({**tensors, suffix: None})
        if partly.format is not None:
            assert partly == known
        if "-no-scale" not in name and suffix not in ("weight", ""):
            assert partly.state is known.state


# --- properties --------------------------------------------------------------

SUFFIXES = st.sampled_from(sorted({name for _, tensors in CASES for name in tensors} | {"odd"}))
TENSORS = st.builds(
    Tensor,
    st.sampled_from(sorted(BITS)),
    st.lists(st.integers(0, 600), max_size=4).map(tuple),
    st.just(0),
    st.just(0),
)


@given(st.dictionaries(SUFFIXES, st.none() | TENSORS))
def test_any_tensors_get_an_answer(tensors):
    answer = precision(tensors)
    assert answer.state is QUANTIZED or answer.format in (None, *PLAIN_NAMES)


def test_offsets_do_not_matter():
    assert precision({"weight": Tensor("BF16", (2,), 4, 8)}) == precision({"weight": t("BF16", 2)})


@pytest.mark.parametrize(
    ("weight", "scale", "expected"),
    [
        ((N, K), (), "tensor"),
        ((N, K), (1, 1), "tensor"),
        ((1, K), (1, 1), "channel"),
        ((1, K), (1, 4), "group"),
        ((E, N, K), (E,), "tensor"),
        ((E, N, K), (E, 1, 1), "tensor"),
        ((E, N, K), (E, N, 1), "channel"),
        ((E, N, K), (E, 2, 4), "block"),
        ((N, K), (4, K), None),
        ((N, K), (3,), None),
        ((N,), (1,), None),
        ((), (), None),
    ],
)
def test_grain(weight, scale, expected):
    assert grain(t("I8", *weight), t("F32", *scale)) == expected


# --- combine -----------------------------------------------------------------

GONE = Precision(State.MISSING)
MIXED = Precision(State.MIXED)
PLAIN = Precision(UNQUANTIZED, "bf16")
BLOCK = Precision(QUANTIZED, "fp8-block")
AWQ = Precision(QUANTIZED, "awq")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], GONE),
        ([GONE, GONE], GONE),
        ([PLAIN, PLAIN], PLAIN),
        ([PLAIN, GONE], PLAIN),
        ([GONE, BLOCK, BLOCK], BLOCK),
        ([PLAIN, BLOCK], MIXED),
        ([BLOCK, MIXED], MIXED),
        ([MIXED, GONE], MIXED),
        ([BLOCK, AWQ], Precision(QUANTIZED, "awq+fp8-block")),
        ([BLOCK, Precision(QUANTIZED)], Precision(QUANTIZED)),
        ([PLAIN, Precision(UNQUANTIZED, "f32")], Precision(UNQUANTIZED, "bf16+f32")),
    ],
)
def test_combine(items, expected):
    assert combine(items) == expected
    assert combine(reversed(items)) == expected


# --- split_name --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mtp.fc.weight", ("mtp.fc", "weight")),
        ("lm_head.weight", ("lm_head", "weight")),
        ("weight", ("", "weight")),
        ("a.q_proj.weight_scale_inv", ("a.q_proj", "weight_scale_inv")),
        ("a.q_proj.qzeros", ("a.q_proj", "qzeros")),
        ("a.w1.scale", ("a.w1", "scale")),
        ("a.q_proj.weight.absmax", ("a.q_proj", "weight.absmax")),
        (
            "a.q_proj.weight.quant_state.bitsandbytes__nf4",
            ("a.q_proj", "weight.quant_state.bitsandbytes__nf4"),
        ),
        ("a.attn.k_scale", ("a.attn", "k_scale")),
        ("a.gate.e_score_correction_bias", ("a.gate", "e_score_correction_bias")),
        ("a.experts.gate_up_proj", ("a.experts.gate_up_proj", "")),
        ("a.experts.gate_up_proj_blocks", ("a.experts.gate_up_proj", "_blocks")),
        ("a.experts.down_proj_bias", ("a.experts.down_proj", "_bias")),
        ("a.experts.down_proj_scale_inv", ("a.experts.down_proj", "_scale_inv")),
        ("a.experts.down_proj_weight_scale_2", ("a.experts.down_proj", "_weight_scale_2")),
        ("a.experts.down_proj_other", ("a.experts.down_proj_other", "")),
        ("a.linear_attn.A_log", ("a.linear_attn.A_log", "")),
        ("a.weight.other", ("a.weight.other", "")),
        ("", ("", "")),
        (".", (".", "")),
    ],
)
def test_split_name(name, expected):
    assert split_name(name) == expected


@given(st.text(alphabet="ab._weightscaleproj", max_size=40))
def test_split_parts_make_the_name_again(name):
    module, suffix = split_name(name)
    assert name in (module + suffix, f"{module}.{suffix}", f"{module}{suffix}")


# --- the data ----------------------------------------------------------------


@pytest.mark.parametrize("rule", RAW["rules"])
def test_rule_is_well_formed(rule):
    allowed = {"state", "format", "has", "has_any", "lacks", "dtypes", "grain", "ratio"}
    assert rule.keys() <= allowed
    assert (rule["state"] == "mixed") == ("format" not in rule)
    assert set(rule.get("dtypes", {})) <= set(rule["has"])
    assert set(rule.get("grain", [])[:2]) <= set(rule["has"])
    assert set(rule.get("ratio", [])[:2]) <= set(rule["has"])


def test_every_dtype_in_the_rules_exists():
    groups = RAW["groups"]
    for rule in RAW["rules"]:
        for names in rule.get("dtypes", {}).values():
            for name in names:
                assert set(groups.get(name, [name])) <= set(BITS)


def test_every_format_has_a_case():
    assert {rule["format"] for rule in RAW["rules"] if "format" in rule} == {n for n, _ in CASES}
