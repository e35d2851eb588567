"""Tiny checkpoints whose MTP block is stored by another scheme than the trunk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tools import blocks, pairs, schemes
from tools.blocks import Asked
from tools.forge import Mtp, forge
from tools.quantizers import QUANTIZERS

CASES = (
    ("glm4_moe", "ct-w4a16", "ct-fp8-block", "quantized"),
    ("qwen3_5_moe", "ct-nvfp4", "ct-fp8-channel", "mixed"),
    ("mimo", "modelopt-nvfp4", "modelopt-mxfp8", "quantized"),
    ("nemotron_h", "modelopt-mixed", "modelopt-fp8", "quantized"),
    ("ernie4_5_moe", "gptq", "gptq-8-bit", "quantized"),
)


@pytest.mark.parametrize(("family", "trunk", "block", "mtp"), CASES)
def test_the_block_is_of_its_own_scheme_and_all_else_of_the_trunks(
    family: str, trunk: str, block: str, mtp: Mtp, tmp_path: Path
) -> None:
    asked = Asked(family, trunk, block, mtp)
    made = asked.made(tmp_path / "made")
    plain = forge(family, tmp_path / "plain", trunk, mtp="bf16", ignore=asked.ignore)
    alone = forge(family, tmp_path / "alone", block, mtp=mtp)
    held, ours = pairs.tensors(made.folder), pairs.tensors(plain.folder)
    theirs = pairs.tensors(alone.folder)
    due = {name: tensor for name, tensor in ours.items() if name not in plain.mtp}
    due |= {name: theirs[name] for name in alone.mtp}
    assert held.keys() == due.keys()
    assert all(pairs.same(held[name], due[name]) for name in due)
    assert made.mtp == alone.mtp
    assert not set(made.quantized) <= set(plain.quantized)
    for file in plain.folder.glob("*.json"):
        assert (made.folder / file.name).read_bytes() == file.read_bytes()


def test_one_of_several_files_holds_the_block(tmp_path: Path) -> None:
    one = Asked("qwen3_5", "ct-w4a16", "ct-fp8-block").made(tmp_path / "one")
    made = Asked("qwen3_5", "ct-w4a16", "ct-fp8-block").made(tmp_path / "several", shards=3)
    index = json.loads((made.folder / pairs.INDEX).read_text(encoding="utf-8"))["weight_map"]
    assert len(list(made.folder.glob("*.safetensors"))) == 3
    assert {index[name] for name in made.mtp} == {"model-00003-of-00003.safetensors"}
    held, due = pairs.tensors(made.folder), pairs.tensors(one.folder)
    assert held.keys() == due.keys() == index.keys()
    assert all(pairs.same(held[name], due[name]) for name in due)


@pytest.mark.parametrize("scheme", schemes.of_blocks())
def test_every_scheme_of_blocks_has_a_quantizer_and_a_trunk_of_its_method(scheme: str) -> None:
    method = schemes.dialect(scheme)
    assert {part.quantizer for part in schemes.parts(scheme)} <= QUANTIZERS.keys()
    assert scheme not in schemes.named()
    assert method in schemes.dialects()


@pytest.mark.parametrize(
    ("scheme", "words", "scales"),
    [
        ("gptq", (16, 256), (4, 256)),
        ("gptq-8-bit", (32, 256), (4, 256)),
        ("auto-round-group-64", (16, 256), (2, 256)),
    ],
)
def test_words_and_groups_have_the_sizes_that_are_stated(
    scheme: str, words: tuple[int, int], scales: tuple[int, int]
) -> None:
    weight = torch.randn(256, 128, generator=torch.Generator().manual_seed(0))
    stored = QUANTIZERS[scheme]("m", weight)
    bits = schemes.quantization(scheme)["bits"]
    assert (stored["m.qweight"].shape, stored["m.scales"].shape) == (words, scales)
    assert stored["m.qzeros"].shape == (scales[0], 256 * bits // 32)
    lowest = stored["m.qweight"][0].long() & (2**bits - 1)
    value = (lowest - 2 ** (bits - 1)) * stored["m.scales"][0].float()
    assert torch.allclose(value, weight[:, 0], atol=float(stored["m.scales"][0].float().max()))


def test_what_is_asked_about_is_sound_and_never_states_the_block() -> None:
    for part in blocks.PARTS.values():
        asked = list(part())
        assert len(asked) == len(set(asked)) > len(blocks.FAMILIES) / 2
        for each in asked:
            assert each.sound
            assert schemes.dialect(each.trunk) == schemes.dialect(each.block)
            assert (each.trunk, "quantized") != (each.block, each.mtp)
