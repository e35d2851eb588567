"""Spans of a shard come in one request each, and go on where an answer broke off."""

from __future__ import annotations

import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import constants, snapshot_download

from mtpfix.checkpoint import hub_requests
from mtpfix.checkpoint.hub import HubSource
from mtpfix.checkpoint.source import PIECE
from mtpfix.errors import TargetError
from tests.hub import server
from tests.hub.conftest import NAME
from tests.hub.server import GOOD_TOKEN, Hub, Repo, Sparse, sparse

SHARD = "model-00002-of-00003.safetensors"
HEADER = 1000
TENSOR = 700_000
DATA = random.Random(16).randbytes(HEADER + 3 * TENSOR)  # noqa: S311 - no secret
SPAN = (8, len(DATA) - 5)
WANTED = DATA[slice(*SPAN)]


@pytest.fixture(name="source")
def _source(hub: Hub) -> HubSource:
    repo = hub.repos[NAME] = Repo()
    repo.commit({SHARD: sparse(DATA), "huge.safetensors": Sparse(b"", 300_000_000)})
    return HubSource(NAME, token=GOOD_TOKEN)


def ranges(hub: Hub) -> list[tuple[int, int]]:
    """The first and the last byte of each range that was asked of the content network."""
    asked = [span[6:].split("-") for _, path, span in hub.requests if path.startswith("/cdn/")]
    return [(int(begin), int(last)) for begin, last in asked]


def all_of(source: HubSource, begin: int = SPAN[0], end: int = SPAN[1]) -> bytes:
    return b"".join(source.stream(SHARD, begin, end))


def refusal(source: HubSource, begin: int = SPAN[0], end: int = SPAN[1]) -> TargetError:
    with pytest.raises(TargetError) as caught:
        all_of(source, begin, end)
    assert GOOD_TOKEN not in caught.value.message + caught.value.remedy
    return caught.value


# --- as it should be -------------------------------------------------------------------


def test_a_span_is_one_request(hub: Hub, source: HubSource) -> None:
    pieces = list(source.stream(SHARD, *SPAN))
    assert b"".join(pieces) == WANTED
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    assert ranges(hub) == [(SPAN[0], SPAN[1] - 1)]
    assert hub.fetched(SHARD) == len(WANTED)


@pytest.mark.parametrize("span", [(0, 1), (5, 5), (len(DATA) - 1, len(DATA)), (0, len(DATA))])
def test_spans_at_the_ends(source: HubSource, span: tuple[int, int]) -> None:
    assert all_of(source, *span) == DATA[slice(*span)]


def test_a_large_span_takes_little_memory(source: HubSource) -> None:
    tracemalloc.start()
    try:
        assert sum(map(len, source.stream("huge.safetensors", 100, 300_000_000))) == 299_999_900
        assert tracemalloc.get_traced_memory()[1] < 8 * PIECE
    finally:
        tracemalloc.stop()


def test_who_stops_early_receives_no_more(hub: Hub, source: HubSource) -> None:
    pieces = source.stream("huge.safetensors", 0, 300_000_000)
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]  # a generator
    assert hub.sent < 30_000_000


def test_a_connection_is_used_again(hub: Hub, source: HubSource) -> None:
    clients = []
    hub.faults["/cdn/"] = [lambda handler: bool(clients.append(handler.client_address))] * 3
    for _ in range(3):
        all_of(source)
    assert len(set(clients)) == 1


def test_four_at_once(hub: Hub, source: HubSource) -> None:
    spans = [(begin, begin + TENSOR // 4) for begin in range(HEADER, len(DATA), TENSOR // 4)]
    hub.faults["/cdn/"] = [server.cut_after(70_000)] * 5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda span: all_of(source, *span), spans))
    assert b"".join(found) == DATA[HEADER:]
    assert hub.fetched(SHARD) <= 1.02 * (len(DATA) - HEADER)


def test_what_the_cache_has_is_not_fetched(hub: Hub, source: HubSource) -> None:
    snapshot_download(NAME, allow_patterns=SHARD, endpoint=hub.url)
    hub.requests.clear()
    assert all_of(source) == WANTED
    assert hub.requests == []


def test_offline_what_the_cache_lacks_is_an_error(
    hub: Hub, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[NAME].commit({"config.json": sparse(b"{}")})
    snapshot_download(NAME, endpoint=hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "no such file" in refusal(HubSource(NAME)).message


# --- cuts ------------------------------------------------------------------------------

CUTS = {
    "before the first byte": 0,
    "after the first byte": 1,
    "in the header": HEADER // 2,
    "at the end of the header": HEADER - SPAN[0],
    "in a tensor": HEADER + TENSOR // 2,
    "at the end of a tensor": HEADER + TENSOR - SPAN[0],
    "before the last byte": len(WANTED) - 1,
}


@pytest.mark.parametrize("count", CUTS.values(), ids=CUTS)
def test_a_cut_answer_goes_on_at_the_same_byte(
    hub: Hub, source: HubSource, waits: list[float], count: int
) -> None:
    hub.faults["/cdn/"] = [server.cut_after(count)]
    assert all_of(source) == WANTED
    last = SPAN[1] - 1
    assert ranges(hub) == [(SPAN[0], last), (SPAN[0] + count, last)]
    assert hub.fetched(SHARD) == len(WANTED)
    assert len(waits) == 1


def test_patience_begins_anew_with_every_byte(
    hub: Hub, source: HubSource, waits: list[float]
) -> None:
    hub.faults["/cdn/"] = [server.cut_after(1000)] * 40
    assert all_of(source) == WANTED
    assert len(waits) == 40
    assert max(waits) <= 1
    assert hub.fetched(SHARD) == len(WANTED)


def test_without_progress_patience_ends(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.cut_after(1000), *[server.cut_after(0)] * 9]
    message = refusal(source).message
    assert message.startswith(f"{NAME}: {SHARD!r}: ")
    assert "gave no answer in 5 tries" in message
    assert len(waits) == 4


@pytest.mark.parametrize(
    "fault", [server.status(429), server.status(500), server.status(503), server.reset]
)
def test_a_fault_between_two_parts(
    hub: Hub, source: HubSource, waits: list[float], fault: server.Fault
) -> None:
    hub.faults["/cdn/"] = [fault, server.cut_after(5000), fault, fault]
    assert all_of(source) == WANTED
    assert hub.fetched(SHARD) == len(WANTED)


def test_the_server_says_how_long_to_wait(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000), server.status(429, Retry_After="7")]
    assert all_of(source) == WANTED
    assert waits[1:] == [7]


def test_a_long_wait_is_told_and_not_waited(
    hub: Hub, source: HubSource, waits: list[float]
) -> None:
    hub.faults["/cdn/"] = [server.status(429, Retry_After="3600")]
    assert "asks to come back in 3600 seconds" in refusal(source).message
    assert waits == []


def test_a_silent_server_is_asked_again(
    hub: Hub, source: HubSource, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_requests, "TIMEOUT", 0.1)
    hub.faults["/cdn/"] = [server.slow]
    assert all_of(source) == WANTED
    assert len(waits) == 1


def test_a_login_that_is_revoked_on_the_way(
    hub: Hub, source: HubSource, waits: list[float]
) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000), server.status(403)]
    assert "this login may not do that" in refusal(source).message


# --- servers that lie ------------------------------------------------------------------


def test_a_server_without_ranges(hub: Hub, source: HubSource) -> None:
    hub.faults["/cdn/"] = [server.no_ranges]
    assert all_of(source) == WANTED


def test_a_server_without_ranges_that_breaks_off(
    hub: Hub, source: HubSource, waits: list[float]
) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000), server.no_ranges]
    assert all_of(source) == WANTED


def test_a_server_without_ranges_is_not_asked_for_gigabytes(hub: Hub, source: HubSource) -> None:
    hub.faults["/cdn/"] = [server.no_ranges]
    with pytest.raises(TargetError, match="sends whole files only") as caught:
        list(source.stream("huge.safetensors", hub_requests.FARTHEST + 1, 300_000_000))
    assert "hf download" in caught.value.remedy
    assert hub.sent < 30_000_000


def test_a_shorter_range_is_continued(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.other_range(0, 5000)]
    assert all_of(source) == WANTED
    assert [begin for begin, _ in ranges(hub)] == [SPAN[0], SPAN[0] + 5000]


def test_a_longer_range_is_cut(hub: Hub, source: HubSource) -> None:
    hub.faults["/cdn/"] = [server.other_range(0, 50_000)]
    assert all_of(source, 10, 20) == DATA[10:20]


def test_another_range_is_not_taken(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.other_range(1, 5000)] * 9
    assert "another range than the one asked for" in refusal(source).message


def test_a_file_that_ends_too_early(hub: Hub, source: HubSource) -> None:
    message = f"{SHARD!r}: {len(DATA)} bytes, and tensors up to byte {len(DATA) + 1} are wanted"
    assert refusal(source, 0, len(DATA) + 1).message == message
    message = f"{SHARD!r}: {len(DATA)} bytes, and tensors up to byte {len(DATA) + 9} are wanted"
    assert refusal(source, len(DATA) + 5, len(DATA) + 9).message == message


def test_a_file_that_shrinks(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000), server.told_size(6000)]
    assert "6000 bytes, and tensors up to byte" in refusal(source).message


def test_a_file_that_grows(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000), server.told_size(len(DATA) + 1)]
    said = refusal(source).message
    assert said.endswith(f"its size was {len(DATA)} bytes, and is {len(DATA) + 1} now")


def test_the_token_stays_with_the_hub(hub: Hub, source: HubSource, waits: list[float]) -> None:
    hub.faults["/cdn/"] = [server.cut_after(5000)]
    all_of(source)
    assert {login for where, login in hub.tokens if where == "cdn"} == {""}
