"""The real SGLang that these tests ask: in the home that MTPFIX_SGLANG_HOME names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.sglang.live import Server
from tools.sglang_environment import Home, releases

WHY = "set MTPFIX_SGLANG_HOME to a folder made by tools.sglang_environment"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The newest SGLang that is known, imported once for all tests."""
    found = os.environ.get("MTPFIX_SGLANG_HOME")
    if not found:
        pytest.skip(WHY)
    with Home(Path(found)).server(releases()[0]) as running:
        yield running
