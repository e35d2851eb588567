"""What real releases of SGLang decided is foreseen, module by module; recorded, not guessed.

`python -m tools.sglang_record` made the recordings, `python -m tools.sglang_agreement` says where
mtpfix differs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.sglang import policy
from tools import sglang_agreement, sglang_recording

FILES = sglang_recording.files()


def test_there_are_recordings() -> None:
    assert {path.name for path in FILES} >= {"deepseek_v3.json.xz", "qwen3_5.json.xz"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_every_recorded_decision_is_foreseen(path: Path) -> None:
    asked = 0
    for recorded in sglang_recording.read(path):
        asked += len(recorded.outcomes)
        found = list(sglang_agreement.differences(recorded))
        assert found == [], recorded.id
    assert asked


def test_evidence_names_what_is_recorded() -> None:
    known = policy.evidence()
    made = sglang_agreement.evidence()
    assert known.decisions == made["decisions"]
    assert {m: {f: [*r] for f, r in by.items()} for m, by in known.recorded.items()} == made[
        "recorded"
    ]
