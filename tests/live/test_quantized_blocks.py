"""Quantized MTP blocks that vLLM cannot load, or can: what is recorded is heard again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tests.unit.test_quantized_blocks import BLOCKS
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
