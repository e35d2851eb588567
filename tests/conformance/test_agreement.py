"""Our predictions equal what a real vLLM built, decision by decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.policy import covered_releases
from tools.agreement import disagreements
from tools.recording import files, read

RECORDINGS = files(Path(__file__).parent)


def test_every_covered_release_is_recorded() -> None:
    assert {path.parent.name for path in RECORDINGS} == set(covered_releases())


@pytest.mark.parametrize(
    "recording", RECORDINGS, ids=[f"{path.parent.name}-{path.stem}" for path in RECORDINGS]
)
def test_every_decision_is_predicted(recording: Path) -> None:
    found = [
        f"{case.id}: {difference}" for case in read(recording) for difference in disagreements(case)
    ]
    assert found == []
