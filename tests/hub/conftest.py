"""A Hub on the loopback interface, with the shipped sample in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from mtpfix.checkpoint import hub_requests
from tests.hub.server import Hub, Repo, serving, sparse

SAMPLE = Path(__file__).parents[2] / "examples" / "deepseek-v4-like"
NAME = "org/v4"


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


@pytest.fixture(name="repo")
def _repo(hub: Hub) -> Repo:
    repo = hub.repos[NAME] = Repo()
    repo.commit({path.name: sparse(path.read_bytes()) for path in SAMPLE.iterdir()})
    return repo


@pytest.fixture(name="waits")
def _waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    made: list[float] = []
    monkeypatch.setattr(hub_requests, "sleep", made.append)
    return made
