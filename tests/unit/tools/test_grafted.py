"""The checks of grafted files: each fault that is planted is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tools import grafted, pairs
from tools.pairs import FP8, INDEX, Pair

ALL = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)


def test_fp8_codes_are_what_torch_makes_of_them() -> None:
    codes = torch.cat([ALL[:127], ALL[128:255]] * 80)[: 300 * 66].reshape(300, 66)
    scale = torch.rand(3, 1)
    factors = scale.repeat_interleave(128, 0)[:300]
    due = (codes.float() * factors).bfloat16()
    assert pairs.same(grafted.converted(codes, scale), due)


def whole(folder: Path, donor: str = "none") -> Pair:
    """Return a pair whose target has the block of the base, copied by hand."""
    made = pairs.pair("mimo", folder, "ct-w4a16", donor=donor)
    held = pairs.tensors(made.target) | pairs.expected(made)
    pairs.save(made.target, held)
    return made


def planted(made: Pair, change: Callable[[dict[str, torch.Tensor]], object]) -> list[str]:
    held = pairs.tensors(made.target)
    change(held)
    pairs.save(made.target, held)
    return grafted.block_faults(made)


NAME = "model.mtp_layers.0.mlp.down_proj.weight"


def test_a_block_that_is_whole_has_no_fault(tmp_path: Path) -> None:
    assert grafted.block_faults(whole(tmp_path / "bf16")) == []
    assert grafted.block_faults(whole(tmp_path / "fp8", FP8)) == []


def test_a_tensor_that_is_missing_changed_or_too_much_is_found(tmp_path: Path) -> None:
    made = whole(tmp_path)
    assert planted(made, lambda held: held[NAME][0, :1].neg_()) == [
        f"{NAME} is not bit-equal to the base's"
    ]
    assert planted(made, lambda held: held.pop(NAME)) == [f"{NAME} is not bit-equal to the base's"]
    extra = NAME.replace("weight", "weight_scale")
    again = whole(tmp_path / "again")
    assert planted(again, lambda held: held.update({extra: torch.ones(1)})) == [
        f"{extra} is not the base's"
    ]


def test_a_scale_that_is_lost_and_a_value_that_is_rounded_twice_are_found(tmp_path: Path) -> None:
    made = whole(tmp_path, FP8)
    scale = NAME.replace("weight", "weight_scale_inv")

    def twice(held: dict[str, torch.Tensor]) -> None:
        factors = held.pop(scale).bfloat16()
        spread = factors.repeat_interleave(128, 0).repeat_interleave(128, 1)
        held[NAME] = held[NAME].bfloat16() * spread[: len(held[NAME]), : held[NAME].shape[1]]

    copy = replace(made, target=Path(shutil.copytree(made.target, tmp_path / "copy")))
    assert planted(copy, lambda held: held.pop(scale)) == [
        f"{NAME} and its scale are not bit-equal to the base's"
    ]
    assert planted(made, twice) == [f"{NAME} is not the base's, made BF16 in FP32 and rounded once"]


def test_an_index_that_names_too_little_or_a_wrong_size_is_found(tmp_path: Path) -> None:
    made = pairs.pair("mimo", tmp_path, "ct-w4a16", kind="shards")
    assert grafted.index_faults(made.target) == []
    file = made.target / INDEX
    index = json.loads(file.read_text(encoding="utf-8"))
    index["weight_map"].popitem()
    index["metadata"]["total_size"] += 1
    file.write_text(json.dumps(index), encoding="utf-8")
    assert len(grafted.index_faults(made.target)) == 2


def test_a_tensor_in_two_files_is_an_error(tmp_path: Path) -> None:
    made = pairs.pair("mimo", tmp_path, "ct-w4a16")
    shutil.copy(made.target / "model.safetensors", made.target / "model-2.safetensors")
    with pytest.raises(ValueError, match="is in two files"):
        pairs.tensors(made.target)
