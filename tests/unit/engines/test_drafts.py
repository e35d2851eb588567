"""Drafts that are not MTP are told from it, and nothing that is MTP is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtpfix import api
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.drafts import by_architecture, by_tensors
from mtpfix.errors import UnknownError
from tests.unit.engines.small import DEEPSEEK_V4, tensors, with_list, write
from tools import tiny
from tools.sample import Tensors

DSPARK: Tensors = {
    "mtp.0.main_proj.weight": ("BF16", (8, 8)),
    "mtp.0.main_norm.weight": ("BF16", (8,)),
    "mtp.2.markov_head.markov_w1.weight": ("BF16", (8, 8)),
}


@pytest.mark.parametrize(
    ("architecture", "method", "inside"),
    [
        ("DFlashDraftModel", "dflash", False),
        ("Eagle3LlamaForCausalLM", "eagle3", False),
        ("EagleDeepSeekMTPModel", "eagle", False),
        ("MedusaModel", "medusa", False),
        ("K3DSparkModel", "dspark", False),
        ("DeepseekV41ForCausalLM", "dspark", True),
    ],
)
def test_a_draft_is_told_by_its_architecture(architecture: str, method: str, inside: bool) -> None:
    found = by_architecture({"architectures": [architecture]})
    assert found is not None
    assert (found.method, found.inside) == (method, inside)


@pytest.mark.parametrize(
    "named", [None, [], "MedusaModel", [[]], [{}], ["Eagle2_5_VLForConditionalGeneration"]]
)
def test_nothing_else_is_taken_for_a_draft(named: Any) -> None:
    assert by_architecture({"architectures": named}) is None


def test_no_tensor_of_an_mtp_block_is_a_marker() -> None:
    for family in tiny.families():
        names = [stored.name for stored in tiny.tensors(family, tiny.BASE, "draft")]
        assert names
        assert by_tensors(names) is None


def test_no_family_with_a_policy_is_a_draft_of_another_kind() -> None:
    for family in policy.families():
        for architecture in policy.policy(family).architectures:
            assert by_architecture({"architectures": [architecture]}) is None


def test_a_draft_in_the_place_of_the_mtp_block(tmp_path: Path) -> None:
    trunk = {n: e for n, e in tensors(with_list(DEEPSEEK_V4)).items() if not n.startswith("mtp.")}
    folder = write(tmp_path / "m", with_list(DEEPSEEK_V4), {**trunk, **DSPARK})
    report = api.check(folder, vllm=["all"])
    assert (report.exit_code, report.engines) == (0, ())
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("MTP007", "warning")
    assert "DSpark, not MTP" in finding.message
    assert '"method": "dspark"' in finding.message
    made = api.rewrite(folder)
    assert (made.files, made.plan.refused) == ({}, None)
    assert api.override(folder).value == ""


def test_a_draft_of_its_own(tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"}
    folder = write(tmp_path / "m", config, DSPARK)
    report = api.check(folder)
    assert (report.exit_code, [f.severity for f in report.findings]) == (0, ["info"])
    assert "EAGLE-3 draft of another model" in report.findings[0].message
    (folder / "config.json").write_text(json.dumps({"architectures": ["Unheard"]}))
    assert api.check(folder).exit_code == 0  # without quantization metadata nothing is judged
    with pytest.raises(UnknownError):
        api.names_of(folder)
