"""Drafts that are not MTP are told from it, and nothing that is MTP is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.drafts import by_architecture, by_tensors
from mtpfix.errors import UnknownError
from tests.unit.engines.small import GLM, tensors, with_list, write
from tools import tiny
from tools.forge import forge
from tools.sample import Tensors

DSPARK: Tensors = {
    "mtp.0.main_proj.weight": ("BF16", (8, 8)),
    "mtp.0.main_norm.weight": ("BF16", (8,)),
    "mtp.2.markov_head.markov_w1.weight": ("BF16", (8, 8)),
}


@pytest.mark.parametrize(
    ("architecture", "method", "quantized_by"),
    [
        ("DFlashDraftModel", "dflash", "draft"),
        ("Eagle3LlamaForCausalLM", "eagle3", "draft"),
        ("EagleDeepSeekMTPModel", "eagle", "target"),
        ("EagleMiniCPMForCausalLM", "eagle", "target"),
        ("EagleLlamaForCausalLM", "eagle", "draft"),
        ("MedusaModel", "medusa", "nothing"),
        ("K3DSparkModel", "dspark", "draft"),
    ],
)
def test_a_draft_is_told_by_its_architecture(
    architecture: str, method: str, quantized_by: str
) -> None:
    found = by_architecture({"architectures": [architecture]})
    assert found is not None
    assert (found.method, found.inside, found.quantized_by) == (method, False, quantized_by)


@pytest.mark.parametrize(
    "named", [None, [], "MedusaModel", [[]], [{}], ["Eagle2_5_VLForConditionalGeneration"]]
)
def test_nothing_else_is_taken_for_a_draft(named: Any) -> None:
    assert by_architecture({"architectures": named}) is None


def test_no_tensor_of_an_mtp_block_is_a_marker() -> None:
    for family in tiny.families():
        names = [stored.name for stored in tiny.tensors(family, tiny.BASE, "draft")]
        assert names
        found = by_tensors(names)
        known = policy.policy(policy.recognise(tiny.config(family)) or "")
        assert ("mtp" if found is None else found.method) == known.speculation


@pytest.mark.parametrize("config", ["deepseek_v4", "deepseek_v4_dspark"])
@pytest.mark.parametrize("block", ["deepseek_v4", "deepseek_v4_dspark"])
def test_the_tensors_tell_which_of_two_drafts_it_is(config: str, block: str) -> None:
    names = [stored.name for stored in tiny.tensors(block, tiny.BASE, "draft")]
    assert policy.recognise(tiny.config(config), names) == block
    unmarked = [name for name in names if ".ffn." in name]  # what both have
    assert policy.recognise(tiny.config(config), unmarked) == config
    assert policy.recognise(tiny.config(config)) == config


@pytest.mark.parametrize(
    ("scheme", "release", "told"),
    [
        ("deepseek-v4-fp4", "0.27.1", True),
        ("deepseek-v4-fp4", "all", True),
        ("deepseek-v4-fp4", "0.28.0", False),
        ("deepseek-v4-fp8", "0.27.1", False),
        ("ct-fp8-channel", "0.27.1", False),
    ],
)
def test_the_release_that_must_not_be_told_of_the_model_twice(
    scheme: str, release: str, told: bool, tmp_path: Path
) -> None:
    variant = tiny.variant("deepseek_v4_dspark", scheme)
    forge("deepseek_v4_dspark", tmp_path, scheme, variant=variant, mtp="quantized")
    how, *more = mtpfix.inspect(tmp_path, vllm=[release]).notes
    assert '"method": "dspark"' in how
    assert [note.partition(" of `")[0] for note in more] == ["leave `model` out"] * told


def test_no_family_with_a_policy_is_a_draft_of_another_kind() -> None:
    for family in policy.families():
        for architecture in policy.policy(family).architectures:
            assert by_architecture({"architectures": [architecture]}) is None


def test_a_draft_in_the_place_of_the_mtp_block(tmp_path: Path) -> None:
    config = with_list({**GLM, "num_nextn_predict_layers": 1})
    block = {name.replace("mtp.0", "model.layers.2"): entry for name, entry in DSPARK.items()}
    trunk = {n: e for n, e in tensors(config).items() if not n.startswith("model.layers.2.")}
    folder = write(tmp_path / "m", config, {**trunk, **block})
    report = mtpfix.check(folder, vllm=["all"])
    assert (report.exit_code, report.engines) == (3, ())
    unjudged, finding = report.findings
    assert (unjudged.code, unjudged.severity) == ("MTP901", "error")
    assert "its target model is not judged beside it" in unjudged.message
    assert (finding.code, finding.severity) == ("MTP007", "warning")
    assert "DSpark, not MTP" in finding.message
    assert '"method": "dspark"' in finding.message
    assert "as the config.json of its target model says" in finding.message
    made = mtpfix.rewrite(folder, write=True)
    assert (made.files, made.plan.refused) == ({}, None)
    assert mtpfix.override(folder).value == ""


@pytest.mark.parametrize(
    ("changes", "question"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "at '/quantization_config'"),
        ({"transformer_layer_config": {"quantization_config": {}}}, "'/transformer_layer_config/"),
        ({"architectures": ["MedusaModel"], "quantization_config": {}}, "'/quantization_config'"),
        ({"architectures": ["EagleDeepSeekMTPModel"]}, "its target model says how"),
        ({"num_nextn_predict_layers": 1}, "declares MTP layers"),
    ],
)
def test_a_quantized_draft_of_its_own_is_not_judged(
    changes: dict[str, Any], question: str, tmp_path: Path
) -> None:
    config = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", **changes}
    report = mtpfix.check(write(tmp_path / "m", config, {"fc.weight": ("BF16", (8, 8))}))
    assert (report.exit_code, report.engines) == (3, ())
    assert [finding.code for finding in report.findings] == ["MTP901", "MTP007"]
    assert question in report.findings[0].message


@pytest.mark.parametrize("release", ["0.24.0", "0.11.0", "9.9.0"])
def test_a_draft_of_its_own_is_not_right_in_a_release_that_has_none(
    release: str, tmp_path: Path
) -> None:
    config = {"architectures": ["K3DSparkModel"]}
    folder = write(tmp_path / "m", config, {"fc.weight": ("BF16", (8, 8))})
    report = mtpfix.check(folder, vllm=[release])
    assert report.exit_code == 3
    assert "MTP903" in {finding.code for finding in report.findings}
    assert mtpfix.check(folder, vllm=["0.25.1"]).exit_code == 0


@pytest.mark.parametrize("family", ["deepseek_v4_dspark", "deepseek_v41"])
def test_an_embedded_draft_of_another_kind_is_judged_and_repaired(
    family: str, tmp_path: Path
) -> None:
    forge(family, tmp_path)
    before = [">=0.30,<0.34"]  # 0.34 builds `wo_a` of the target model unquantized
    report = mtpfix.check(tmp_path, vllm=["0.33"])
    assert report.exit_code == 1
    assert {engine.outcome for engine in report.engines} == {"silent_garbage"}
    assert report.model.draft_class == "DSparkDeepseekV4ForCausalLM"
    assert "MTP007" not in {finding.code for finding in report.findings}
    note = report.notes[0]
    assert '`--speculative-config \'{"method": "dspark", …}\'`' in note
    made = mtpfix.rewrite(tmp_path, vllm=before, backup=False, write=True)
    assert "model.main_proj" in " ".join(made.plan.added).replace("\\", "")
    assert ("context_wkv_proj" in " ".join(made.plan.added)) is (family != "deepseek_v41")
    after = mtpfix.check(tmp_path, vllm=before)
    assert (after.exit_code, {e.outcome for e in after.engines}) == (0, {"clean"})
    assert mtpfix.rewrite(tmp_path, vllm=before, backup=False, write=True).files == {}


@pytest.mark.parametrize("release", ["0.20", "0.24"])
def test_older_releases_have_no_such_draft(release: str, tmp_path: Path) -> None:
    forge("deepseek_v4_dspark", tmp_path)
    report = mtpfix.check(tmp_path, vllm=[release])
    assert report.exit_code == 3
    assert [finding.code for finding in report.findings] == ["MTP903"]


def test_a_draft_of_its_own(tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"}
    plain: Tensors = {
        "fc.weight": ("BF16", (8, 8)),
        "midlayer.mlp.up_proj.weight": ("BF16", (8, 8)),
    }
    folder = write(tmp_path / "m", config, plain)
    report = mtpfix.check(folder)
    assert (report.exit_code, [f.severity for f in report.findings]) == (0, ["info"])
    assert "EAGLE-3 draft of another model" in report.findings[0].message
    (folder / "config.json").write_text(json.dumps({"architectures": ["Unheard"]}))
    assert mtpfix.check(folder).exit_code == 0  # nothing is quantized, and there is no MTP block
    with pytest.raises(UnknownError):
        mtpfix.names_of(folder)
