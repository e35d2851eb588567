"""Repairs proved by loading: vLLM before, `mtpfix rewrite`, vLLM after."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools import tiny
from tools.prove import SCHEMES, prove

pytestmark = pytest.mark.live


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", tiny.families())
def test_an_unquantized_block_loads_after_the_repair(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    assert prove(server, family, scheme, tmp_path / "model").faults == ()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", tiny.families())
def test_a_half_quantized_block_loads_after_the_repair(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    proof = prove(server, family, scheme, tmp_path / "model", "mixed")
    assert proof.faults == ()


@pytest.mark.parametrize("family", tiny.families())
def test_a_quantized_block_is_left_alone(server: Server, family: str, tmp_path: Path) -> None:
    proof = prove(server, family, "ct-fp8-channel", tmp_path / "model", "quantized")
    assert (proof.faults, proof.added) == ((), ())
