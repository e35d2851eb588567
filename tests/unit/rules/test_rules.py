"""Findings: each code, its severity, its words, its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtpfix import rules
from mtpfix.checkpoint.document import JsonDocument
from mtpfix.engines.vllm.case import Case, report
from mtpfix.findings import kinds
from mtpfix.model import FAILED, Finding, Platform, Problem
from mtpfix.rules.evidence import Evidence, some
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
    bf16,
    case,
    checkpoint,
    fp8,
    tensors,
    view_of,
    with_list,
)

BLOCK = r"re:^model\.layers\.2\..*"
ATTN = "model.layers.2.self_attn"
EXPERTS = "model.layers.2.mlp.experts"


def evidence(
    config: Config,
    found: Tensors | None = None,
    release: str = NEWEST,
    problems: tuple[Problem, ...] = (),
    made: Case | None = None,
) -> Evidence:
    stored = tensors(config) if found is None else found
    made = made or case(config, stored, release)
    raw = json.dumps(config, indent=2).encode()
    return Evidence(
        made,
        view_of(config),
        report(made, view_of(config)),
        checkpoint(config, stored, problems),
        problems,
        lambda file, pointer: JsonDocument(raw).line_of(pointer) if pointer else None,
    )


def findings(config: Config, found: Tensors | None = None, **more: Any) -> tuple[Finding, ...]:
    return rules.run([evidence(config, found, **more)])


def of_code(code: str, config: Config, found: Tensors | None = None, **more: Any) -> list[Finding]:
    return [f for f in findings(config, found, **more) if f.code == code]


def one(code: str, config: Config, found: Tensors | None = None, **more: Any) -> Finding:
    (finding,) = of_code(code, config, found, **more)
    return finding


def without_mtp(config: Config, root: str) -> Tensors:
    return {n: e for n, e in tensors(config).items() if not n.startswith(root)}


def text_at(config: Config, line: int | None) -> str:
    assert line is not None
    return json.dumps(config, indent=2).splitlines()[line - 1].strip()


# --- nothing -----------------------------------------------------------------


@pytest.mark.parametrize("config", [GLM, DEEPSEEK])
def test_a_clean_checkpoint_has_no_findings(config: Config) -> None:
    assert findings(with_list(config, ("lm_head", BLOCK))) == ()


# --- MTP0xx ------------------------------------------------------------------


def test_mtp001_weights_that_are_promised_and_absent() -> None:
    config = with_list(DEEPSEEK, (BLOCK,))
    finding = one("MTP001", config, without_mtp(config, "model.layers.2."))
    assert finding.severity == "error"
    assert "declares 1 MTP layer," in finding.message
    assert "vLLM refuses to load the draft" in finding.message
    assert finding.fix is not None
    assert (finding.fix.applicability, finding.fix.edits) == ("display", ())


def test_mtp001_where_the_engine_does_not_notice() -> None:
    config = with_list(QWEN_NEXT)
    finding = one("MTP001", config, without_mtp(config, "mtp."))
    assert "the draft stays uninitialised" in finding.message


def test_mtp001_does_not_blame_absent_weights_for_another_error() -> None:
    config = with_list(QWEN_NEXT, ("model.layers.1.self_attn.q_proj",))
    finding = one("MTP001", config, without_mtp(config, "mtp."))
    assert "vLLM refuses" not in finding.message


def test_mtp002_weights_that_are_present_and_not_promised() -> None:
    found = tensors(with_list(GLM))
    config = with_list({**GLM, "num_nextn_predict_layers": 0}, (BLOCK,))
    finding = one("MTP002", config, found)
    assert (finding.severity, finding.confidence) == ("error", "run")
    assert "declares no MTP layer" in finding.message
    assert "tensors of an MTP block are on disk (`model.layers.2." in finding.message
    assert "target model does not load with them: ValueError: There is no mod" in finding.message


def test_mtp002_where_the_target_model_drops_them_or_nobody_knows() -> None:
    found = tensors(with_list(MIMO))
    config = with_list({**MIMO, "num_nextn_predict_layers": 0}, ("lm_head",))
    assert one("MTP002", config, found).severity == "warning"
    assert of_code("MTP904", config, found) == []
    assert one("MTP002", config, found, release="0.24.0").severity == "warning"
    assert "is not known" in one("MTP904", config, found, release="0.24.0").message


def test_mtp003_fewer_layers_than_declared() -> None:
    config = with_list({**MIMO, "num_nextn_predict_layers": 3}, ("re:.*",))
    finding = one("MTP003", config, without_mtp(config, "model.mtp_layers.1."))
    assert finding.severity == "error"
    assert "declares 3 MTP layers, but these layers have no tensors: 3." in finding.message
    assert not of_code("MTP001", config, without_mtp(config, "model.mtp_layers.1."))


def test_mtp004_weights_in_a_file_that_the_index_does_not_name() -> None:
    config = with_list(GLM, (BLOCK,))
    problem = Problem("not_in_index", "why", "mtp.safetensors", (f"{ATTN}.o_proj.weight", "a.b"))
    finding = one("MTP004", config, problems=(problem,))
    assert finding.severity == "error"
    assert "mtp.safetensors holds 1 MTP tensors" in finding.message
    assert finding.where is not None
    assert finding.where.file == "mtp.safetensors"


def test_a_file_that_nobody_could_read_may_hold_the_block() -> None:
    problem = Problem("not_in_index", "x is torn", "mtp.safetensors", unread=True)
    finding = one("MTP402", with_list(GLM, (BLOCK,)), problems=(problem,))
    assert (finding.severity, finding.message[:10]) == ("warning", "x is torn.")


def test_mtp004_is_about_the_mtp_block_only() -> None:
    config = with_list(GLM, (BLOCK,))
    problem = Problem("not_in_index", "why", "other.safetensors", ("visual.weight",))
    assert findings(config, problems=(problem,)) == ()


def test_mtp005_a_single_file_beside_the_index() -> None:
    config = with_list(GLM, (BLOCK,))
    problem = Problem("shadowed_index", "why", "model.safetensors")
    finding = one("MTP005", config, problems=(problem,))
    assert (finding.severity, finding.where and finding.where.file) == (
        "warning",
        "model.safetensors",
    )


def test_mtp004_counts_the_tensors_of_the_single_file_too() -> None:
    config = with_list(GLM, (BLOCK,))
    lost = (f"{ATTN}.o_proj.weight",)
    problem = Problem("shadowed_index", "why", "model.safetensors", lost)
    assert of_code("MTP004", config, problems=(problem,))


@pytest.mark.parametrize("lost", ["model.layers.2.eh_proj", f"{ATTN}.q_b_proj", f"{EXPERTS}.0."])
def test_mtp006_a_layer_that_is_there_and_not_whole(lost: str) -> None:
    config = with_list(DEEPSEEK, (BLOCK,))
    finding = one("MTP006", config, without_mtp(config, lost))
    assert finding.severity == "error"
    assert "weights of MTP modules are missing" in finding.message
    assert finding.modules[0].startswith("model.layers.2.")


def test_mtp006_leaves_layers_that_are_absent_as_a_whole_to_mtp001() -> None:
    config = with_list(DEEPSEEK, (BLOCK,))
    assert of_code("MTP006", config, without_mtp(config, "model.layers.2.")) == []


# --- MTP1xx ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "entry", "words"),
    [
        (
            MIMO,
            "model.mtp_layers.0.self_attn.o_proj",
            "this is the checkpoint's own spelling; for example, for "
            "`model.mtp_layers.0.self_attn.o_proj` vLLM asks about "
            "`model.layers.2.self_attn.o_proj`",
        ),
        (
            MIMO,
            "model.mtp_layers.2.mtp_block.self_attn.o_proj",
            "the module tree has `model.mtp_layers.2.mtp_block.self_attn.o_proj`, but vLLM asks "
            "about `model.layers.2.self_attn.o_proj`, which has no `mtp_layers`",
        ),
        (DEEPSEEK_V4, "re:.*mtp_block.*", "but vLLM asks about `model.layers.2."),
        (QWEN_NEXT, "mtp*", "names are compared whole, without wildcards"),
        (
            QWEN_NEXT,
            "mtp",
            "begin with `re:`, and vLLM asks about names like `mtp.fc`",
        ),
        (GLM, "model.layers.2", "names are compared whole"),
        (GLM, "layers.2.mlp.experts.0.up_proj", "names are compared whole"),
        (
            QWEN_NEXT,
            "re:.*nextn.*",
            "no name that vLLM asks about matches; such names look like `mtp.fc`",
        ),
        pytest.param(
            GLM,
            "model.layers.2.eh_proj",
            "vLLM builds `model.layers.2.eh_proj` without asking",
        ),
    ],
)
def test_mtp101_an_entry_that_never_matches(config: Config, entry: str, words: str) -> None:
    config = with_list(config, ("lm_head", entry))
    finding = one("MTP101", config)
    assert finding.severity == "warning"
    assert finding.message.startswith(f"`{entry}` never matches: ")
    assert words in finding.message
    assert finding.where is not None
    assert finding.where.pointer == "/quantization_config/ignore/1"
    assert text_at(config, finding.where.line) == json.dumps(entry)


def test_mtp101_is_for_information_where_all_is_well() -> None:
    config = with_list(MIMO, (BLOCK, "model.mtp_layers.0.self_attn.o_proj"))
    assert one("MTP101", config).severity == "info"


def test_mtp101_entries_with_one_reason_are_one_finding() -> None:
    entries = tuple(f"model.mtp_layers.0.self_attn.{p}_proj" for p in "qkvo")
    finding = one("MTP101", with_list(MIMO, entries))
    assert "and 1 more never match: " in finding.message


@pytest.mark.parametrize("entry", ["lm_head", "re:.*lm_head", "visual.proj", "re:.*visual.*"])
def test_mtp101_is_not_about_entries_for_other_parts(entry: str) -> None:
    assert not of_code("MTP101", with_list(GLM, (entry, BLOCK)))


def test_mtp101_an_entry_for_the_trunk_alone_is_alive() -> None:
    config = with_list(GLM, (BLOCK, "model.layers.0.self_attn.o_proj"))
    assert not of_code("MTP101", config)


def test_mtp101_shards_of_a_layer_that_has_no_mapping_are_dead() -> None:
    entries = ("model.layers.2.attn.wq_a", "model.layers.2.attn.wkv")
    assert of_code("MTP101", with_list(DEEPSEEK_V4, entries), release="0.28.0")


def test_mtp101_shards_of_a_layer_with_a_mapping_are_alive() -> None:
    entries = ("model.layers.2.attn.wq_a", "model.layers.2.attn.wkv")
    assert not of_code("MTP101", with_list(DEEPSEEK_V4, entries), release="0.29.0")


def test_mtp102_half_a_list() -> None:
    config = with_list(GLM, ("lm_head", f"{ATTN}.q_proj"))
    finding = one("MTP102", config)
    assert finding.severity == "error"
    assert finding.modules == (f"{ATTN}.qkv_proj",)
    assert f"`{ATTN}.qkv_proj` is excluded only in part" in finding.message
    assert "ValueError: Found different quantization schemes" in finding.message
    assert finding.where is not None
    assert text_at(config, finding.where.line) == f'"{ATTN}.q_proj"'


def test_mtp102_half_of_expert_0() -> None:
    finding = one("MTP102", with_list(GLM, (f"{EXPERTS}.0.up_proj",)))
    assert finding.modules == (EXPERTS,)
    assert "All MoE projections need" in finding.message


def test_mtp102_in_the_trunk() -> None:
    config = with_list(GLM, (BLOCK, "model.layers.0.self_attn.q_proj"))
    assert one("MTP102", config).modules == ("model.layers.0.self_attn.qkv_proj",)


def test_mtp103_an_entry_that_hits_the_trunk() -> None:
    config = with_list(GLM, ("re:model.layers.*",))
    finding = one("MTP103", config)
    assert finding.severity == "error"
    assert (
        "`re:model.layers.*` excludes more than the MTP block: 9 target-model modules are "
        "quantized on disk, but vLLM builds them unquantized because of this entry: "
    ) in finding.message
    assert all(not name.startswith("model.layers.2.") for name in finding.modules)
    assert finding.where is not None
    assert finding.where.pointer == "/quantization_config/ignore/0"


def test_mtp103_is_not_about_a_trunk_that_is_unquantized_there() -> None:
    config = with_list(GLM, (BLOCK, "re:.*self_attn.*"))
    found = tensors(config)
    for name in [n for n in found if "self_attn" in n and n.endswith("weight_scale")]:
        found.pop(name)
        found.update(bf16(name.removesuffix(".weight_scale")))
    assert not of_code("MTP103", config, found)


def test_mtp104_names_of_experts_that_are_not_asked() -> None:
    finding = one("MTP104", with_list(GLM, (EXPERTS,)))
    assert finding.severity == "warning"
    assert "vLLM asks only about expert 0" in finding.message
    assert f"`{EXPERTS}.0.gate_proj`" in finding.message


def test_mtp104_is_left_out_where_all_is_well() -> None:
    assert not of_code("MTP104", with_list(GLM, (BLOCK, EXPERTS)))


# --- MTP2xx ------------------------------------------------------------------


def test_mtp201_unquantized_on_disk_and_built_quantized() -> None:
    config = with_list(GLM, ("lm_head",))
    first = of_code("MTP201", config)[0]
    assert first.severity == "error"
    assert f"{ATTN}.qkv_proj" in first.modules
    assert "unquantized on disk, but target `Linear` matches them" in first.message
    assert "every draft token is rejected" in first.message
    assert first.where is not None
    assert text_at(config, first.where.line) == '"Linear"'


def test_mtp201_modules_under_one_target_are_one_finding() -> None:
    groups = {
        "a": {"targets": ["re:.*self_attn.*"], **FP8},
        "b": {"targets": ["re:.*mlp.*"], **FP8},
    }
    found = of_code("MTP201", with_list(GLM, (), config_groups=groups))
    assert len(found) == 2


def test_mtp201_experts_under_linear_are_in_the_finding_about_linear() -> None:
    config = with_list(GLM, ("lm_head",))
    assert [EXPERTS in finding.modules for finding in of_code("MTP201", config)] == [True]


def test_mtp201_where_the_load_fails() -> None:
    groups = {
        "g": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
            "format": "pack-quantized",
        }
    }
    config = with_list(GLM, ("lm_head",), config_groups=groups)
    assert "Loading the draft fails." in of_code("MTP201", config)[0].message


def test_mtp202_quantized_on_disk_and_exempt() -> None:
    config = with_list(GLM, (f"{ATTN}.o_proj",))
    finding = one("MTP202", config, tensors(config, ("_proj",)))
    assert finding.severity == "error"
    assert finding.modules == (f"{ATTN}.o_proj",)
    assert f"quantized on disk, but `{ATTN}.o_proj` excludes it" in finding.message


def test_mtp202_quantized_on_disk_and_under_no_target() -> None:
    groups = {"g": {"targets": ["re:.*mlp.*"], **FP8}}
    config = with_list(GLM, (), config_groups=groups)
    finding = one("MTP202", config, tensors(config, ("_proj",)))
    assert "but no target matches them" in finding.message
    assert finding.where is None


def test_mtp203_another_format_than_the_target_s() -> None:
    config = with_list(GLM)
    found = tensors(config, ("_proj",))
    found[f"{ATTN}.o_proj.weight_scale"] = ("F32", (1,))
    finding = one("MTP203", config, found)
    assert finding.severity == "error"
    assert finding.modules == (f"{ATTN}.o_proj",)
    assert "is fp8-tensor on disk" in finding.message
    assert "CompressedTensorsW8A8Fp8, which reads fp8-channel" in finding.message


def test_mtp204_members_of_one_layer_that_differ() -> None:
    config = with_list(GLM)
    found = {**tensors(config, ("_proj",)), **bf16(f"{ATTN}.q_proj")}
    found.pop(f"{ATTN}.q_proj.weight_scale")
    finding = one("MTP204", config, found)
    assert finding.severity == "error"
    assert finding.modules == (f"{ATTN}.qkv_proj",)
    assert "are quantized on disk and others are not, but vLLM builds" in finding.message


def test_mtp204_experts_that_differ() -> None:
    config = with_list(GLM)
    found = {**tensors(config, ("_proj",)), **bf16(f"{EXPERTS}.1.up_proj")}
    found.pop(f"{EXPERTS}.1.up_proj.weight_scale")
    assert one("MTP204", config, found).modules == (EXPERTS,)


def test_mtp205_an_invalid_pattern() -> None:
    config = with_list(GLM, ("lm_head", "re:*"))
    finding = one("MTP205", config)
    assert finding.severity == "error"
    assert "error: nothing to repeat at position 0" in finding.message
    assert finding.where is not None
    assert text_at(config, finding.where.line) == '"re:*"'


def test_mtp205_a_scheme_that_the_engine_lacks() -> None:
    found = of_code("MTP205", with_list(GLM, (BLOCK,), format="dense"))
    assert any("NotImplementedError: No compressed-tensors" in f.message for f in found)


def test_mtp205_errors_that_differ_in_the_name_alone_are_one_finding() -> None:
    unmatched = {"group_0": {"targets": ["re:nothing"], **FP8}}
    config = with_list(GLM, (), config_groups=unmatched)
    found = of_code("MTP205", config, release="0.20.2")
    told = [f for f in found if "Unable to find matching target" in f.message]
    assert len(told) == len(("linear layers", "experts"))
    assert all(len(finding.modules) > 1 for finding in told)


@pytest.mark.parametrize("entry", ["model.layers.0.self_attn.o_proj", "re:model.layers.0.*"])
def test_mtp206_an_entry_that_takes_the_scheme_from_the_trunk_alone(entry: str) -> None:
    config = with_list(DEEPSEEK, (BLOCK, entry))
    finding = one("MTP206", config)
    assert (finding.severity, "model.layers.0.self_attn.o_proj" in finding.modules) == (
        "error",
        True,
    )
    assert f" because of `{entry}`: " in finding.message
    assert ", but vLLM builds " in finding.message
    assert finding.where is not None
    assert entry in text_at(config, finding.where.line)


@pytest.mark.parametrize("release", ["0.20.2", "0.21.0", "0.22.1"])
def test_mtp207_a_key_that_the_model_class_reads_unasked(release: str) -> None:
    """Run on each: `KeyError: 'scale_fmt'` while the first decoder layer is built."""
    config = with_list(DEEPSEEK_V4)
    item = evidence(config, release=release)
    assert (item.report.outcome, item.report.error) == ("load_error", "KeyError: 'scale_fmt'")
    finding = one("MTP207", config, release=release)
    assert "vLLM 0.23.0 and newer do not need the key." in finding.message
    there = with_list(DEEPSEEK_V4, scale_fmt="ue8m0")
    assert of_code("MTP207", there, release=release) == []
    assert of_code("MTP207", config, release="0.23.0") == []


def test_mtp206_targets_that_cover_nothing() -> None:
    config = with_list(DEEPSEEK, (BLOCK,), config_groups={})
    assert "but vLLM builds them unquantized" in one("MTP206", config).message


def test_mtp206_leaves_a_shared_entry_to_mtp103() -> None:
    found = findings(with_list(DEEPSEEK, ("re:.*",)))
    assert [f.code for f in found if f.severity == "error"] == ["MTP103"]


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from([GLM, DEEPSEEK, MIMO, QWEN_NEXT, DEEPSEEK_V4]),
    ignore=st.lists(
        st.sampled_from(
            [
                *(BLOCK, r"re:.*mtp.*", "re:.*", "re:.*attn.*", "lm_head", "re:.*layers.0.*"),
                *("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"),
            ]
        ),
        max_size=3,
    ),
    quantized=st.sampled_from([(), ("_proj",), ("0.down_proj",)]),
    data=st.data(),
)
def test_a_load_that_fails_always_has_an_error(
    config: Config, ignore: list[str], quantized: tuple[str, ...], data: st.DataObject
) -> None:
    config = with_list(config, tuple(ignore))
    stored = tensors(config, quantized)
    lost = data.draw(st.lists(st.sampled_from(sorted(stored)), max_size=3))
    item = evidence(config, {n: e for n, e in stored.items() if n not in lost})
    if item.report.outcome in FAILED:
        assert rules.worst(rules.run([item])) == "error"


# --- MTP3xx, MTP4xx ----------------------------------------------------------


def test_mtp301_a_fault_of_the_release() -> None:
    config = with_list(DEEPSEEK_V4, (BLOCK,))
    finding = one("MTP301", config, release="0.29.0")
    assert (finding.severity, finding.confidence) == ("error", "read")
    assert finding.modules == ("model.layers.2.attn.wo_a",)
    assert finding.message.endswith("Fixed in vLLM 0.30.0.")
    assert finding.fix is not None
    assert finding.fix.title == (
        "take a release that has the fix: `mtpfix check --vllm '>=0.30.0'` says which are right"
    )
    assert not of_code("MTP301", config, release="0.30.0")


HY_V4: Config = {
    "architectures": ["HYV4ForCausalLM"],
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "n_routed_experts": 2,
}


def test_a_draft_that_does_not_ask_needs_no_entries() -> None:
    config = with_list({**HY_V4, "mtp_quant_algo": "BF16"}, ("lm_head",))
    assert evidence(config).report.outcome == "clean"
    assert [f.code for f in findings(config) if f.severity in FAILED] == []


def test_mtp301_a_draft_that_another_field_quantizes() -> None:
    config = with_list({**HY_V4, "mtp_quant_algo": "FP8"}, ("re:.*",))
    found = one("MTP301", config, tensors(config, ()))
    assert "`mtp_quant_algo`" in found.message
    assert found.fix is not None
    assert found.fix.title == "remove `mtp_quant_algo` from config.json, or set it to BF16"


def test_mtp303_quantized_where_the_engine_never_quantizes() -> None:
    config = with_list(GLM, (BLOCK,))
    found = {**tensors(config), **fp8("model.layers.2.eh_proj")}
    finding = one("MTP303", config, found)
    assert finding.severity == "error"
    assert finding.modules == ("model.layers.2.eh_proj",)
    assert "always builds it unquantized" in finding.message


@pytest.mark.parametrize(
    ("name", "severity"), [(f"{ATTN}.o_proj.weight", "error"), ("visual.a.weight", "warning")]
)
def test_mtp402_index_and_header_disagree(name: str, severity: str) -> None:
    config = with_list(GLM, (BLOCK,))
    problem = Problem("header_disagrees", "they differ", "model.safetensors", (name,))
    finding = one("MTP402", config, problems=(problem,))
    assert (finding.severity, finding.message) == (severity, "they differ")


def test_mtp404_a_pattern_that_hangs() -> None:
    slow = "re:(?:.{1,20}){1,20}[!?]"
    config = with_list({**MIMO, "num_hidden_layers": 0}, ("lm_head", slow))
    finding = one("MTP404", config)
    assert finding.severity == "error"
    assert finding.message.startswith(f"`{slow}` is so slow that vLLM would hang: ")
    assert finding.where is not None
    assert finding.where.pointer == "/quantization_config/ignore/1"


# --- running them ------------------------------------------------------------


def test_findings_of_several_releases_are_one() -> None:
    config = with_list(GLM, ("lm_head",))
    found = rules.run([evidence(config, None, release) for release in ("0.32.0", "0.33.0")])
    assert {finding.releases for finding in found} == {("0.32.0", "0.33.0")}


def test_a_finding_is_known_as_well_as_in_its_least_known_release() -> None:
    config = with_list(GLM, ("lm_head",))
    found = rules.run([evidence(config, None, release) for release in ("0.32.0", "0.31.0")])
    apart = rules.run([evidence(config, None, "0.31.0")])
    assert {f.confidence for f in found} == {f.confidence for f in apart}


def test_findings_of_several_platforms_name_them() -> None:
    gpus: tuple[Platform, ...] = ("cuda", "rocm")
    config = with_list(GLM, ("lm_head",))
    both = [evidence(config, made=case(config, None, NEWEST, p)) for p in gpus]
    labels = {label for finding in rules.run(both) for label in finding.releases}
    assert labels == {f"{NEWEST} (cuda)", f"{NEWEST} (rocm)"}


def test_the_gravest_come_first() -> None:
    config = with_list(MIMO, ("model.mtp_layers.0.self_attn.o_proj",))
    severities = [finding.severity for finding in findings(config)]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)


def test_the_worst_severity() -> None:
    errors = findings(with_list(GLM))
    assert rules.worst(errors) == "error"
    assert rules.worst(()) is None


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("config", [GLM, MIMO, DEEPSEEK, DEEPSEEK_V4, QWEN_NEXT])
def test_every_finding_is_of_a_kind_and_no_graver(config: Config, release: str) -> None:
    order = ("info", "warning", "error")
    ignore = ("lm_head", "re:.*mtp.*", "model.layers.2.self_attn.q_proj", "re:model.layers.1.*")
    for finding in findings(with_list(config, ignore), release=release):
        assert order.index(finding.severity) <= order.index(kinds()[finding.code].severity)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        (["a"], "`a`"),
        (["a", "b", "c"], "`a`, `b`, `c`"),
        (["a", "b", "c", "d", "e"], "`a`, `b`, `c` and 2 more"),
        ([""], "`` (the empty name)"),
    ],
)
def test_some_names_in_words(items: list[str], text: str) -> None:
    assert some(items) == text


def test_no_mtp_layers_no_findings_about_entries() -> None:
    config = with_list({**GLM, "num_nextn_predict_layers": 0}, ("re:.*mtp.*", "model.layers.*"))
    found = without_mtp(config, "model.layers.2.")
    assert not [f for f in findings(config, found) if f.code.startswith("MTP1")]
