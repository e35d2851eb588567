"""A Hub on the loopback interface, with the shipped sample in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import huggingface_hub
import pytest
from huggingface_hub import constants

from mtpfix.checkpoint import hub_requests
from mtpfix.cli import main
from tests.hub import pairs
from tests.hub.server import GOOD_TOKEN, READ_TOKEN, Hub, Repo, serving, sparse

SAMPLE = Path(__file__).parents[2] / "examples" / "deepseek-v4-like"
NAME = "org/v4"
ONE = ("--vllm", "0.32.0", "--platform", "cuda")


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


# --- grafts ------------------------------------------------------------------------------


@pytest.fixture(name="uploads")
def _uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files can be sent, and nobody waits."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks LFS only
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits by itself
    monkeypatch.setattr(hub_requests, "sleep", lambda _: None)


@pytest.fixture(name="both")
def _both(hub: Hub) -> pairs.Pair:
    return pairs.pair(hub)


class Graft(Protocol):
    """Runs the command; returns its exit code, and what it said on both streams."""

    def __call__(
        self, *arguments: str, target: str = pairs.TARGET, base: str | None = pairs.BASE
    ) -> tuple[int, str, str]:
        """The options for one release are given."""


@pytest.fixture(name="graft")
def _graft(capsys: pytest.CaptureFixture[str]) -> Graft:
    def graft(
        *arguments: str, target: str = pairs.TARGET, base: str | None = pairs.BASE
    ) -> tuple[int, str, str]:
        named = () if base is None else ("--from", base)
        code = main(["graft", target, *named, *ONE, *arguments])
        out, err = capsys.readouterr()
        assert not [token for token in (GOOD_TOKEN, READ_TOKEN) if token in out + err]
        return code, out, err

    return graft
