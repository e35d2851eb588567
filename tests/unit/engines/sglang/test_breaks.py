"""What SGLang fails on before it loads anything is said, of the target model too, with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix.model import Finding, Platform, Report
from tests.unit.engines.sglang.stored import JOINED_ENTRY, unpack
from tools.forge import forge
from tools.sglang_tiny import reshape

NO_WEIGHT = "object has no attribute 'weight'"
NOT_BF16 = "ValueError: torch.bfloat16 is not supported for quantization method"
DRAFT = {
    "awq": ("lm_head", "model.decoder."),
    "ct-w4a16": ("lm_head", r"re:^model\.decoder\..*"),
    "gptq": ("lm_head",),
}
"""What leaves the draft of these families unquantized in SGLang, by scheme."""


def checked(folder: Path, release: str, platform: Platform = "cuda") -> Report:
    return mtpfix.check(folder, sglang=[release], platforms=[platform])


def of(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


@pytest.mark.parametrize("release", ["0.5.16", "0.5.18"])
def test_latent_attention_wants_plain_weights(tmp_path: Path, release: str) -> None:
    ignore = (*DRAFT["ct-w4a16"], JOINED_ENTRY)
    folder = unpack(forge("deepseek_v3", tmp_path / "v3", "ct-w4a16", ignore=ignore).folder)
    report = checked(folder, release)
    engine = report.engines[0]
    said = f"AttributeError: 'ColumnParallelLinear' {NO_WEIGHT}"
    assert (engine.outcome, engine.error) == ("load_error", said)
    finding = of(report, "MTP301")[0]
    assert finding.fix is not None
    assert "`mtpfix check --sglang '>=0.5.19'`" in finding.fix.title
    for good in ("0.5.13", "0.5.19"):
        assert checked(folder, good).engines[0].outcome == "clean"


@pytest.mark.parametrize("release", ["0.5.17", "0.5.18"])
def test_what_is_raised_first_is_named(tmp_path: Path, release: str) -> None:
    """The target model fails as it is built, before the draft cannot join what is stored."""
    folder = unpack(forge("deepseek_v3", tmp_path / "v3", "ct-w4a16", ignore=["lm_head"]).folder)
    engine = checked(folder, release).engines[0]
    said = f"AttributeError: 'ColumnParallelLinear' {NO_WEIGHT}"
    assert (engine.outcome, engine.error) == ("load_error", said)


JOIN = "fused_qkv_a_proj_with_mqa"
TWICE = "AssertionError: param.shape=torch.Size([…]) …"
SCALARS = "RuntimeError: zero-dimensional tensor (at position 0) cannot be concatenated"


@pytest.mark.parametrize(
    ("family", "shape", "raised"),
    [
        ("deepseek_v3", (1,), TWICE),
        ("deepseek_v3", (), None),  # its loader takes the first of two scalars
        ("glm4_moe_lite", (1,), TWICE),
        ("glm4_moe_lite", (), SCALARS),
    ],
)
@pytest.mark.parametrize("part", ["trunk", "draft"])
def test_scales_that_cannot_be_joined(
    tmp_path: Path, family: str, shape: tuple[int, ...], raised: str | None, part: str
) -> None:
    """As the real 0.5.23 loads target model and draft, each of them with both shapes."""
    forged = forge(family, tmp_path / "model", "ct-fp8-tensor", mtp="quantized")
    report = mtpfix.inspect(reshape(forged.folder, shape), sglang=["0.5.23"], trunk=True)
    joined = [
        module
        for module in report.engines[0].modules
        if module.decision.module.part == part and module.decision.module.name.endswith(JOIN)
    ]
    assert joined
    assert {module.detail for module in joined} == {raised}
    assert {module.consequence for module in joined} == {raised and "load_error"}


@pytest.mark.parametrize("release", ["0.5.13", "0.5.16"])
def test_joined_layers_of_latent_attention_are_asked_for_plain_weights(
    tmp_path: Path, release: str
) -> None:
    folder = forge("deepseek_v3", tmp_path / "v3", "ct-w4a16", ignore=DRAFT["ct-w4a16"]).folder
    engine = checked(folder, release).engines[0]
    said = f"AttributeError: 'ReplicatedLinear' {NO_WEIGHT}"
    assert (engine.outcome, engine.error) == ("load_error", said)


def test_packed_shapes_are_joined_too(tmp_path: Path) -> None:
    """The two numbers of `weight_shape` are four after the join, in the target model as well."""
    folder = forge("deepseek_v3", tmp_path / "v3", "ct-w4a16", ignore=DRAFT["ct-w4a16"]).folder
    report = checked(folder, "0.5.19")
    assert (report.engines[0].outcome, report.engines[0].error) == ("load_error", TWICE)
    said = " ".join(finding.message for finding in of(report, "MTP206"))
    assert f"Loading ends in `{TWICE}`." in said
    assert f"Loading ends in `AttributeError: 'ColumnParallelLinear' {NO_WEIGHT}`." in said


@pytest.mark.parametrize("scheme", ["ct-w4a16", "awq"])
def test_linear_attention_of_qwen3_next_wants_plain_weights(tmp_path: Path, scheme: str) -> None:
    folder = forge("qwen3_next", tmp_path / "next", scheme, mtp="quantized").folder
    report = checked(folder, "0.5.23")
    assert report.engines[0].outcome == "load_error"
    assert NO_WEIGHT in (report.engines[0].error or "")
    (finding,) = of(report, "MTP301")
    assert "model.layers.0.linear_attn.in_proj_qkvz" in finding.message
    mine = forge("qwen3_next", tmp_path / "fp8", "ct-fp8-channel", mtp="quantized").folder
    assert not of(checked(mine, "0.5.23"), "MTP301")


@pytest.mark.parametrize(
    ("scheme", "release", "error"),
    [
        ("awq", "0.5.13", f"{NOT_BF16} awq"),
        ("awq", "0.5.23", f"{NOT_BF16} awq"),
        ("gptq", "0.5.19", f"{NOT_BF16} gptq"),
        ("gptq", "0.5.20", "ValueError: Unknown quantization method: gptq"),
    ],
)
def test_blackwell_takes_the_method_as_the_file_states_it(
    tmp_path: Path, scheme: str, release: str, error: str
) -> None:
    folder = forge("glm4_moe", tmp_path / "glm", scheme, ignore=DRAFT[scheme]).folder
    report = checked(folder, release, "cuda:10.0")
    assert report.engines[0].outcome == "load_error"
    assert (report.engines[0].error or "").startswith(error)
    (finding,) = of(report, "MTP304")
    assert finding.fix is not None
    assert finding.fix.title == f"serve with `--quantization {scheme}_marlin`"
    assert not of(checked(folder, release), "MTP304")


@pytest.mark.parametrize(
    ("scheme", "release", "outcome"),
    [
        ("awq", "0.5.23", "silent_garbage"),
        ("gptq", "0.5.19", "load_error"),
        ("gptq", "0.5.23", "load_error"),
    ],
)
def test_in_float16_blackwell_has_no_routed_experts(
    tmp_path: Path, scheme: str, release: str, outcome: str
) -> None:
    ignore = ("lm_head", "model.decoder.") if scheme == "awq" else ("lm_head",)
    folder = forge("glm4_moe", tmp_path / "glm", scheme, mtp="quantized", ignore=ignore).folder
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config))
    report = mtpfix.check(folder, sglang=[release], platforms=["cuda", "cuda:10.0"])
    said = {engine.platform: engine for engine in report.engines}
    target = [m for m in said["cuda:10.0"].modules if m.decision.module.part == "trunk"]
    assert NOT_BF16 not in (said["cuda:10.0"].error or "")
    assert outcome in {module.consequence for module in target}
    assert not [m for m in said["cuda"].modules if m.limit is not None]


def test_the_repair_for_vllm_is_made_all_the_same(tmp_path: Path) -> None:
    ignore = ("lm_head", JOINED_ENTRY)
    folder = unpack(forge("deepseek_v3", tmp_path / "v3", "ct-w4a16", ignore=ignore).folder)
    made = mtpfix.rewrite(folder, write=True)
    assert made.exit_code == 0
    found = {
        release: checked(folder, release).engines[0].outcome for release in ("0.5.18", "0.5.19")
    }
    assert found == {"0.5.18": "load_error", "0.5.19": "clean"}
