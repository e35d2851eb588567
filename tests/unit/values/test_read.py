"""Faults planted in tiny checkpoints are found; in healthy ones nothing is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix.checkpoint.source import LocalSource
from mtpfix.errors import BrokenFileError, TargetError, UnknownError
from mtpfix.model import Finding, Report, Target
from mtpfix.values import read as read_module
from mtpfix.values import scan as scan_module
from tools import tiny
from tools.forge import Mtp, forge

Tensors = dict[str, torch.Tensor]
Plant = Callable[[Tensors], None]


def checked(folder: Path, **options: object) -> Report:
    return mtpfix.inspect(folder, values=True, **options)  # type: ignore[arg-type]


def values(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.code.startswith("MTP5")]


def planted(folder: Path, plant: Plant) -> list[Finding]:
    file = next(folder.glob("model*.safetensors"))
    tensors = load_file(file)
    plant(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return values(checked(folder))


# --- healthy ---------------------------------------------------------------------

HEALTHY: tuple[tuple[str, str, Mtp], ...] = (
    ("qwen3_5", "ct-fp8-channel", "bf16"),
    ("qwen3_5", "ct-fp8-channel", "quantized"),
    ("qwen3_5", "fp8-block", "quantized"),
    ("qwen3_5", "ct-nvfp4", "bf16"),
    ("qwen3_5_moe", "ct-w4a16", "bf16"),
    ("qwen3_5_moe", "ct-fp8-block", "mixed"),
    ("deepseek_v3", "fp8-block", "quantized"),
    ("deepseek_v3", "ct-w4a16", "quantized"),
    ("deepseek_v3", "modelopt-nvfp4", "bf16"),
    ("deepseek_v3", "modelopt-nvfp4", "quantized"),
    ("deepseek_v4", "ct-nvfp4+fp8-block", "bf16"),
    ("glm4_moe", "ct-fp8-tensor", "quantized"),
    ("glm4_moe", "ct-nvfp4", "quantized"),
    ("glm4_moe", "awq", "bf16"),
    ("mimo", "gptq", "quantized"),
    ("mimo", "awq", "quantized"),
    ("mimo", "ct-int8", "quantized"),
    ("mimo", "ct-mxfp4", "quantized"),
    ("mimo", "none", "bf16"),
    ("nemotron_h", "modelopt-fp8", "bf16"),
    ("qwen3_next", "modelopt-mxfp8", "quantized"),
    ("ernie4_5_moe", "fp8-tensor", "quantized"),
    ("step3p5", "ct-w8a16", "quantized"),
    ("minimax_m3", "ct-fp8-channel", "bf16"),
)


@pytest.mark.parametrize(("family", "scheme", "mtp"), HEALTHY)
def test_a_healthy_checkpoint_has_no_finding(
    family: str, scheme: str, mtp: Mtp, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, variant=tiny.variant(family, scheme), mtp=mtp, shards=2)
    made_norms_plain(tmp_path)
    assert values(checked(tmp_path)) == []


def made_norms_plain(folder: Path) -> None:
    """Norms as trained models have them: most of them plain, the block's all one at first."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if name.endswith("norm.weight") and tensor.ndim == 1:
                tensors[name] = 1 + tensor if "layers.0" in name else torch.ones_like(tensor)
        save_file(tensors, file)


def test_random_norms_are_taken_for_centred_ones(tmp_path: Path) -> None:
    forge("qwen3_next", tmp_path, "ct-fp8-channel")
    assert values(checked(tmp_path)) == []


# --- planted ----------------------------------------------------------------------

O_PROJ = "mtp.layers.0.self_attn.o_proj"
FC = "mtp.fc.weight"


def first(value: float) -> Plant:
    """Put a number into the last place of the attention's output."""

    def plant(tensors: Tensors) -> None:
        tensors[f"{O_PROJ}.weight"].view(-1)[-1] = value

    return plant


def multiplied(name: str, factor: float) -> Plant:
    def plant(tensors: Tensors) -> None:
        tensors[name] = (tensors[name].float() * factor).to(tensors[name].dtype)

    return plant


def filled(name: str, value: float) -> Plant:
    def plant(tensors: Tensors) -> None:
        tensors[name] = torch.full_like(tensors[name].float(), value).to(tensors[name].dtype)

    return plant


def norms_shifted(tensors: Tensors) -> None:
    for name in tensors:
        if name.startswith("mtp.") and name.endswith("norm.weight"):
            tensors[name] = tensors[name] + 1


BF16_FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "nan": (first(float("nan")), "MTP501", "error", "not a number"),
    "infinity": (first(float("-inf")), "MTP501", "error", "infinite"),
    "zero": (filled(FC, 0), "MTP502", "error", "`mtp.fc`"),
    "minus zero": (filled(FC, -0.0), "MTP502", "error", "zero everywhere"),
    "constant": (filled(f"{O_PROJ}.weight", 0.02), "MTP503", "error", "one and the same number"),
    "codes without scales": (
        multiplied(f"{O_PROJ}.weight", 2000),
        "MTP505",
        "error",
        "as FP8 codes are without their scales",
    ),
    "codes without scales, no sibling": (
        multiplied(FC, 2000),
        "MTP505",
        "error",
        "1,000 times larger than the target model's, as FP8 codes are",
    ),
    "scaled twice": (
        multiplied(f"{O_PROJ}.weight", 1 / 2000),
        "MTP505",
        "error",
        "100 times smaller",
    ),
    "doubtful": (multiplied(f"{O_PROJ}.weight", 40), "MTP505", "warning", "more than 30 times"),
    "one norm": (
        filled("mtp.layers.0.input_layernorm.weight", 1),
        "MTP506",
        "warning",
        "stored minus one",
    ),
    "all norms": (norms_shifted, "MTP506", "error", "about one greater"),
}


@pytest.mark.parametrize("fault", BF16_FAULTS)
def test_a_fault_of_an_unquantized_block_is_found(fault: str, tmp_path: Path) -> None:
    plant, code, severity, words = BF16_FAULTS[fault]
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="bf16")
    (found,) = planted(tmp_path, plant)
    assert (found.code, found.severity) == (code, severity)
    assert words in found.message
    assert all(module.startswith("mtp.") for module in found.modules)


def test_norms_without_their_one_are_found(tmp_path: Path) -> None:
    """The target model multiplies by weights around one; the block's are stored minus one."""
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="bf16")

    def plant(tensors: Tensors) -> None:
        for name in tensors:
            if name.endswith("norm.weight") and not name.startswith("mtp."):
                tensors[name] = tensors[name] + 1

    (found,) = planted(tmp_path, plant)
    assert (found.code, found.severity) == ("MTP506", "error")
    assert "one had been subtracted" in found.message


def test_a_norm_of_zeros_is_dead_only_where_it_multiplies(tmp_path: Path) -> None:
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="bf16")
    name = "mtp.layers.0.input_layernorm.weight"
    assert planted(tmp_path, filled(name, 0)) == []

    def plant(tensors: Tensors) -> None:
        for one in tensors:
            if one.endswith("norm.weight") and one != name:
                tensors[one] = tensors[one] + 1

    assert [f.code for f in planted(tmp_path, plant)] == ["MTP502"]


FP8_SCALE = f"{O_PROJ}.weight_scale"


def partly(name: str, value: float) -> Plant:
    def plant(tensors: Tensors) -> None:
        tensors[name].view(-1)[:3] = value

    return plant


def inverted(name: str) -> Plant:
    def plant(tensors: Tensors) -> None:
        tensors[name] = 1 / tensors[name]

    return plant


def scale_cut_off(tensors: Tensors) -> None:
    del tensors[FP8_SCALE]


FP8_FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "nan code": (first(float("nan")), "MTP501", "error", f"{O_PROJ}.weight`"),
    "zero codes": (filled(f"{O_PROJ}.weight", 0), "MTP502", "error", f"`{O_PROJ}`"),
    "zero": (filled(FP8_SCALE, 0), "MTP504", "error", "zero: `"),
    "zero in places": (partly(FP8_SCALE, 0), "MTP504", "warning", "zero in places"),
    "nan": (partly(FP8_SCALE, float("nan")), "MTP504", "error", "not finite"),
    "infinite": (partly(FP8_SCALE, float("inf")), "MTP504", "error", "not finite"),
    "negative": (partly(FP8_SCALE, -1e-3), "MTP504", "error", "negative"),
    "subnormal": (partly(FP8_SCALE, 1e-39), "MTP504", "warning", "too small"),
    "inverted": (inverted(FP8_SCALE), "MTP505", "error", "scales were inverted"),
    "of one": (filled(FP8_SCALE, 1), "MTP505", "error", "as FP8 codes are without"),
    "cut off": (scale_cut_off, "MTP505", "error", "as FP8 codes are without"),
}


@pytest.mark.parametrize("fault", FP8_FAULTS)
def test_a_fault_of_a_block_in_fp8_is_found(fault: str, tmp_path: Path) -> None:
    plant, code, severity, words = FP8_FAULTS[fault]
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="quantized")
    (found,) = planted(tmp_path, plant)
    assert (found.code, found.severity) == (code, severity)
    assert words in found.message


def packed(suffix: str, value: float) -> Plant:
    def plant(tensors: Tensors) -> None:
        names = [n for n in tensors if O_PROJ in n and n.endswith(suffix)]
        for name in names:
            filled(name, value)(tensors)
        assert names

    return plant


PACKED_FAULTS: tuple[tuple[str, str, float, str], ...] = (
    ("ct-w4a16", "weight_packed", 0, "MTP502"),
    ("ct-w4a16", "weight_packed", 7, "MTP503"),
    ("ct-w4a16", "weight_scale", 0, "MTP504"),
    ("ct-w4a16", "weight_scale", 3.0, "MTP505"),
    ("ct-nvfp4", "weight_packed", 0x22, "MTP503"),
    ("ct-nvfp4", "weight_global_scale", 0, "MTP504"),
    ("ct-nvfp4", "weight_global_scale", -2, "MTP504"),
    ("ct-nvfp4", "weight_global_scale", 1, "MTP505"),
    ("ct-nvfp4", "input_global_scale", 0, "MTP504"),
    ("modelopt-nvfp4", "weight_scale_2", 1e-39, "MTP504"),
    ("modelopt-nvfp4", "input_scale", float("nan"), "MTP504"),
    ("ct-mxfp4", "weight_scale", 255, "MTP504"),
    ("ct-mxfp4", "weight_scale", 0, "MTP504"),
    ("ct-mxfp4", "weight_scale", 127, "MTP505"),
    ("fp8-block", "weight_scale_inv", float("inf"), "MTP504"),
    ("fp8-block", "weight_scale_inv", 1, "MTP505"),
)


@pytest.mark.parametrize(("scheme", "suffix", "value", "code"), PACKED_FAULTS)
def test_a_fault_of_another_format_is_found(
    scheme: str, suffix: str, value: float, code: str, tmp_path: Path
) -> None:
    forge("qwen3_5", tmp_path, scheme, mtp="quantized", variant=tiny.variant("qwen3_5", scheme))
    assert {found.code for found in planted(tmp_path, packed(suffix, value))} == {code}


def test_an_expert_of_zeros_is_a_warning_and_all_of_them_an_error(tmp_path: Path) -> None:
    forge("qwen3_5_moe", tmp_path, "ct-fp8-channel", mtp="bf16")
    down = [f"mtp.layers.0.mlp.experts.{i}.down_proj.weight" for i in range(tiny.EXPERTS)]

    (found,) = planted(tmp_path, filled(down[1], 0))
    assert (found.code, found.severity) == ("MTP502", "warning")

    def plant(tensors: Tensors) -> None:
        for name in down:
            tensors[name].zero_()

    (found,) = planted(tmp_path, plant)
    assert (found.code, found.severity, len(found.modules)) == ("MTP502", "error", 4)
    assert "4 MTP modules are zero everywhere" in found.message


def test_what_is_alike_in_the_target_model_too_is_no_finding(tmp_path: Path) -> None:
    forge("mimo", tmp_path, "none")

    def plant(tensors: Tensors) -> None:
        for name in tensors:
            if name.endswith("self_attn.o_proj.weight"):
                tensors[name].zero_()

    assert planted(tmp_path, plant) == []


# --- what is read -------------------------------------------------------------------


class Counting(LocalSource):
    """A folder that tells what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.streams: list[tuple[str, int, int]] = []

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        self.streams.append((path, begin, end))
        for piece in super().stream(path, begin, end):  # in pieces that split elements
            yield piece[:7]
            yield piece[7:]


def test_neighbours_are_read_in_one_go_and_only_once(tmp_path: Path) -> None:
    made = forge("deepseek_v3", tmp_path, "ct-fp8-channel", shards=3)
    shards = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    source = Counting(tmp_path)
    found = read_module.scan_tensors(source, {name: shards[name] for name in made.mtp})
    ((_, begin, end),) = source.streams
    assert end == (tmp_path / "model-00003-of-00003.safetensors").stat().st_size
    assert end - begin == sum(one.tensor.end - one.tensor.begin for one in found.values())
    assert found.keys() == set(made.mtp)


def test_a_part_stands_for_a_large_sibling(tmp_path: Path) -> None:
    weight = torch.ones(3000, 1001, dtype=torch.bfloat16)
    save_file({"a.weight": weight, "b": torch.zeros(3)}, tmp_path / "m.safetensors")
    source = Counting(tmp_path)
    shards = {"a.weight": "m.safetensors", "c": "m.safetensors"}
    found = read_module.scan_tensors(source, shards, parts=True)
    assert found["a.weight"].summary.count == 1 << 21
    assert found["a.weight"].tensor.shape == (3000, 1001)
    assert found["a.weight"].summary.is_constant
    ((_, begin, end),) = source.streams
    assert end - begin == 1 << 22


def test_no_block_and_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge("mimo", tmp_path, "none")
    file = tmp_path / "model.safetensors"
    kept = {n: t for n, t in load_file(file).items() if "mtp" not in n}
    save_file(kept, file)
    monkeypatch.setattr(LocalSource, "stream", None)
    assert values(checked(tmp_path)) == []


def test_an_unknown_family_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge("mimo", tmp_path, "ct-fp8-channel")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"architectures": ["NewForCausalLM"], "model_type": "new"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(LocalSource, "stream", None)
    report = checked(tmp_path)
    assert [finding.code for finding in report.findings] == ["MTP901"]
    assert report.exit_code == 3


def test_a_block_from_elsewhere_is_read_there(tmp_path: Path) -> None:
    target = forge("mimo", tmp_path / "target", "ct-fp8-channel", mtp="quantized").folder
    draft = forge("mimo", tmp_path / "draft", "none").folder
    names = [
        n for n in load_file(draft / "model.safetensors") if n.endswith("0.self_attn.o_proj.weight")
    ]
    block = next(name for name in names if "mtp" in name)
    (found,) = planted_there(target, draft, filled(block, 0))
    assert found.code == "MTP502"


def planted_there(target: Path, draft: Path, plant: Plant) -> list[Finding]:
    tensors = load_file(draft / "model.safetensors")
    plant(tensors)
    save_file(tensors, draft / "model.safetensors")
    assert values(checked(target)) == []
    return values(checked(target, draft=draft))


def test_the_exit_code_is_that_of_other_findings(tmp_path: Path) -> None:
    ignore = ["lm_head", "re:.*mtp.*"]
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="bf16", ignore=ignore)
    assert mtpfix.check(tmp_path, values=True).exit_code == 0
    planted(tmp_path, first(float("nan")))
    assert mtpfix.check(tmp_path).exit_code == 0
    assert mtpfix.check(tmp_path, values=True).exit_code == 1


# --- hostile ------------------------------------------------------------------------


def test_tensors_without_elements(tmp_path: Path) -> None:
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="quantized")

    def plant(tensors: Tensors) -> None:
        for name in [n for n in tensors if n.startswith("mtp.")]:
            tensors[name] = torch.zeros(0, *tensors[name].shape[1:], dtype=tensors[name].dtype)

    assert planted(tmp_path, plant) == []


def test_shapes_and_dtypes_that_no_block_has(tmp_path: Path) -> None:
    forge("qwen3_5", tmp_path, "ct-fp8-channel", mtp="quantized")

    def plant(tensors: Tensors) -> None:
        kinds = [torch.bool, torch.int64, torch.complex64, torch.float64, torch.int16]
        for number, name in enumerate(sorted(n for n in tensors if n.startswith("mtp."))):
            shape = [(), (1,) * 20, (3, 1, 2), (2,) * 12][number % 4]
            tensors[name] = torch.zeros(shape, dtype=kinds[number % 5])

    for found in planted(tmp_path, plant):
        assert found.code.startswith("MTP5")


def test_a_file_that_is_cut_short_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge("mimo", tmp_path, "none")
    stream = LocalSource.stream

    def short(self: LocalSource, path: str, begin: int, end: int) -> Iterator[bytes]:
        yield from stream(self, path, begin, end - 100)

    monkeypatch.setattr(LocalSource, "stream", short)
    with pytest.raises(TargetError, match="tensors up to byte"):
        checked(tmp_path)


def test_a_header_that_lies_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was right when the target was read, and is another one when the values are."""
    forge("mimo", tmp_path, "none", shards=2)
    right = LocalSource.read_header
    asked: list[str] = []

    def lying(self: LocalSource, path: str) -> tuple[bytes, int]:
        raw, size = right(self, path)
        asked.append(path)
        return (raw, size - 1) if asked.count(path) > 1 else (raw, size)

    monkeypatch.setattr(LocalSource, "read_header", lying)
    with pytest.raises(BrokenFileError):
        checked(tmp_path)


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge("mimo", tmp_path, "none")
    scan_module.torch_module.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnknownError, match="torch is not installed"):
        checked(tmp_path)
    scan_module.torch_module.cache_clear()
    assert Target("local", str(tmp_path)) == mtpfix.inspect(tmp_path).target
