"""Headers in the place of a list: what AWQ and GPTQ read in them, and what a list then says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.vllm.case import Case, report
from mtpfix.model import HEADERS, ModuleReport
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from tests.unit.engines.small import (
    ALL,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    Config,
    checkpoint,
    context,
    known,
    tensors,
    view_of,
)
from tools.sample import Tensors

AWQ: Config = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ: Config = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 128,
    "desc_act": False,
    "sym": True,
}
MOE = "model.layers.2.mlp.experts"


def packed(config: Config, *quantized: str, gptq: bool = False) -> Tensors:
    """All tensors: the trunk in words of 32 bits, the draft in BF16 but for some names."""
    found: Tensors = {}
    # 128 inputs and 8 outputs: AWQ has eight outputs in a word, GPTQ eight inputs.
    awq = config["quantization_config"]["quant_method"] == "awq"
    for name, entry in tensors(config, quantized).items():
        module, _, last = name.rpartition(".")
        if entry[0] == "F8_E4M3":
            found[f"{module}.qweight"] = ("I32", (128, 1) if awq else (16, 8))
            found[f"{module}.qzeros"] = ("I32", (1, 1))
            found[f"{module}.scales"] = ("F16", (1, 8))
            found.update({f"{module}.g_idx": ("I32", (128,))} if gptq else {})
        elif last == "weight":
            found[name] = entry
    return found


def case(config: Config, stored: Tensors, release: str = NEWEST) -> Case:
    return Case(known(config), context(config, release), Inventory(checkpoint(config, stored)))


def judged(config: Config, stored: Tensors) -> dict[str, ModuleReport]:
    here = case(config, stored)
    return {r.decision.module.name: r for r in report(here, view_of(config)).modules}


def planned(config: Config, stored: Tensors, options: Options = Options()) -> Plan:  # noqa: B008
    here = Inventory(checkpoint(config, stored))
    cases = [Case(known(config), context(config, release), here) for release in ALL]
    return plan(cases, view_of(config), options)


def with_method(config: Config, method: Config, **more: Any) -> Config:
    return {**config, "quantization_config": {**method, **more}}


def test_awq_without_a_list_spares_what_is_plain_in_the_headers_but_not_experts() -> None:
    config = with_method(GLM, AWQ)
    found = judged(config, packed(config))
    attention = found["model.layers.2.self_attn.qkv_proj"]
    assert attention.agrees is True
    assert attention.decision.because is not None
    assert attention.decision.because.file == HEADERS
    assert found[MOE].decision.built == "quantized"
    assert found[MOE].agrees is False
    assert found["model.layers.0.self_attn.qkv_proj"].decision.built == "quantized"


def test_a_list_switches_the_headers_off() -> None:
    config = with_method(GLM, AWQ, modules_to_not_convert=["visual"])
    found = judged(config, packed(config))
    assert found["model.layers.2.self_attn.qkv_proj"].decision.built == "quantized"


def test_an_empty_list_is_none() -> None:
    for value in ([], None):
        config = with_method(GLM, AWQ, modules_to_not_convert=value)
        found = judged(config, packed(config))
        assert found["model.layers.2.self_attn.qkv_proj"].decision.built == "unquantized"


def test_stacked_experts_are_spared_by_the_name_of_their_module() -> None:
    config = with_method(GLM, AWQ)
    stored = {n: e for n, e in packed(config).items() if not n.startswith(f"{MOE}.")}
    stored[f"{MOE}.gate_up_proj"] = stored[f"{MOE}.down_proj"] = ("BF16", (2, 8, 8))
    assert judged(config, stored)[MOE].decision.built == "unquantized"


def test_a_bare_parameter_spares_all_layers_beside_it() -> None:
    config = with_method(QWEN_NEXT, AWQ)
    stored = {**packed(config), "model.layers.0.linear_attn.A_log": ("F32", (8,))}
    found = judged(config, stored)["model.layers.0.linear_attn.in_proj_qkvz"]
    assert (found.decision.built, found.agrees) == ("unquantized", False)


def test_the_first_entry_comes_with_all_that_the_headers_said() -> None:
    config = with_method(GLM, AWQ)
    stored = {**packed(config), "model.layers.1.mlp.gate.weight": ("BF16", (2, 8))}
    stored["visual.merger.weight"] = stored["visual.blocks.0.weight"] = ("BF16", (8, 8))
    stored["model.norm.weight"] = ("BF16", (8,))
    added = planned(config, stored).added
    assert set(added) >= {"model.layers.2.", "model.layers.1.mlp.gate", "lm_head", "visual."}
    assert "model.norm" not in added
    after = with_method(GLM, AWQ, modules_to_not_convert=list(added))
    assert all(r.agrees is not False for r in judged(after, stored).values())


def test_nothing_is_written_where_the_headers_are_enough() -> None:
    config = with_method(GLM, AWQ)
    stored = packed(config, "_proj")
    assert planned(config, stored).edits == ()


def test_modules_that_headers_hide_from_vllm_alone_are_not_hidden_from_others() -> None:
    """Only vLLM reads headers: a list that says what they hide would hide it from all readers."""
    config = with_method(QWEN_NEXT, AWQ)
    stored = {**packed(config), "model.layers.0.linear_attn.A_log": ("F32", (8,))}
    kept = planned(config, stored)
    assert (kept.edits, kept.refused) == (
        (),
        "every list that fixes the MTP block would change "
        "`model.layers.0.linear_attn.in_proj_qkvz` of the target model, "
        "as transformers reads the file",
    )
    mended = planned(config, stored, Options(repair_trunk=True))
    assert "model.layers.0.linear_attn" not in mended.added
    after = with_method(QWEN_NEXT, AWQ, modules_to_not_convert=list(mended.added))
    assert all(r.agrees is not False for r in judged(after, stored).values())


def test_gptq_without_a_list_quantizes_what_the_headers_name() -> None:
    config = with_method(GLM, GPTQ)
    found = judged(config, packed(config, gptq=True))
    assert found["model.layers.0.self_attn.qkv_proj"].decision.built == "quantized"
    assert found["model.layers.2.self_attn.qkv_proj"].decision.built == "unquantized"
    assert found[MOE].agrees is False
    assert planned(config, packed(config, gptq=True)).added == (r"-:^model\.layers\.2\..*",)


def test_gptq_does_not_find_a_quantized_draft_under_the_names_of_the_disk() -> None:
    config = with_method(MIMO, GPTQ)
    found = judged(config, packed(config, "_proj", gptq=True))["model.layers.2.self_attn.o_proj"]
    assert (found.decision.built, found.agrees) == ("unquantized", False)


def test_such_a_draft_is_found_under_parts_that_both_have() -> None:
    config = with_method(MIMO, GPTQ)
    stored = packed(config, "_proj", gptq=True)
    listed = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    listed += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    whole = with_method(MIMO, GPTQ, modules_in_block_to_quantize=listed)
    found = case(whole, stored, "0.28.0").part(view_of(whole), "draft")
    assert all(r.agrees is not False for r in found)


@pytest.mark.parametrize("rule", ["+:.*", r"+:.*mlp.*", r".*layers\.[12].*"])
def test_a_rule_that_would_win_comes_after_the_new_one(rule: str) -> None:
    dynamic = {rule: {"bits": 8}}
    config = with_method(GLM, GPTQ, dynamic=dynamic, modules_in_block_to_quantize=["proj"])
    made = planned(config, packed(config, gptq=True))
    assert made.added == (r"-:^model\.layers\.2\..*",)
    (edit,) = made.edits
    assert list(edit.value.items()) == [(made.added[0], {}), (rule, {"bits": 8})]


@pytest.mark.parametrize(
    ("rule", "quantized", "removed"),
    [
        (r"-:.*layers\.2\..*", ("_proj",), True),
        (r"-:.*", ("_proj",), True),
        (r"-:.*self_attn.*", ("q_proj", "k_proj", "v_proj", "o_proj"), True),
        (r"-:.*layers\.7\..*", ("_proj",), False),
    ],
)
def test_a_rule_that_skips_what_is_quantized_goes_or_is_narrowed(
    rule: str, quantized: tuple[str, ...], removed: bool
) -> None:
    more: Config = {"dynamic": {rule: {}}, "modules_in_block_to_quantize": ["proj"]}
    config = with_method(GLM, GPTQ, **more)
    stored = packed(config, *quantized, gptq=True)
    made = planned(config, stored)
    assert made.removed == ((rule,) if removed else ())
    after = replace(view_of(config), ignore=made.view.ignore, raw=made.view.raw)
    drafts = report(case(config, stored, "0.29.0"), after).modules
    assert all(r.agrees for r in drafts if r.decision.module.part == "draft" and r.members)


@pytest.mark.parametrize(("release", "error"), [("0.29.0", None), ("0.30.0", "w2_g_idx'")])
def test_the_order_of_activations_has_no_place_in_newer_releases(
    release: str, error: str | None
) -> None:
    config = with_method(GLM, GPTQ)
    found = report(case(config, packed(config, "_proj", gptq=True), release), view_of(config))
    made = next(r for r in found.modules if r.decision.module.name == MOE)
    assert (made.detail is None) if error is None else (made.detail or "").endswith(error)


MTP_RULE, TRUNK_RULE = r"+:.*layers\.2\..*", r"+:.*layers\.[12]\..*"


@pytest.mark.parametrize(("rule", "goes"), [(MTP_RULE, True), (TRUNK_RULE, False)])
def test_a_rule_that_wins_goes_where_it_quantizes_nothing_but_the_block(
    rule: str, goes: bool
) -> None:
    blocks = ["self_attn", "mlp"]
    config = with_method(
        GLM, GPTQ, modules_in_block_to_quantize=blocks, dynamic={rule: {"bits": 4}}
    )
    stored = packed(config, gptq=True)
    found = planned(config, stored)
    assert found.removed == ((rule,) if goes else ())
    rules = found.view.raw["dynamic"]
    assert next(iter(rules)).startswith("-:")
    assert (rule in rules) is not goes
    after = with_method(GLM, GPTQ, modules_in_block_to_quantize=blocks, dynamic=rules)
    draft = [r for r in judged(after, stored).values() if r.decision.module.part == "draft"]
    assert all(r.agrees is not False for r in draft)
