"""The parameters that we say a built module has are those that a real vLLM gave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.policy import covered_releases
from tools.parameters import disagreements
from tools.recording import PARAMETERS

RECORDINGS = sorted(Path(__file__).parent.glob(f"*/{PARAMETERS}"))


def test_every_covered_release_is_recorded() -> None:
    assert {path.parent.name for path in RECORDINGS} == set(covered_releases())


@pytest.mark.parametrize("recording", RECORDINGS, ids=[path.parent.name for path in RECORDINGS])
def test_every_parameter_is_known(recording: Path) -> None:
    assert list(disagreements(recording)) == []
