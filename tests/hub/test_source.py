"""A repo of the Hub gives the same report as a folder, with few requests, whatever happens."""

from __future__ import annotations

import os
import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

import mtpfix
from mtpfix.checkpoint import hub as hub_source
from mtpfix.checkpoint.hub import HubSource
from mtpfix.errors import BrokenFileError, MtpfixError, TargetError, UsageError
from mtpfix.report import json
from tests.hub import server
from tests.hub.conftest import NAME, SAMPLE
from tests.hub.server import GOOD_TOKEN, Hub, Repo, Sparse, sparse

RESOLVE = re.compile(r"/resolve/")


def files_asked(hub: Hub) -> list[str]:
    """The files that were asked of the Hub itself, in order."""
    return [path.rpartition("/")[2] for _, path, _ in hub.requests if RESOLVE.search(path)]


def refused(name: str, **how: str) -> MtpfixError:
    with pytest.raises(MtpfixError) as caught:
        mtpfix.check(name, **how)
    return caught.value


# --- the same as a folder ------------------------------------------------------------


def test_the_report_is_that_of_the_folder_but_for_the_target(repo: Repo) -> None:
    there, here = mtpfix.inspect(NAME), mtpfix.inspect(str(SAMPLE))
    assert there.target == mtpfix.model.Target("hub", NAME, repo.branches["main"])
    told = [json.render(report).split('"model"', 1)[1] for report in (there, here)]
    assert told[0] == told[1]


@pytest.mark.parametrize("target", [f"hf://{NAME}", f"{NAME}@main", f"hf://{NAME}@v1"])
def test_every_spelling_of_a_repo(repo: Repo, target: str) -> None:
    repo.branches["v1"] = repo.branches["main"]
    assert mtpfix.check(target).target.name == NAME


def test_only_one_shard_of_two_is_read(hub: Hub, repo: Repo) -> None:
    mtpfix.check(NAME, engines=["vllm"])
    assert sorted(files_asked(hub)) == [
        "config.json",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]


def test_everything_is_read_at_one_commit(hub: Hub, repo: Repo) -> None:
    first = repo.branches["main"]
    source = HubSource(NAME)
    repo.commit({"config.json": sparse(b"{}")})
    assert source.read("config.json") == (SAMPLE / "config.json").read_bytes()
    assert source.target().revision == first


def test_a_pull_request_is_a_revision(hub: Hub, repo: Repo) -> None:
    files = repo.commits[repo.branches["main"]]
    commit = repo.commit(files, "refs/pr/7")
    assert mtpfix.check(NAME, revision="refs/pr/7").target.revision == commit


# --- ranges ---------------------------------------------------------------------------


def shard(length: int) -> Sparse:
    header = b"{" + b" " * (length - 2) + b"}"
    return Sparse(length.to_bytes(8, "little") + header, 8 + length)


def test_a_header_comes_in_one_range_where_its_length_is_foreseen(hub: Hub, repo: Repo) -> None:
    repo.commit({"a.safetensors": shard(5000)})
    source = HubSource(NAME)
    source.expect((), {"a.safetensors": 5000})
    assert len(source.read_header("a.safetensors")[0]) == 5000
    assert [asked for *_, asked in hub.requests if asked] == ["bytes=0-5007"] * 2  # and the CDN


def test_a_header_longer_than_foreseen_takes_two(hub: Hub, repo: Repo) -> None:
    repo.commit({"a.safetensors": shard(5000)})
    source = HubSource(NAME)
    source.expect((), {"a.safetensors": 100})
    assert source.read_header("a.safetensors") == (shard(5000).head[8:], 0)
    ranges = dict.fromkeys(asked for *_, asked in hub.requests if asked)
    assert list(ranges) == ["bytes=0-107", "bytes=108-5007"]


def test_a_server_that_ignores_ranges_is_cut_off(hub: Hub, repo: Repo) -> None:
    header = shard(5000).head
    repo.commit({"a.safetensors": Sparse(header, 300_000_000)})
    hub.faults["/cdn/"] = [server.no_ranges] * 2
    source = HubSource(NAME)
    source.expect((), {"a.safetensors": 100})
    assert source.read_header("a.safetensors") == (header[8:], 300_000_000 - len(header))
    assert hub.sent < 30_000_000  # what fits into the buffers between the two, and no more


def test_a_lying_header_is_not_fetched(hub: Hub, repo: Repo) -> None:
    repo.commit({"a.safetensors": Sparse((1 << 62).to_bytes(8, "little"), 1000)})
    with pytest.raises(BrokenFileError, match="claims a header"):
        HubSource(NAME).read_header("a.safetensors")


def test_an_empty_shard(repo: Repo) -> None:
    repo.commit({"a.safetensors": sparse(b"")})
    with pytest.raises(BrokenFileError, match="too few"):
        HubSource(NAME).read_header("a.safetensors")


def test_a_file_that_is_too_long_is_not_received(hub: Hub, repo: Repo) -> None:
    repo.commit({"config.json": Sparse(b"{", 500_000_000)})
    with pytest.raises(BrokenFileError, match="500000000 bytes"):
        HubSource(NAME).read("config.json", limit=1000)
    assert hub.sent < 30_000_000


@pytest.mark.parametrize("path", ["../a.json", "/a.json", "b/../../a.json", ".cache/a.json"])
def test_paths_that_lead_elsewhere_are_not_listed(repo: Repo, path: str) -> None:
    repo.commit({path: sparse(b"{}"), "config.json": sparse(b"{}")})
    assert HubSource(NAME).list() == ("config.json",)


# --- patience --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/api/models", "config.json", "/cdn/"])
@pytest.mark.parametrize(
    "fault",
    [server.status(429), server.status(500), server.status(503), server.reset, server.cut],
    ids=["429", "500", "503", "reset", "cut"],
)
def test_a_fault_that_passes_is_overcome(
    hub: Hub, repo: Repo, waits: list[float], place: str, fault: server.Fault
) -> None:
    hub.faults[place] = [fault, fault]
    assert mtpfix.check(NAME, engines=["vllm"]).exit_code == 1
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


def test_the_server_says_how_long_to_wait(hub: Hub, repo: Repo, waits: list[float]) -> None:
    soon = formatdate(time.time() + 9, usegmt=True)
    hub.faults["config.json"] = [
        server.status(429, Retry_After="7"),
        server.status(503, Retry_After=soon),
        server.status(503, Retry_After="soon"),
    ]
    mtpfix.check(NAME)
    assert waits[0] == 7
    assert 5 < waits[1] <= 9
    assert 2 <= waits[2] <= 4  # nonsense is as good as nothing


def test_a_long_wait_is_told_and_not_waited(hub: Hub, repo: Repo, waits: list[float]) -> None:
    hub.faults["config.json"] = [server.status(429, Retry_After="3600")]
    error = refused(NAME)
    assert error.message.endswith("asks to come back in 3600 seconds (HTTP 429)")
    assert waits == []


def test_a_server_that_stays_broken_is_given_up(hub: Hub, repo: Repo, waits: list[float]) -> None:
    hub.faults["config.json"] = [server.status(502)] * 9
    assert "gave no answer in 5 tries (HTTP 502)" in refused(NAME).message
    assert len(waits) == 4


def test_a_slow_body_is_waited_for(hub: Hub, repo: Repo) -> None:
    hub.faults["/cdn/"] = [server.slow]
    assert mtpfix.check(NAME).exit_code == 1


def test_requests_run_side_by_side(hub: Hub, repo: Repo) -> None:
    files = {f"{n}.json": sparse(b"{}") for n in range(hub_source.AT_ONCE)}
    repo.commit(files)
    source = HubSource(NAME)
    hub.faults[".json"] = [server.slow] * len(files)
    start = time.monotonic()
    source.expect(files)
    one_after_the_other = 0.3 * len(files)
    assert time.monotonic() - start < one_after_the_other


# --- what is told apart -----------------------------------------------------------------


def test_a_missing_repo(hub: Hub) -> None:
    error = refused("org/none")
    what = "org/none: no such repo, or a private one"
    assert (error.exit_code, error.message) == (2, f"{what}; and there is no folder of this name")
    assert refused("hf://org/none").message == what
    assert "hf auth login" in error.remedy


def test_a_private_repo(hub: Hub, repo: Repo) -> None:
    repo.private = True
    assert "private" in refused(NAME).message
    assert mtpfix.check(NAME, token=GOOD_TOKEN).exit_code == 1


def test_a_gated_repo(hub: Hub, repo: Repo) -> None:
    repo.gated = True
    error = refused(NAME)
    assert "gated" in error.message
    assert f"ask for access at {hub.url}/{NAME}" in error.remedy


def test_a_missing_revision(repo: Repo) -> None:
    assert refused(f"hf://{NAME}", revision="v9").message == f"{NAME}: has no revision 'v9'"


def test_a_refused_token(repo: Repo) -> None:
    error = refused(f"hf://{NAME}", token="hf_" + "bad" * 9)
    assert error.message == f"{NAME}: the token was refused"


def test_a_server_that_is_not_there(
    repo: Repo, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://someone:secret@127.0.0.1:9")
    error = refused(NAME)
    assert "127.0.0.1:9 gave no answer" in error.message
    assert "secret" not in error.message + error.remedy


def test_a_file_that_vanished(hub: Hub, repo: Repo) -> None:
    source = HubSource(NAME)
    with pytest.raises(TargetError, match="not in the repo"):
        source.read("none.json")


@pytest.mark.parametrize("name", ["org//v4", "hf://org", "hf://a/b/c", f"hf://{NAME}@", "hf://"])
def test_what_is_no_repo(hub: Hub, name: str) -> None:
    with pytest.raises((UsageError, TargetError)):
        mtpfix.check(name)
    assert hub.requests == []


def test_two_revisions(repo: Repo) -> None:
    assert "not the revision of" in refused(f"{NAME}@main", revision="v1").message


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    assert "no revision" in refused(str(tmp_path), revision="v1").message


# --- the cache ----------------------------------------------------------------------------


def test_what_the_cache_has_is_not_fetched(hub: Hub, repo: Repo) -> None:
    snapshot_download(NAME, allow_patterns="*.json", endpoint=hub.url)
    hub.requests.clear()
    assert mtpfix.check(NAME, engines=["vllm"]).exit_code == 1
    assert files_asked(hub) == ["model-00002-of-00002.safetensors"]


def test_offline_the_cache_is_all_there_is(
    hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_download(NAME, endpoint=hub.url)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert mtpfix.check(NAME).target.revision == repo.branches["main"]
    assert hub.requests == []
    assert "HF_HUB_OFFLINE is set" in refused("org/other").message


def test_nothing_is_written(hub: Hub, repo: Repo, tmp_path: Path) -> None:
    mtpfix.check(NAME)
    assert [path for path in Path(tmp_path).rglob("*") if path.is_file()] == []


# --- secrets ---------------------------------------------------------------------------------


def test_the_token_stays_with_the_hub(hub: Hub, repo: Repo) -> None:
    mtpfix.check(NAME, token=GOOD_TOKEN)
    assert {login for where, login in hub.tokens if where == "cdn"} == {""}
    assert (("hub", GOOD_TOKEN)) in hub.tokens
    assert os.environ.get("HF_TOKEN") is None
