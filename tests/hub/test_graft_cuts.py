"""A connection that is cut, at whatever byte: one line, and the next run fetches only the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mtpfix.checkpoint.source import PIECE
from mtpfix.grafts import transfer
from tests.hub import pairs
from tests.hub.conftest import Graft
from tests.hub.pairs import BASE, SHARD, TARGET, Pair, Shape
from tests.hub.server import GOOD_TOKEN, Hub
from tests.hub.traffic import Outage, Regions, Use, base_regions, traffic

pytestmark = [
    pytest.mark.usefixtures("uploads"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
PUSH = ("--push-to-hub", "--token", GOOD_TOKEN)
Place = Callable[[int, int], int]


@pytest.fixture(name="in_turn")
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "AT_ONCE", 1)


Span = tuple[str, int, int]


def tensors(regions: Regions) -> list[Span]:
    """The tensors of the block in the order in which they are fetched: file, first byte, end."""
    return [(name, *each) for name in sorted(regions.spans) for each in regions.spans[name]]


def outage(
    hub: Hub, regions: Regions, byte: int, name: str = "", *, use: Use = "block", repo: str = BASE
) -> Outage:
    made = Outage(hub, repo, regions, use, byte, name)
    made.begin()
    return made


def assert_one_line(code: int, out: str, err: str, hub: Hub, file: str) -> None:
    """It says which file could not be read, from where, and what to do."""
    assert (code, out) == (2, "")
    error, hint, rest = err.split("\n", 2)
    assert error.startswith(f"error: base: {BASE}: '{file}': {urlsplit(hub.url).netloc} gave no")
    assert hint.startswith("hint: ")
    assert rest == ""


PLACES: list[object] = [
    pytest.param(0, lambda begin, _: begin, id="byte 0"),
    pytest.param(0, lambda begin, _: begin + 1, id="after the first byte"),
    pytest.param(0, lambda _, end: end - 1, id="before the last byte of the first tensor"),
    pytest.param(0, lambda _, end: end, id="at the end of the first tensor"),
    pytest.param(15, lambda begin, _: begin, id="at the beginning of one in the middle"),
    pytest.param(15, lambda begin, end: (begin + end) // 2 + 1, id="inside an element of it"),
    pytest.param(15, lambda _, end: end, id="at its end"),
    pytest.param(-1, lambda _, end: end - 1, id="before the last byte of all"),
]


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize(("number", "place"), PLACES)
def test_the_next_run_fetches_only_the_rest(
    hub: Hub, graft: Graft, tmp_path: Path, number: int, place: Place
) -> None:
    made = pairs.pair(hub, Shape(width=256))
    regions = base_regions(made.base)
    folder = pairs.write(tmp_path / "quantized", made.files())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    name, begin, end = tensors(regions)[number]
    broken = outage(hub, regions, place(begin, end), name)
    assert_one_line(*graft("--write", target=str(folder)), hub, name)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name: time for name, time in kept.items() if not name.startswith(".")} == before
    first, broken.sent = broken.sent, 0
    assert broken.down
    broken.end()
    assert graft("--write", target=str(folder))[0] == 0
    assert made.size <= first + broken.sent <= made.size * 1.01 + LOST
    assert whole(folder) == uncut(made, graft, tmp_path)
    assert [path.name for path in folder.iterdir() if "part" in path.name] == []


LOST = 64
"""Bytes that may come twice."""


def whole(folder: Path) -> dict[str, bytes]:
    names = (SHARD, "config.json", pairs.INDEX, pairs.MANIFEST)
    return {name: (folder / name).read_bytes() for name in names}


def uncut(made: Pair, graft: Graft, where: Path) -> dict[str, bytes]:
    """What comes of a run that nothing disturbs."""
    folder = pairs.write(where / "uncut", made.files())
    assert graft("--write", target=str(folder))[0] == 0
    return whole(folder)


@pytest.mark.parametrize("repo", [BASE, TARGET])
@pytest.mark.parametrize("place", [0, 5, 8, 300])
def test_a_cut_inside_a_header(hub: Hub, both: Pair, graft: Graft, repo: str, place: int) -> None:
    regions = base_regions(both.base if repo == BASE else both.target)
    broken = outage(hub, regions, place, use="header", repo=repo)
    code, out, err = graft(*PUSH)
    assert (code, out) == (2, "")
    assert err.count("\n") == 2
    assert ("error: base: " in err) == (repo == BASE)
    assert traffic(hub, BASE, base_regions(both.base))["block"].requests == 0
    broken.end()
    assert graft(*PUSH)[0] == 0
    assert pairs.tensors_of(both.files()[SHARD]) == both.block


@pytest.mark.parametrize("use", ["header", "slice", "block"])
def test_a_cut_that_is_over_at_once_is_not_noticed(
    hub: Hub, both: Pair, graft: Graft, use: Use
) -> None:
    regions = base_regions(both.base)
    left = [use]

    def once(handler: Any) -> bool:
        path, asked = handler.path.partition("?")[0], handler.headers["Range"]
        if regions.use(path, asked) in left:
            left.clear()
            handler.limit = 4
        return False

    hub.faults[f"/cdn/{BASE}/"] = [once] * 1000
    code, _, err = graft(*PUSH)
    assert (code, err) == (0, "")
    assert pairs.tensors_of(both.files()[SHARD]) == both.block


def test_a_push_goes_on_too(hub: Hub, graft: Graft) -> None:
    made = pairs.pair(hub, Shape(width=256))
    regions = base_regions(made.base)
    name, begin, end = tensors(regions)[-3]
    broken = outage(hub, regions, (begin + end) // 2, name)
    code, _, err = graft(*PUSH)
    assert code == 2
    assert "gave no answer in 5 tries" in err
    assert made.target.messages == []
    first, broken.sent = broken.sent, 0
    broken.end()
    assert graft(*PUSH)[0] == 0
    assert first + broken.sent <= made.size * 1.01 + 4 * PIECE
    assert pairs.tensors_of(made.files()[SHARD]) == made.block


def test_bytes_of_another_commit_are_not_gone_on_with(hub: Hub, graft: Graft) -> None:
    made = pairs.pair(hub, Shape(width=256))
    name, begin, end = tensors(base_regions(made.base))[-3]
    broken = outage(hub, base_regions(made.base), (begin + end) // 2, name)
    assert graft(*PUSH)[0] == 2
    broken.end()
    files = made.base.commits[made.base.branches["main"]]
    made.base.commit(files | {"README.md": pairs.document({})})
    broken.sent = 0
    broken.regions = base_regions(made.base)
    assert graft(*PUSH)[0] == 0
    assert broken.sent >= made.size
