"""Real artifacts that mtpfix once judged wrongly: what is said of each is what vLLM does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.vllm.live import Server
from tools.artifacts import ARTIFACTS, NEWEST, Artifact, row

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "artifact", [each for each in ARTIFACTS if NEWEST in each.releases], ids=lambda each: each.title
)
def test_an_artifact_is_judged_as_vllm_treats_it(
    server: Server, artifact: Artifact, tmp_path: Path
) -> None:
    made = row(artifact, NEWEST, server, tmp_path / "model")
    assert made.right, made
