"""Repairs proved by loading: vLLM before, `mtpfix rewrite`, vLLM after."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools import tiny
from tools.prove import SCHEMES, drafted, prove

pytestmark = pytest.mark.live

RELEASE = "0.32.0"
"""The vLLM that the gate installs; families that it does not have are proved by `tools.prove`."""
FAMILIES = [family for family in tiny.families() if drafted(family, RELEASE)]


def pairs(alone: str) -> list[tuple[str, str]]:
    """Families and schemes; those that are asked in brief meet one (docs/proof.md has them all)."""
    return [
        (family, scheme)
        for scheme in SCHEMES
        for family in FAMILIES
        if scheme not in tiny.unfit(family) and (not tiny.brief(family) or scheme == alone)
    ]


def test_the_server_is_the_release_that_families_are_chosen_for(server: Server) -> None:
    assert server.about["vllm"].split("+")[0] == RELEASE


@pytest.mark.parametrize(("family", "scheme"), pairs("ct-fp8-channel"))
def test_an_unquantized_block_loads_after_the_repair(
    server: Server, family: str, scheme: str, tmp_path: Path
) -> None:
    assert prove(server, family, scheme, tmp_path / "model").faults == ()


@pytest.mark.parametrize("family", [f for f in FAMILIES if "ct-w4a16" not in tiny.unfit(f)])
def test_a_half_quantized_block_loads_after_the_repair(
    server: Server, family: str, tmp_path: Path
) -> None:
    proof = prove(server, family, "ct-w4a16", tmp_path / "model", "mixed")
    assert proof.faults == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantized_block_is_left_alone(server: Server, family: str, tmp_path: Path) -> None:
    proof = prove(server, family, "ct-fp8-channel", tmp_path / "model", "quantized")
    assert (proof.faults, proof.added) == ((), ())
