"""Quantized MTP blocks that vLLM cannot load, or can: what is recorded is heard again."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tests.unit.test_quantized_blocks import BLOCKS, COMPANIONS, with_companion
from tools import tiny
from tools.forge import forge
from tools.prove import outcome

pytestmark = pytest.mark.live


@pytest.mark.parametrize(("family", "scheme", "due"), BLOCKS)
def test_it_loads_or_not(
    server: Server, family: str, scheme: str, due: str, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, variant=tiny.variant(family, scheme), mtp="quantized")
    assert outcome(server.ask(tmp_path, load=True)).startswith(due)


@pytest.mark.parametrize(("family", "scheme", "file"), COMPANIONS)
def test_the_file_beside_is_read_and_repaired(
    server: Server, family: str, scheme: str, file: str, tmp_path: Path
) -> None:
    forge(family, tmp_path, scheme, mtp="bf16")
    with_companion(tmp_path, file)
    assert outcome(server.ask(tmp_path, load=True)).startswith("silent_garbage")
    mtpfix.rewrite(tmp_path, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    assert outcome(server.ask(tmp_path, load=True)).startswith("clean")
