"""`verify` of a repo: vLLM is asked about its metadata, and no weight is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix import verify
from mtpfix.engines.vllm import live
from mtpfix.model import State
from tests.hub.conftest import NAME, SAMPLE
from tests.hub.server import GOOD_TOKEN, Hub, Repo

ANSWER = live.Answer(
    version="0.32.0",
    platform="CpuPlatform",
    patches=(),
    target_class="DeepseekV4ForCausalLM",
    draft_class="DeepSeekV4MTP",
    draft_architectures=(),
    decisions=(
        live.Made(
            part="draft",
            name="model.layers.43.e_proj",
            cls="ReplicatedLinear",
            kind="linear",
            param="model.layers.43.e_proj",
            built="unquantized",
            scheme=None,
            method="UnquantizedLinearMethod",
            error=None,
        ),
    ),
    unasked=(),
    packed={},
    ignore=None,
    targets=(),
    shared=True,
    failures=(),
    parameters={},
)


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """What stands in the folders that vLLM is asked about."""
    found: list[dict[str, bytes]] = []

    def ask(folder: Path, **_: object) -> live.Answer:
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
        return ANSWER

    monkeypatch.setattr(live, "ask", ask)
    return found


def test_a_repo_is_asked_about_by_its_metadata(
    hub: Hub, repo: Repo, asked: list[dict[str, bytes]]
) -> None:
    answer = verify(f"{NAME}@main", token=GOOD_TOKEN)
    assert asked == [{"config.json": (SAMPLE / "config.json").read_bytes()}]
    (row,) = answer.modules
    assert (row.disk.state, row.agrees, row.foreseen) == (State.UNQUANTIZED, True, False)
    assert answer == verify(SAMPLE)
    assert set(asked[1]) == {path.name for path in SAMPLE.iterdir()}


def test_a_draft_from_elsewhere_is_handed_on(
    hub: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []

    def ask(folder: Path, *, draft: Path | None = None, **_: object) -> live.Answer:
        found.append(draft)
        return ANSWER

    monkeypatch.setattr(live, "ask", ask)
    verify(NAME, token=GOOD_TOKEN, draft=SAMPLE)
    assert found == [SAMPLE]
