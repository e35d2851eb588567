"""A block gets its algorithms in ModelOpt's `quantized_layers`: planned on forged checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mtpfix
from mtpfix import Repair
from mtpfix.errors import BrokenFileError
from tools import tiny
from tools.forge import Mtp, forge

WEIGHTS = "model.safetensors"
TensorMap = dict[str, torch.Tensor]


def stored(
    family: str,
    trunk: str,
    block: str,
    folder: Path,
    *,
    mtp: Mtp = "quantized",
    change: Callable[[TensorMap], object] = lambda _: None,
) -> Path:
    """Make a checkpoint whose metadata speak of its trunk, and whose block is stored by another."""
    variant = tiny.variant(family, trunk)
    made = forge(family, folder, trunk, variant=variant)
    other = forge(family, folder.with_name("other"), block, variant=variant, mtp=mtp)
    weights, theirs = load_file(folder / WEIGHTS), load_file(other.folder / WEIGHTS)
    kept = {name: weights[name] for name in weights if name not in made.mtp}
    kept |= {name: theirs[name] for name in other.mtp}
    change(kept)
    save_file(kept, folder / WEIGHTS)
    return folder


def quantization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_bytes())["quantization_config"]
    return found


def state(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    config["quantization_config"].update(changes)
    path.write_text(json.dumps(config, indent=2))


def planned(folder: Path, *releases: str) -> Repair:
    return mtpfix.plan(folder, vllm=releases or ("0.32.0",), platforms=["cuda"])


def written(folder: Path, *releases: str) -> dict[str, Any]:
    """Write the plan, which must be right, and return what the files say then."""
    made = planned(folder, *releases)
    assert made.checked_before.exit_code == 1
    assert made.exit_code == 0
    mtpfix.rewrite(
        folder, vllm=releases or ("0.32.0",), platforms=["cuda"], backup=False, write=True
    )
    assert not planned(folder, *releases).files
    return quantization(folder)


@pytest.mark.parametrize(
    ("family", "trunk", "block", "mtp"),
    [
        ("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", "quantized"),
        ("glm4_moe", "modelopt-fp8", "modelopt-nvfp4", "mixed"),
        ("deepseek_v3", "modelopt-nvfp4", "modelopt-mxfp8", "quantized"),
        ("deepseek_v3", "modelopt-fp8", "fp8-block", "mixed"),
        ("qwen3_5", "modelopt-nvfp4", "modelopt-fp8", "quantized"),
        ("nemotron_h", "modelopt-nvfp4", "modelopt-w4a16", "quantized"),
        ("step3p5", "modelopt-nvfp4", "modelopt-fp8-block", "quantized"),
        ("mimo", "modelopt-mxfp8", "modelopt-fp8", "quantized"),
    ],
)
def test_a_block_gets_the_algorithms_that_are_on_disk(
    family: str, trunk: str, block: str, mtp: Mtp, tmp_path: Path
) -> None:
    made = written(stored(family, trunk, block, tmp_path / "model", mtp=mtp))
    assert made["quant_algo"] == "MIXED_PRECISION"
    assert all(not name.rpartition(".experts.")[1] for name in made["quantized_layers"])
    algorithms = {row["quant_algo"] for row in made["quantized_layers"].values()}
    assert len(algorithms) == 2


def test_all_releases_that_are_asked_for_are_served_or_told(tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-fp8", "fp8-block", tmp_path / "model", mtp="mixed")
    assert planned(folder, "0.30.0", "0.33.0").exit_code == 0
    made = planned(folder, "0.29.0")
    assert made.exit_code == 1
    assert not made.plan.schemes
    assert made.plan.unresolved


def test_an_unnamed_head_stays_unquantized_where_modules_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    forge("hy_v3", folder, "modelopt-nvfp4", variant=tiny.variant("hy_v3", "modelopt-nvfp4"))
    before = quantization(folder)
    made = written(folder)
    assert made["ignore"] == before["ignore"]
    assert {row["quant_algo"] for row in made["quantized_layers"].values()} == {"NVFP4"}


def test_wrong_numbers_of_layers_stay_and_right_ones_are_added(tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    right = written(folder)["quantized_layers"]
    wrong = {name.replace("layers.2.", "layers.3."): row for name, row in right.items()}
    state(folder, quantized_layers=wrong)
    made = written(folder)["quantized_layers"]
    assert list(made)[: len(wrong)] == list(wrong)
    assert made == {**wrong, **right}


def test_names_on_disk_stay_and_those_that_vllm_asks_by_are_added(tmp_path: Path) -> None:
    folder = stored("step3p5", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    right = written(folder)["quantized_layers"]
    on_disk = {name: row for name, row in right.items() if ".mtp_block." not in name}
    assert len(on_disk) < len(right)
    state(folder, quantized_layers=on_disk)
    made = written(folder)["quantized_layers"]
    assert list(made)[: len(on_disk)] == list(on_disk)
    assert any(".mtp_block." in name for name in made)


def test_a_wrong_algorithm_is_corrected(tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    right = written(folder)["quantized_layers"]
    nvfp4 = next(row for row in right.values() if row["quant_algo"] == "NVFP4")
    state(folder, quantized_layers=dict.fromkeys(right, nvfp4))
    assert written(folder)["quantized_layers"] == right


def test_both_files_say_the_same_afterwards(tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    flat = written(folder)
    nested = json.loads((folder / "hf_quant_config.json").read_bytes())["quantization"]
    assert nested["quantized_layers"] == flat["quantized_layers"]
    assert nested["quant_algo"] == flat["quant_algo"]


# --- what no metadata can say -----------------------------------------------------------


def test_flat_scales_do_not_fit_where_blocks_have_four_dimensions(tmp_path: Path) -> None:
    folder = stored("mimo", "modelopt-nvfp4", "ct-fp8-block", tmp_path / "model")
    made = planned(folder)
    assert made.exit_code == 1
    assert not made.plan.schemes
    flat = stored("mimo", "modelopt-fp8-block", "ct-fp8-block", tmp_path / "flat" / "model")
    (report,) = mtpfix.inspect(flat, vllm=["0.32.0"]).engines
    assert report.outcome == "load_error"
    assert str(report.error).startswith("IndexError: Dimension out of range")


def test_a_strict_loader_misses_a_scale_of_activations(tmp_path: Path) -> None:
    folder = stored("step3p5", "modelopt-nvfp4", "modelopt-w4a16", tmp_path / "model")
    made = planned(folder)
    assert made.exit_code == 1
    assert not made.plan.schemes


def test_scales_of_a_latent_cache_are_not_lost(tmp_path: Path) -> None:
    def scaled(weights: TensorMap) -> None:
        weights["model.layers.0.self_attn.k_proj.k_scale"] = torch.tensor(0.5)

    plain = stored("deepseek_v3", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "a" / "model")
    assert planned(plain).plan.schemes
    folder = stored(
        "deepseek_v3", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "b" / "model", change=scaled
    )
    state(folder, kv_cache_scheme={"num_bits": 8, "type": "float"})
    assert not planned(folder).plan.schemes


@pytest.mark.parametrize(
    "layers",
    [[], "all", 7, {"a": None}, {"a": []}, {"a": {"quant_algo": 8}}, {"a": {"quant_algo": None}}],
)
def test_layers_of_another_type_are_told(layers: Any, tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    state(folder, quant_algo="MIXED_PRECISION", quantized_layers=layers)
    with pytest.raises(BrokenFileError):
        planned(folder)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b~c", "*", "ü.é", "model.layers.2."])
def test_layers_with_odd_names_are_kept(name: str, tmp_path: Path) -> None:
    folder = stored("glm4_moe", "modelopt-nvfp4", "modelopt-fp8", tmp_path / "model")
    right = written(folder)["quantized_layers"]
    trunk = {n: row for n, row in right.items() if row["quant_algo"] == "NVFP4"}
    state(folder, quantized_layers={name: {"quant_algo": "NVFP4"}, **trunk})
    assert name in written(folder)["quantized_layers"]
