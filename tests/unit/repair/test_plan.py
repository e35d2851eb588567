"""The planner: the fewest edits that mend the draft, and nothing else moved."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from mtpfix.model import ModelInfo, QuantView, Report, Target
from mtpfix.repair.candidates import narrowed
from mtpfix.repair.fixes import attach_fixes, title
from mtpfix.repair.plan import Options, Plan, nothing
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
    STEP5,
    Config,
    Tensors,
    cases,
    tensors,
    view_of,
    with_fp8,
    with_list,
)

DOTS: Config = {
    "architectures": ["Dots3NoteForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "layer_types": ["sliding_attention", "full_attention"],
    "first_k_dense_replace": 1,
    "n_routed_experts": 2,
}
ATTN = "model.layers.2.self_attn"
SHARED = "model.layers.2.mlp.shared_experts"
GLM_BLOCK = r"re:^model\.layers\.2\..*"
QWEN_BLOCK = r"re:^mtp\..*"
ENGINE_ONLY = Options(engine_names_only=True)
EVERYTHING = ("_proj", "fc")


def planned(
    config: Config,
    ignore: Sequence[str] = ("lm_head",),
    quantized: Sequence[str] = (),
    releases: Sequence[str] = ALL,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> Plan:
    config = with_list(config, tuple(ignore))
    return plan(cases(config, tensors(config, quantized), releases), view_of(config), options)


# --- a wholly unquantized block ----------------------------------------------


@pytest.mark.parametrize(
    ("config", "added"),
    [
        (GLM, (GLM_BLOCK,)),
        (DEEPSEEK, (GLM_BLOCK,)),
        (QWEN_NEXT, (QWEN_BLOCK,)),
        (MIMO, (GLM_BLOCK,)),
        (DEEPSEEK_V4, (GLM_BLOCK,)),
    ],
)
def test_one_anchored_pattern_exempts_the_block(config: Config, added: tuple[str, ...]) -> None:
    made = planned(config, options=ENGINE_ONLY)
    assert (made.added, made.removed, made.refused) == (added, (), None)


@pytest.mark.parametrize(
    ("config", "more"),
    [(MIMO, r"re:^model\.mtp_layers\.0\..*"), (DEEPSEEK_V4, r"re:^mtp\.0\..*")],
)
def test_other_readers_get_the_spelling_of_the_disk(config: Config, more: str) -> None:
    assert set(planned(config).added) - set(planned(config, options=ENGINE_ONLY).added) == {more}


CHOSEN = Options(engine_names_only=True, chosen_releases=True)


@pytest.mark.parametrize(
    ("release", "options", "added"),
    [
        ("0.24.0", CHOSEN, (GLM_BLOCK,)),
        ("0.23.0", CHOSEN, (GLM_BLOCK, "re:^$")),
        ("0.23.0", ENGINE_ONLY, (GLM_BLOCK,)),
    ],
)
def test_the_empty_name_has_an_entry_only_where_a_chosen_release_asks_by_it(
    release: str, options: Options, added: tuple[str, ...]
) -> None:
    assert planned(DEEPSEEK_V4, releases=(release,), options=options).added == added


def test_a_release_that_needs_the_empty_name_is_told_and_fails_no_plan() -> None:
    made = planned(DEEPSEEK_V4, releases=("0.23.0", NEWEST))
    (left,) = (item for item in made.unresolved if not item.module)
    assert (made.refused, left.releases) == (None, ("0.23.0",))
    assert "writes an entry for the empty name only if you choose the release" in left.reason
    assert left.remedy == "choose the release with `--vllm`"


def test_an_empty_entry_is_never_written() -> None:
    config = with_fp8(DEEPSEEK_V4, "head")
    stored = tensors(DEEPSEEK_V4)
    made = plan(cases(config, stored, ("0.23.0",)), view_of(config), CHOSEN)
    (left,) = (item for item in made.unresolved if not item.module)
    assert "" not in made.added
    assert "which other readers apply to every module" in left.reason
    assert left.remedy == "quantize the module"


def test_several_layers_have_a_pattern_each() -> None:
    made = planned({**GLM, "num_nextn_predict_layers": 2}, options=ENGINE_ONLY)
    assert made.added == (GLM_BLOCK, r"re:^model\.layers\.3\..*")


def test_a_pattern_that_is_there_is_not_added_again() -> None:
    made = planned(GLM, ("lm_head", GLM_BLOCK))
    assert (made.edits, made.added, made.removed, made.unresolved) == ((), (), (), ())


def test_trunk_modules_that_hang_on_a_decision_are_watched_too() -> None:
    config = {**STEP5, "layer_types": ["sliding_attention"] * 3}
    assert GLM_BLOCK in planned(config, releases=(NEWEST,)).added
    broad = ("lm_head", "re:.*self_attn.*")
    made = planned(config, broad, EVERYTHING, (NEWEST,), Options(True, repair_trunk=True))
    assert (made.removed, made.added, made.refused) == ((broad[1],), (), None)
    spared = planned(config, broad, EVERYTHING, (NEWEST,), ENGINE_ONLY)
    assert (spared.removed, spared.refused) == ((broad[1],), None)


def test_the_edits_append_to_the_list() -> None:
    (edit,) = planned(GLM).edits
    assert (edit.file, edit.pointer, edit.op, edit.value) == (
        "config.json",
        "/quantization_config/ignore/-",
        "add",
        GLM_BLOCK,
    )


def test_a_block_that_is_quantized_needs_nothing() -> None:
    assert planned(GLM, quantized=EVERYTHING).edits == ()


# --- a mixed block -----------------------------------------------------------


def test_unquantized_modules_of_a_mixed_block_are_listed_by_name() -> None:
    quantized = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    quantized += ["experts.0.down_proj", "experts.1.down_proj"]
    made = planned(GLM, quantized=quantized)
    assert set(made.added) == {f"{ATTN}.o_proj", f"{SHARED}.down_proj"}


LING_VL: Config = {
    "architectures": ["BailingMoeV3VLForConditionalGeneration"],
    "text_config": {
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "num_experts": 2,
        "layer_group_size": 2,
    },
}


def test_a_name_that_the_target_s_mapper_takes_away_is_written_as_a_pattern() -> None:
    quantized = (".q_proj", "_mqa", ".kv_b_proj", ".dense", ".gate_proj", ".up_proj", ".down_proj")
    made = planned(LING_VL, quantized=quantized, releases=["0.30.0", "0.33.0"])
    assert made.added == (r"re:^model\.layers\.2\.eh_proj$",)


def test_shards_of_a_fused_layer_are_listed_all() -> None:
    quantized = ("o_proj", "gate_proj", "up_proj", "down_proj")
    made = planned(GLM, quantized=quantized)
    assert set(made.added) == {f"{ATTN}.{shard}_proj" for shard in "qkv"}


def test_the_fused_name_alone_is_enough_for_the_engine() -> None:
    quantized = ("o_proj", "gate_proj", "up_proj", "down_proj")
    made = planned(GLM, quantized=quantized, options=ENGINE_ONLY)
    assert made.added == (f"{ATTN}.qkv_proj",)


def test_a_module_gets_a_pattern_where_the_mapper_renames_its_exact_name() -> None:
    omni = {
        "architectures": ["MiMoV2OmniForCausalLM"],
        "model_type": "mimo_v2",
        "num_hidden_layers": 2,
        "moe_layer_freq": 1,
    }
    quantized = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    made = planned(omni, quantized=quantized, releases=[NEWEST], options=ENGINE_ONLY)
    assert made.added == (r"re:^model\.mtp\.layers\.0\.mlp\.down_proj$",)


def test_experts_get_a_pattern_below_their_name() -> None:
    quantized = [f"{name}_proj" for name in "qkvo"]
    quantized += [f"shared_experts.{name}_proj" for name in ("gate", "up", "down")]
    made = planned(GLM, quantized=quantized)
    assert made.added == (r"re:^model\.layers\.2\.mlp\.experts\..*",)


def test_a_name_that_the_mapper_would_rewrite_gets_a_pattern() -> None:
    quantized = ("a_proj", "b_proj", "o_proj", "g_proj", "mqa", "gate_proj", "up_proj", "down_proj")
    made = planned(DOTS, quantized=quantized, releases=(NEWEST,), options=ENGINE_ONLY)
    assert (made.added, made.unresolved) == ((r"re:^model\.layers\.2\.eh_proj$",), ())


def test_half_a_list_is_completed() -> None:
    quantized = ("o_proj", "gate_proj", "up_proj", "down_proj")
    half = ("lm_head", f"{ATTN}.q_proj", f"{ATTN}.k_proj")
    made = planned(GLM, half, quantized)
    assert (made.added, made.removed) == ((f"{ATTN}.v_proj",), ())


def test_half_a_list_of_an_unquantized_block_gets_the_pattern() -> None:
    made = planned(GLM, ("lm_head", f"{ATTN}.q_proj"))
    assert (made.added, made.removed) == ((GLM_BLOCK,), ())


def test_half_a_list_of_a_quantized_layer_is_taken_off() -> None:
    made = planned(GLM, ("lm_head", f"{ATTN}.q_proj"), EVERYTHING)
    assert (made.removed, made.unresolved) == ((f"{ATTN}.q_proj",), ())


# --- entries that hit too much -----------------------------------------------


def test_an_entry_that_hits_quantized_modules_alone_is_taken_off() -> None:
    made = planned(QWEN_NEXT, ("lm_head", "re:^mtp.*"), EVERYTHING)
    assert (made.removed, made.added, made.unresolved) == (("re:^mtp.*",), (), ())


def test_an_exact_entry_for_a_quantized_module_is_taken_off() -> None:
    made = planned(GLM, (f"{ATTN}.o_proj", "lm_head"), EVERYTHING)
    assert made.removed == (f"{ATTN}.o_proj",)
    assert [edit.pointer for edit in made.edits] == ["/quantization_config/ignore/0"]


def test_an_entry_that_is_too_broad_is_replaced() -> None:
    experts = ("gate_proj", "up_proj", "down_proj")
    quantized = [f"experts.{number}.{name}" for number in "01" for name in experts]
    made = planned(GLM, ("lm_head", GLM_BLOCK), quantized)
    assert made.removed == (GLM_BLOCK,)
    assert set(made.added) == {
        r"re:^model\.layers\.2\.self_attn\..*",
        r"re:^model\.layers\.2\.mlp\.shared_experts\..*",
    }


def test_an_entry_that_the_trunk_needs_is_narrowed() -> None:
    config = with_list(GLM, ("re:.*o_proj",))
    found = tensors(config, EVERYTHING)
    for layer in (0, 1):
        name = f"model.layers.{layer}.self_attn.o_proj"
        found.pop(f"{name}.weight_scale")
        found[f"{name}.weight"] = ("BF16", (8, 8))
    made = plan(cases(config, found, ALL), view_of(config))
    assert made.removed == ("re:.*o_proj",)
    assert made.added == (r"re:(?!model\.layers\.2\.self_attn\.o_proj$)(?:.*o_proj)",)
    assert made.unresolved == ()


@pytest.mark.parametrize(
    "ignore",
    [
        ("re:^mtp.*", "re:.*mtp.*"),
        ("re:^mtp.*", "re:^mtp.*"),
        ("re:mtp.layers.*", "re:.*(self_attn|mlp).*", "mtp.fc"),
    ],
)
def test_every_entry_that_hits_quantized_modules_is_taken_off(ignore: tuple[str, ...]) -> None:
    made = planned(QWEN_NEXT, ("lm_head", *ignore), EVERYTHING, (NEWEST,))
    assert (sorted(made.removed), made.unresolved) == (sorted(ignore), ())


@pytest.mark.parametrize(
    ("text", "name", "hits"),
    [
        ("re:.*proj", "a.o_proj", True),
        ("re:.*proj", "a.q_proj", False),
        ("re:.*proj", "a.q_proj.x", True),
        ("re:.*proj", "b.experts.0.up_proj", False),
        ("re:a|b", "a.q_proj", False),
        ("re:a|b", "b.q_proj", True),
        ("re:", "a.q_proj", False),
        ("re:", "c", True),
    ],
)
def test_a_narrowed_pattern_spares_names(text: str, name: str, hits: bool) -> None:
    pattern = narrowed(text, {"a.q_proj", "b.experts."}, "re:")
    assert (re.match(pattern.removeprefix("re:"), name) is not None) is hits


def test_a_narrowed_pattern_with_flags_is_valid_in_python_s_re_too() -> None:
    """compressed-tensors matches with `re`; vLLM's `regex` is more lenient."""
    re.compile(narrowed("re:(?i)mtp.*", {"mtp.fc"}, "re:").removeprefix("re:"))


# --- the trunk ---------------------------------------------------------------


def test_a_trunk_that_is_hit_is_left_alone_unasked() -> None:
    made = planned(GLM, ("re:model.layers.*",))
    assert (made.edits, made.refused) == ((), None)


def test_a_trunk_that_is_hit_is_mended_on_request() -> None:
    broad = ("re:model.layers.*", r"re:.*mlp\.gate$")
    made = planned(GLM, broad, options=Options(repair_trunk=True))
    assert (made.removed, made.added) == (broad[:1], (GLM_BLOCK,))
    config = with_list(GLM)
    for case in cases(config, tensors(config), ALL):
        assert all(r.agrees for r in case.judged(made.view, case.trunk))


def test_what_only_a_broad_entry_excludes_for_others_stays_excluded() -> None:
    """The router is no layer that vLLM quantizes; compressed-tensors may take it for one."""
    made = planned(GLM, ("re:model.layers.*",), options=Options(repair_trunk=True))
    (narrowed,) = made.added
    assert narrowed.endswith("(?:model.layers.*)")
    assert re.match(narrowed[len("re:") :], "model.layers.1.mlp.gate")
    config = with_list(GLM)
    for case in cases(config, tensors(config), ALL):
        assert all(r.agrees for r in case.judged(made.view, case.trunk))


def test_a_trunk_that_is_right_needs_no_mending() -> None:
    assert planned(GLM, ("lm_head", GLM_BLOCK), options=Options(repair_trunk=True)).edits == ()


LONGCAT: Config = {
    "architectures": ["LongcatFlashForCausalLM"],
    "num_layers": 1,
    "q_lora_rank": 8,
    "n_routed_experts": 2,
}


def test_experts_that_a_target_covers_in_part_are_no_fault_of_the_list() -> None:
    groups = {"g": {"targets": [r"re:.*\.(gate|up)_proj$"], **FP8}}
    config = with_list(GLM, (), config_groups=groups)
    found = tensors(config, ("gate_proj", "up_proj", "down_proj"))
    made = plan(cases(config, found), view_of(config), ENGINE_ONLY)
    assert made.removed == ()
    assert "experts" in " ".join(left.module for left in made.unresolved)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_list_that_would_move_the_trunk_is_refused_unasked(allowed: bool) -> None:
    """The draft shares the trunk's head, and one name stands for both."""
    groups = {"g": {"targets": ["Linear", "re:lm_head"], **FP8}}
    config = with_list(
        LONGCAT, ("lm_head", r"re:model\.layers\.2\..*", "eh_proj"), config_groups=groups
    )
    found = tensors(config)
    found["lm_head.weight"] = ("F8_E4M3", (8, 8))
    found["lm_head.weight_scale"] = ("BF16", (8, 1))
    options = Options(engine_names_only=True, repair_trunk=allowed)
    made = plan(cases(config, found, (NEWEST,)), view_of(config), options)
    if allowed:
        assert (made.removed, made.refused) == (("lm_head",), None)
    else:
        assert made.edits == ()
        assert made.refused is not None
        assert made.refused.endswith("would change `lm_head` of the target model")


def test_two_modules_of_one_name_that_differ_on_disk_are_refused() -> None:
    """DeepSeek-V4 up to 0.23 asks about `e_proj` and `h_proj` by the empty name."""
    made = planned(DEEPSEEK_V4, (GLM_BLOCK, "re:^$"), ("e_proj",), ("0.23.0",), ENGINE_ONLY)
    assert made.edits == ()
    assert made.refused is not None
    assert made.refused.endswith("without breaking other modules on vLLM 0.23.0")


# --- what is left ------------------------------------------------------------


def test_a_fault_of_the_release_stays_with_its_reason() -> None:
    made = planned(DEEPSEEK_V4)
    (left,) = (item for item in made.unresolved if item.module)
    assert left.module == "model.layers.2.attn.wo_a"
    assert left.releases == tuple(r for r in ALL if r < "0.30")
    assert left.reason.endswith("; fixed in vLLM 0.30.0")


def test_a_layer_of_mixed_members_stays_with_its_reason() -> None:
    made = planned(GLM, ("lm_head", GLM_BLOCK), ("self_attn.q_proj",))
    assert [(u.module, u.reason) for u in made.unresolved] == [
        (
            f"{ATTN}.qkv_proj",
            "some of its members are quantized on disk and others are not",
        )
    ]


def test_quantized_modules_under_no_target_stay_with_their_reason() -> None:
    config = with_list(GLM, (), config_groups={"g": {"targets": ["re:nothing"], **FP8}})
    made = plan(cases(config, tensors(config, EVERYTHING), ("0.33.0",)), view_of(config))
    assert made.edits == ()
    assert {u.reason for u in made.unresolved} == {
        "nothing that the metadata can say gives it the scheme that is on disk"
    }


def test_an_invalid_pattern_is_left_to_a_person() -> None:
    made = planned(GLM, ("lm_head", "re:*"))
    assert made.edits == ()
    assert {u.reason for u in made.unresolved} == {"error: nothing to repeat at position 0"}


def test_without_metadata_there_is_nothing_to_plan() -> None:
    assert nothing() == Plan(QuantView("", "config.json", "", (), "", (), None))


# --- again -------------------------------------------------------------------


def test_a_second_plan_changes_nothing() -> None:
    quantized = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj")
    first = planned(MIMO, ("re:.*o_proj", r"re:model\.layers\..*"), quantized, (NEWEST,))
    config = with_list(MIMO)
    judged = cases(config, tensors(config, quantized), (NEWEST,))
    assert plan(judged, first.view).edits == ()


# --- as a fix ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "removed", "words"),
    [
        (("a",), (), "add `a` to the ignore list"),
        ((), ("a",), "remove `a` from the ignore list"),
        (("b", "c"), ("a",), "in the ignore list, replace `a` by `b`, `c`"),
    ],
)
def test_a_plan_in_words(added: tuple[str, ...], removed: tuple[str, ...], words: str) -> None:
    view = view_of(with_list(GLM))
    assert title(Plan(view, added=added, removed=removed)) == words


def test_no_findings_need_no_plan() -> None:
    report = Report(Target("local", ""), ModelInfo(None, None, ()), None, (), (), (), 0)
    assert attach_fixes(report, cases(with_list(GLM)), {}) == report


def test_a_module_that_is_a_block_of_its_own_on_disk_is_exempt_by_its_name() -> None:
    """ERNIE keeps `model.mtp_linear_proj.0` outside the block; vLLM never asks about it."""
    config = with_list(
        {
            "architectures": ["Ernie4_5_MoeForCausalLM"],
            "model_type": "ernie4_5_moe",
            "num_hidden_layers": 2,
            "num_nextn_predict_layers": 1,
            "moe_num_experts": 2,
            "moe_layer_start_index": 1,
        }
    )
    made = plan(cases(config, tensors(config)), view_of(config))
    assert "model.mtp_linear_proj.0" in made.added


def test_a_head_that_is_replaced_is_no_fault() -> None:
    """vLLM builds it quantized, and puts the target's own in its place."""
    stored = tensors(DEEPSEEK, ("_proj", "kv_a_proj_with_mqa"))
    heads = {"g": {"targets": ["ParallelLMHead"], **FP8}}
    assert plan_of(with_list(DEEPSEEK, (), config_groups=heads), stored).added == ()


def test_a_head_that_is_replaced_gets_its_entry_with_the_others() -> None:
    both = {"g": {"targets": ["Linear", "ParallelLMHead"], **FP8}}
    assert plan_of(with_list(DEEPSEEK, (), config_groups=both), tensors(DEEPSEEK)).added == (
        GLM_BLOCK,
    )


def plan_of(config: Config, stored: Tensors) -> Plan:
    return plan(cases(config, stored), view_of(config), Options())
