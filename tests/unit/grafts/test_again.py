"""A second graft of the same block changes nothing, whatever the first one made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtpfix
from mtpfix.grafts.attempts import Precision
from tools import grafted, pairs
from tools.forge import NONE
from tools.pairs import FP8


@pytest.mark.parametrize(
    ("scheme", "donor", "precision"),
    [
        ("ct-w4a16", NONE, "auto"),
        ("ct-w4a16", FP8, "auto"),
        ("ct-w4a16", FP8, "bf16"),
        ("awq", FP8, "auto"),
        ("fp8-block", FP8, "auto"),
        ("modelopt-nvfp4", FP8, "auto"),
    ],
)
def test_it_changes_no_file(scheme: str, donor: str, precision: Precision, tmp_path: Path) -> None:
    pair = pairs.pair("mimo", tmp_path, scheme, donor=donor)
    for again in (False, True):
        files = grafted.contents(pair.target)
        made = mtpfix.graft(
            pair.target, pair.base, vllm=["0.32.0"], precision=precision, backup=False, write=True
        )
        assert bool(made.repair.tensors) is not again
        assert (grafted.contents(pair.target) == files) is again
    assert grafted.block_faults(pair, made.repair.block.repeated) == []


def test_scales_are_brought_to_fp8_codes_that_were_copied_without(tmp_path: Path) -> None:
    pair = pairs.pair("mimo", tmp_path, "fp8-block", donor=FP8)
    held = pairs.tensors(pair.target)
    codes = {n: t for n, t in pairs.expected(pair).items() if not n.endswith("scale_inv")}
    pairs.save(pair.target, held | codes)
    made = mtpfix.graft(pair.target, pair.base, vllm=["0.32.0"], backup=False, write=True)
    assert {piece.name.rpartition(".")[2] for piece in made.repair.tensors} == {"weight_scale_inv"}
    assert grafted.block_faults(pair) == []


@pytest.mark.parametrize("output", [False, True])
def test_a_block_that_is_there_gets_the_entries_that_it_lacks(tmp_path: Path, output: bool) -> None:
    pair = pairs.pair("mimo", tmp_path, "ct-w4a16")
    new = tmp_path / "new" if output else None
    mtpfix.graft(pair.target, pair.base, vllm=["0.32.0"], backup=False, write=True)
    (pair.target / "config.json").write_bytes(_without_entries(pair.target))
    assert mtpfix.check(pair.target, vllm=["0.32.0"]).ok is False
    seen = mtpfix.graft(pair.target, pair.base, vllm=["0.32.0"])
    assert (seen.repair.tensors, [*seen.repair.files]) == ((), ["config.json"])
    made = mtpfix.graft(
        pair.target, pair.base, vllm=["0.32.0"], backup=False, write=not output, output=new
    )
    assert made.exit_code == 0
    assert mtpfix.check(new or pair.target, vllm=["0.32.0"]).ok is True


def _without_entries(folder: Path) -> bytes:
    """`config.json` with the list as the quantizer left it."""
    config = json.loads((folder / "config.json").read_bytes())
    config["quantization_config"]["ignore"] = ["lm_head"]
    return json.dumps(config, indent=2).encode()
