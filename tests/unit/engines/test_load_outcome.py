"""What a load comes to: nothing wrong, an exception and its words, or silent garbage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.policies.context import Context
from mtpfix.engines.vllm.load_outcome import judge
from mtpfix.engines.vllm.loader import Loader, loader, trunk_loader
from mtpfix.model import Built, Decision, Module, ModuleReport, State
from tests.unit.engines.small import (
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    Tensors,
    bf16,
    checkpoint,
    context,
    fp8,
    known,
)
from tests.unit.quant.schemes.packed import QWEN

DICT = Loader("dict")
AUTO = Loader("auto", root="model.", cls="Net")

O_PROJ = Module("draft", "a.o_proj", "linear", "RowParallelLinear", ("a.o_proj",), param="model.o")
QKV = Module(
    "draft", "a.qkv", "linear", "QKVParallelLinear", ("a.q", "a.k", "a.v"), param="model.qkv"
)
EXPERTS = Module(
    "draft",
    "a.experts",
    "experts",
    "RoutedExperts",
    ("a.experts.*.gate_proj", "a.experts.*.up_proj", "a.experts.*.down_proj"),
    param="model.experts",
    experts=2,
)
HEAD = Module(
    "draft", "a.head", "lm_head", "ParallelLMHead", ("a.head",), param="model.head", optional=True
)


def judged(
    module: Module,
    built: Built,
    tensors: Tensors,
    how: Loader = DICT,
    *,
    expects: str | None = "fp8-channel",
) -> ModuleReport:
    scheme = "Scheme" if built == "quantized" else None
    expects = "unquantized" if built == "unquantized" else expects
    decision = Decision(module, built, scheme, expects)
    return judge(decision, Inventory(checkpoint(GLM, tensors)), how)


def all_of(module: Module, store: Any = fp8) -> Tensors:
    names = [m.replace("*", str(k)) for m in module.members for k in range(max(1, module.experts))]
    return {name: entry for n in names for name, entry in store(n).items()}


def nvfp4(module: str) -> Tensors:
    return {
        f"{module}.weight": ("U8", (8, 8)),
        f"{module}.weight_scale": ("F8_E4M3", (8, 1)),
        f"{module}.weight_scale_2": ("F32", ()),
        f"{module}.input_scale": ("F32", ()),
    }


# --- a weight of another shape ---------------------------------------------------

NVFP4 = Loader("dict", method="modelopt_fp4")


@pytest.mark.parametrize(
    ("module", "error"),
    [(QKV, "AssertionError: "), (EXPERTS, "RuntimeError: The size"),
     (HEAD, "RuntimeError: The size")],
)  # fmt: skip
@pytest.mark.parametrize("expects", ["modelopt-nvfp4", "modelopt-w4a16"])
def test_a_plain_weight_does_not_fit_where_values_are_packed(
    module: Module, error: str, expects: str
) -> None:
    report = judged(module, "quantized", all_of(module, bf16), NVFP4, expects=expects)
    assert (report.agrees, report.consequence) == (False, "load_error")
    assert (report.detail or "").startswith(error)


def test_a_plain_weight_is_cut_where_rows_are_parallel() -> None:
    report = judged(O_PROJ, "quantized", bf16("a.o_proj"), NVFP4, expects="modelopt-nvfp4")
    assert (report.agrees, report.consequence, report.detail) == (False, "silent_garbage", None)


@pytest.mark.parametrize(
    ("module", "error"), [(QKV, "AssertionError: "), (O_PROJ, "RuntimeError: start (0)")]
)
def test_a_packed_weight_does_not_fit_a_plain_layer_whose_scales_are_dropped(
    module: Module, error: str
) -> None:
    drops = Loader("dict", drops=True, method="modelopt_fp4")
    report = judged(module, "unquantized", all_of(module, nvfp4), drops)
    assert report.consequence == "load_error"
    assert (report.detail or "").startswith(error)


def test_the_loader_of_a_trunk_foretells_no_exception() -> None:
    how = Loader("unknown", method="modelopt_fp4")
    report = judged(QKV, "quantized", all_of(QKV, bf16), how, expects="modelopt-nvfp4")
    assert (report.consequence, report.detail) == ("load_error", None)


def test_weights_alone_need_no_scale_for_activations() -> None:
    found = nvfp4("a.o_proj")
    report = judged(O_PROJ, "quantized", found, NVFP4, expects="modelopt-w4a16")
    assert report.agrees is True
    del found["a.o_proj.input_scale"]
    report = judged(O_PROJ, "quantized", found, NVFP4, expects="modelopt-w4a16")
    assert report.agrees is True
    report = judged(O_PROJ, "quantized", found, NVFP4, expects="modelopt-nvfp4")
    assert report.consequence == "silent_garbage"


# --- nothing wrong -----------------------------------------------------------


@pytest.mark.parametrize("module", [O_PROJ, QKV, EXPERTS, HEAD])
@pytest.mark.parametrize(("built", "store"), [("quantized", fp8), ("unquantized", bf16)])
def test_what_is_built_as_it_is_stored_agrees(module: Module, built: Built, store: Any) -> None:
    report = judged(module, built, all_of(module, store))
    assert (report.agrees, report.consequence, report.detail) == (True, None, None)


def test_what_is_quantized_while_it_is_loaded_reads_plain_weights() -> None:
    assert judged(O_PROJ, "quantized", all_of(O_PROJ, bf16), expects="unquantized").agrees is True
    assert judged(O_PROJ, "quantized", all_of(O_PROJ), expects="unquantized").agrees is False


def test_a_parameter_with_a_default_may_be_on_disk() -> None:
    packed = {
        "a.o_proj.weight_packed": ("I32", (8, 4)),
        "a.o_proj.weight_scale": ("BF16", (8, 1)),
    }
    shape = {"a.o_proj.weight_shape": ("I64", (2,))}
    for tensors in (packed, {**packed, **shape}):
        assert judged(O_PROJ, "quantized", tensors, expects="int-pack").agrees is True


@pytest.mark.parametrize(
    ("expects", "stored", "consequence"),
    [
        ("fp8-channel", True, "load_error"),
        ("fp8-channel-static", True, None),
        ("fp8-channel-static", False, "silent_garbage"),
    ],
)
def test_a_scale_of_activations_is_a_parameter_where_they_are_static(
    expects: str, stored: bool, consequence: str | None
) -> None:
    scale = {"a.o_proj.input_scale": ("F32", (1,))} if stored else {}
    report = judged(O_PROJ, "quantized", {**fp8("a.o_proj"), **scale}, expects=expects)
    assert report.consequence == consequence


def test_a_bias_is_no_matter() -> None:
    tensors = {**bf16("a.o_proj"), "a.o_proj.bias": ("BF16", (8,))}
    assert judged(O_PROJ, "unquantized", tensors).agrees is True


def test_a_lenient_module_takes_both() -> None:
    module = Module("draft", "a.w", "linear", "L", ("a.w",), param="w", asks=False, lenient=True)
    assert judged(module, "unquantized", fp8("a.w")).agrees is True


# --- the load fails ----------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "how", "words"),
    [
        (O_PROJ, DICT, "KeyError: 'model.o.weight_scale'"),
        (QKV, DICT, "KeyError: 'model.qkv.weight_scale'"),
        (EXPERTS, DICT, "KeyError: 'model.experts.w2_weight_scale'"),
        (
            EXPERTS,
            Loader("dict", experts=".routed"),
            "KeyError: 'model.experts.routed.w2_weight_scale'",
        ),
        (O_PROJ, Loader("dict", root="model."), "KeyError: 'o.weight_scale'"),
        (
            O_PROJ,
            AUTO,
            "ValueError: There is no module or parameter named 'o.weight_scale' in Net",
        ),
        (QKV, AUTO, "AttributeError: 'QKVParallelLinear' object has no attribute 'data'"),
        (EXPERTS, AUTO, "AttributeError: Layer a.experts has no parameter 'w2_weight_scale'"),
        (O_PROJ, trunk_loader(DICT, Context("0.32.0", "cuda", {})), None),
        (
            O_PROJ,
            Loader("dict", renames=(("weight_scale", "weight_scale_inv"),)),
            "KeyError: 'model.o.weight_scale_inv'",
        ),
    ],
)
def test_a_scale_without_a_parameter_ends_the_load(
    module: Module, how: Loader, words: str | None
) -> None:
    report = judged(module, "unquantized", all_of(module), how)
    assert (report.agrees, report.consequence, report.detail) == (False, "load_error", words)


def test_the_first_tensor_by_name_is_blamed() -> None:
    assert judged(QKV, "unquantized", all_of(QKV)).tensor == "a.k.weight_scale"


def test_a_loader_that_drops_scales_lets_garbage_in() -> None:
    how = Loader("dict", skips=("weight_scale",))
    report = judged(O_PROJ, "unquantized", fp8("a.o_proj"), how)
    assert (report.agrees, report.consequence) == (False, "silent_garbage")


@pytest.mark.parametrize(
    ("how", "consequence"),
    [
        (Loader("dict", drops=True), "load_error"),
        (Loader("dict", drops=True, drops_experts=True), "silent_garbage"),
    ],
)
def test_a_loader_may_drop_what_experts_have_no_parameter_for(
    how: Loader, consequence: str
) -> None:
    assert judged(EXPERTS, "unquantized", all_of(EXPERTS), how).consequence == consequence
    assert judged(QKV, "unquantized", all_of(QKV), how).consequence == "silent_garbage"


def test_a_fused_layer_is_not_skipped() -> None:
    how = Loader("dict", skips=("weight_scale",))
    assert judged(QKV, "unquantized", all_of(QKV), how).consequence == "load_error"


def test_a_loader_with_a_fixed_table_loses_what_is_not_in_it() -> None:
    how = Loader("dict", takes=("weight", "weight_scale_inv"))
    report = judged(QKV, "quantized", all_of(QKV), how)
    assert report.detail == "KeyError: 'a.qkv.weight_scale'"


def test_an_exception_while_building_is_passed_on() -> None:
    decision = Decision(O_PROJ, "error", error="ValueError: no")
    report = judge(decision, Inventory(checkpoint(GLM, bf16("a.o_proj"))), DICT)
    assert (report.agrees, report.consequence, report.detail) == (
        False,
        "load_error",
        "ValueError: no",
    )


def test_another_format_ends_the_load_in_words_that_are_not_known() -> None:
    report = judged(O_PROJ, "quantized", fp8("a.o_proj"), expects="fp8-block")
    assert (report.consequence, report.detail) == ("load_error", None)


def test_another_format_ends_the_load_before_a_scale_can_be_missed() -> None:
    how = Loader("dict", method="quark")
    report = judged(O_PROJ, "quantized", fp8("a.o_proj"), how, expects="fp8-tensor-static")
    assert (report.consequence, report.detail) == ("load_error", None)


def test_packed_experts_lie_in_larger_weights_and_their_scales_end_the_load() -> None:
    tensors = {}
    for name in (m.replace("*", str(k)) for m in EXPERTS.members for k in range(EXPERTS.experts)):
        tensors[f"{name}.weight"] = ("U8", (32, 32))
        tensors[f"{name}.weight_scale"] = ("U8", (32, 2))
    how = Loader("dict", method="quark")
    for expects, detail in (("fp8-tensor", ""), ("fp8-channel", "RuntimeError: The size")):
        report = judged(EXPERTS, "quantized", tensors, how, expects=expects)
        assert report.consequence == "load_error"
        assert (report.detail or "").startswith(detail)
        assert (report.detail is None) == (expects == "fp8-tensor")


@pytest.mark.parametrize(
    ("method", "expects", "weight", "groups", "outcome"),
    [
        ("compressed-tensors", "nvfp4-pack", "weight_packed", 1, "silent_garbage"),
        ("compressed-tensors", "mxfp4-pack", "weight_packed", 2, "load_error"),
        ("modelopt_fp4", "modelopt-nvfp4", "weight", 1, "silent_garbage"),
    ],
)
def test_packed_experts_take_fewer_scales_in_silence_but_not_more(
    method: str, expects: str, weight: str, groups: int, outcome: str
) -> None:
    more = {"weight_global_scale": ("F32", (1,))} if groups > 1 else {}
    scale = "F8_E4M3" if groups > 1 else "U8"
    stored = {weight: ("U8", (32, 16)), "weight_scale": (scale, (32, groups)), **more}
    tensors = all_of(EXPERTS, lambda name: {f"{name}.{s}": entry for s, entry in stored.items()})
    how = Loader("dict", method=method)
    assert judged(EXPERTS, "quantized", tensors, how, expects=expects).consequence == outcome
    assert judged(O_PROJ, "quantized", tensors, how, expects=expects).agrees is not True


def test_packed_weights_have_no_place_in_a_plain_layer() -> None:
    tensors: Tensors = {
        "a.o_proj.weight_packed": ("I32", (8, 1)),
        "a.o_proj.weight_scale": ("BF16", (8, 1)),
        "a.o_proj.weight_shape": ("I32", (2,)),
    }
    report = judged(O_PROJ, "unquantized", tensors)
    assert report.detail == "KeyError: 'model.o.weight_packed'"


# --- the load succeeds, and is wrong -----------------------------------------


@pytest.mark.parametrize("module", [O_PROJ, QKV, EXPERTS])
def test_a_scale_that_is_not_on_disk_stays_uninitialised(module: Module) -> None:
    report = judged(module, "quantized", all_of(module, bf16))
    assert (report.agrees, report.consequence) == (False, "silent_garbage")


def test_a_strict_loader_notices() -> None:
    report = judged(O_PROJ, "quantized", bf16("a.o_proj"), Loader("dict", strict=True))
    assert report.consequence == "load_error"
    assert (report.detail or "").startswith(
        "RuntimeError: Some parameters like … are not in the checkpoint"
    )


def test_a_loader_may_have_words_of_its_own() -> None:
    how = Loader(
        "dict", strict=True, unfilled="ValueError: gap", unexpected="ValueError: {tensor}?"
    )
    assert judged(O_PROJ, "quantized", bf16("a.o_proj"), how).detail == "ValueError: gap"
    surplus = judged(O_PROJ, "unquantized", fp8("a.o_proj"), how)
    assert surplus.detail == "ValueError: a.o_proj.weight_scale?"


def test_plain_weights_in_a_packed_layer_end_the_load() -> None:
    report = judged(O_PROJ, "quantized", bf16("a.o_proj"), expects="int-pack")
    assert report.detail == "KeyError: 'model.o.weight'"


# --- nothing to say ----------------------------------------------------------


@pytest.mark.parametrize(("module", "consequence"), [(O_PROJ, "silent_garbage"), (HEAD, None)])
def test_what_is_absent_stays_uninitialised_unless_it_is_shared(
    module: Module, consequence: str | None
) -> None:
    report = judged(module, "quantized", {})
    assert (report.agrees, report.consequence) == (None, consequence)
    assert report.disk.state is State.MISSING


def test_an_absent_trunk_module_is_not_our_business() -> None:
    module = Module("trunk", "a.o_proj", "linear", "L", ("a.o_proj",))
    assert judged(module, "quantized", {}).consequence is None


def test_unknown_is_neither_right_nor_wrong() -> None:
    report = judged(O_PROJ, "unknown", bf16("a.o_proj"))
    assert (report.agrees, report.consequence) == (None, None)


def test_an_unknown_format_is_judged_by_its_state_alone() -> None:
    assert judged(O_PROJ, "quantized", fp8("a.o_proj"), expects=None).agrees is True
    assert judged(O_PROJ, "quantized", bf16("a.o_proj"), expects=None).agrees is False


def test_members_that_differ_are_mixed_and_wrong() -> None:
    tensors = {**fp8("a.q"), **fp8("a.k"), **bf16("a.v")}
    for built in ("quantized", "unquantized"):
        report = judged(QKV, built, tensors)
        assert (report.disk.state, report.agrees) == (State.MIXED, False)


def test_a_fused_layer_that_lacks_a_member_is_not_right() -> None:
    assert judged(QKV, "quantized", {**fp8("a.q"), **fp8("a.k")}).agrees is not True


def test_experts_of_which_one_is_absent_are_not_right() -> None:
    tensors = {n: e for n, e in all_of(EXPERTS).items() if not n.startswith("a.experts.1.")}
    assert judged(EXPERTS, "quantized", tensors).agrees is not True


# --- loaders -----------------------------------------------------------------


def test_the_loader_of_mimo_changed_in_0_25() -> None:
    old, new = (loader(known(MIMO), context(MIMO, r)) for r in ("0.24.0", "0.25.1"))
    assert (old.style, new.style, new.cls) == ("dict", "auto", "MiMoMTP")


def test_the_loader_of_glm_drops_scales() -> None:
    assert loader(known(GLM), context(GLM)).skips == ("weight_scale",)


def test_the_loader_of_qwen_prints_paths_without_model() -> None:
    assert loader(known(QWEN_NEXT), context(QWEN_NEXT)).root == "model."


@pytest.mark.parametrize(("release", "where"), [("0.23.0", ""), ("0.24.0", ".routed_experts")])
def test_the_weights_of_experts_moved_in_0_24(release: str, where: str) -> None:
    assert loader(known(GLM), context(GLM, release)).experts == where


def test_a_head_that_is_replaced_is_told_as_it_is() -> None:
    report = judged(HEAD, "quantized", bf16("a.head"))
    assert (report.agrees, report.consequence, report.replaced) == (True, None, True)
    assert "replaced by the target model's own" in (report.detail or "")


@pytest.mark.parametrize(
    ("how", "error"), [("taken", None), ("named", "KeyError: 'model.qkv.k_scale'")]
)
def test_a_scale_of_the_cache_is_taken_or_a_name_like_others(how: str, error: str | None) -> None:
    stored: Tensors = {**bf16("a.q"), **bf16("a.k"), **bf16("a.v"), "a.k.k_scale": ("F32", ())}
    report = judged(QKV, "unquantized", stored, replace(DICT, cache_scales=how))
    assert report.detail == error


def test_a_lenient_layer_takes_what_is_quantized_but_not_what_is_not_there() -> None:
    fused = replace(QKV, lenient=True)
    stored = {**bf16("a.q"), **fp8("a.k"), **bf16("a.v")}
    assert judged(fused, "unquantized", stored).agrees
    del stored["a.v.weight"]
    assert judged(fused, "unquantized", stored).consequence == "silent_garbage"


def test_a_head_that_is_tied_has_no_scales() -> None:
    tied = replace(HEAD, members=("embed_tokens",), optional=False, tied=True)
    assert judged(tied, "unquantized", bf16("embed_tokens")).agrees
    assert judged(tied, "quantized", bf16("embed_tokens")).consequence == "silent_garbage"


def test_what_is_absent_ends_the_load_where_the_loader_keeps_account() -> None:
    strict = replace(DICT, strict=True, unfilled="ValueError: some are missing")
    report = judged(O_PROJ, "unquantized", {}, strict)
    assert (report.consequence, report.detail) == ("load_error", "ValueError: some are missing")


@pytest.mark.parametrize("lost", ["a.k.weight", "a.k.bias"])
def test_a_fused_layer_needs_the_weight_and_the_bias_of_each_part(lost: str) -> None:
    stored: Tensors = {**bf16("a.q"), **bf16("a.k"), **bf16("a.v")}
    stored |= {f"{name}.bias": ("BF16", (8,)) for name in ("a.q", "a.k", "a.v")}
    assert judged(QKV, "unquantized", stored).agrees
    del stored[lost]
    assert judged(QKV, "unquantized", stored).consequence == "silent_garbage"


# --- tensors that a loader drops, and names that it keeps -----------------------------


def gptq(module: str) -> Tensors:
    return {f"{module}.g_idx": ("I32", (8,)), f"{module}.qweight": ("I32", (1, 8))}


def test_the_order_of_inputs_is_dropped_before_anything_is_loaded() -> None:
    how = replace(AUTO, unseen=frozenset({"g_idx"}))
    report = judged(O_PROJ, "unquantized", all_of(O_PROJ, gptq), how)
    assert report.detail is not None
    assert "'o.qweight'" in report.detail
    assert judged(O_PROJ, "unquantized", all_of(O_PROJ, gptq), AUTO).detail != report.detail


@pytest.mark.parametrize(("release", "dropped"), [("0.29.0", set()), (NEWEST, {"g_idx"})])
def test_loaders_drop_it_from_0_30_on(release: str, dropped: set[str]) -> None:
    assert loader(known(QWEN), context(QWEN, release)).unseen == dropped
    assert loader(known(GLM), context(GLM, release)).unseen == set()


def test_a_fused_name_that_leads_nowhere_is_not_named() -> None:
    module = replace(
        QKV, param="model.fused_qkv_a_proj", members=("a.q_a_proj", "a.kv_a_proj_with_mqa")
    )
    report = judged(module, "unquantized", all_of(module))
    assert report.detail == "KeyError: 'model.kv_a_proj_with_mqa.weight_scale'"


# --- scales of another shape -----------------------------------------------------------

MIXED = Loader("dict", method="modelopt_mixed")
SHORT = "RuntimeError: start (0) + length (…) exceeds dimension size ({})."


def scaled(*shape: int, weight: str = "F8_E4M3", more: tuple[str, ...] = ()) -> Any:
    def store(module: str) -> Tensors:
        columns = 128 if weight == "U8" else 256
        scale = "U8" if shape[-1:] == (8,) else "F8_E4M3" if weight == "U8" else "F32"
        return {
            f"{module}.weight": (weight, (256, columns)),
            f"{module}.weight_scale": (scale, shape),
            **{f"{module}.{name}": ("F32", ()) for name in more},
        }

    return store


STATIC = ("input_scale",)


@pytest.mark.parametrize(
    ("expects", "store", "row", "fused"),
    [
        ("fp8-tensor", scaled(256), "AssertionError: ", "AssertionError: "),
        ("fp8-tensor", scaled(2, 1, 2, 1), "AssertionError: ", "AssertionError: "),
        ("fp8-channel", scaled(2, 2), "AssertionError: ", "AssertionError: "),
        ("fp8-block", scaled(2, 2), "IndexError: Dimension out of range (expected to be in range "
         "of [-2, 1], but got 2)", "AssertionError: "),
        ("fp8-block", scaled(256), "IndexError: Dimension out of range (expected to be in range "
         "of [-1, 0], but got 2)", "AssertionError: "),
        ("mxfp8", scaled(256), "IndexError: Dimension out of range (expected to be in range "
         "of [-1, 0], but got 1)", "AssertionError: "),
        ("mxfp8", scaled(2, 2), SHORT.format(2), "AssertionError: "),
        ("modelopt-nvfp4", scaled(256, 8, more=STATIC), SHORT.format(8), "AssertionError: "),
        ("modelopt-nvfp4", scaled(1, more=STATIC), "IndexError: Dimension out of range (expected "
         "to be in range of [-1, 0], but got 1)", "AssertionError: "),
    ],
)  # fmt: skip
def test_scales_of_another_shape_end_the_load(
    expects: str, store: Any, row: str, fused: str
) -> None:
    for module, error in ((O_PROJ, row), (QKV, fused)):
        found = judged(module, "quantized", all_of(module, store), MIXED, expects=expects)
        assert (found.consequence, found.detail) == ("load_error", error)


@pytest.mark.parametrize("shape", [(256,), (2, 2), (256, 8)])
def test_experts_with_one_scale_each_take_no_more(shape: tuple[int, ...]) -> None:
    tensors = all_of(EXPERTS, scaled(*shape))
    found = judged(EXPERTS, "quantized", tensors, MIXED, expects="fp8-tensor")
    size = 256 * 8 if shape[-1] == 8 else 4 if len(shape) == 2 else 256
    assert found.detail == f"RuntimeError: shape '[]' is invalid for input of size {size}"
    assert found.tensor == "a.experts.0.down_proj.weight_scale"


def test_experts_fail_at_the_scales_where_a_smaller_weight_fills_a_part() -> None:
    store = scaled(256, 16, weight="U8", more=("input_scale", "weight_scale_2"))
    tensors = all_of(EXPERTS, store)
    found = judged(EXPERTS, "quantized", tensors, MIXED, expects="fp8-tensor")
    assert found.tensor == "a.experts.0.down_proj.weight_scale"


def test_the_weight_fails_before_a_scale_that_nothing_takes() -> None:
    store = scaled(256, 16, weight="U8", more=("input_scale", "weight_scale_2"))
    found = judged(QKV, "quantized", all_of(QKV, store), MIXED, expects="fp8-tensor")
    assert (found.detail, found.tensor) == ("AssertionError: ", "a.k.weight")


@pytest.mark.parametrize(
    ("expects", "store"),
    [
        ("fp8-tensor", scaled(1, more=STATIC)),
        ("fp8-channel", scaled(256)),
        ("fp8-block", scaled(2, 1, 2, 1)),
        ("modelopt-nvfp4", scaled(256, 16, weight="U8", more=("input_scale", "weight_scale_2"))),
        ("modelopt-w4a16", scaled(256, 16, weight="U8", more=("weight_scale_2",))),
        ("mxfp8", scaled(256, 8)),
    ],
)
def test_scales_of_the_right_shape_are_loaded(expects: str, store: Any) -> None:
    found = judged(O_PROJ, "quantized", all_of(O_PROJ, store), MIXED, expects=expects)
    assert found.agrees


def test_a_strict_loader_misses_what_weights_alone_do_not_need() -> None:
    strict = replace(MIXED, strict=True, unfilled="RuntimeError: Some parameters")
    store = scaled(256, 16, weight="U8", more=("weight_scale_2",))
    found = judged(O_PROJ, "quantized", all_of(O_PROJ, store), strict, expects="modelopt-w4a16")
    assert found.detail == "RuntimeError: Some parameters"
