"""mtpfix.grafts.transfer: the bytes arrive, and only those that are still missing."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mtpfix.checkpoint.source import LocalSource
from mtpfix.errors import ConflictError, TargetError, WriteError
from mtpfix.grafts import transfer
from mtpfix.grafts.layout import Layout
from mtpfix.grafts.pieces import Piece, Stored
from mtpfix.grafts.transfer import Watch, fetch, forget, journal_of, part_of
from mtpfix.model import Target
from tests.unit.grafts.memory import HUB, Memory, block, whole

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


@pytest.fixture(name="part")
def _part(tmp_path: Path) -> Path:
    return part_of(tmp_path, "model-mtp.safetensors", block()[1], HUB)


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "AT_ONCE", 1)


def broken_off(source: Memory, layout: Layout, part: Path, cut: int) -> None:
    """Fetch until the connection is gone after some bytes."""
    source.cut = cut
    with pytest.raises(TargetError, match=r"^base: the connection is gone$"):
        fetch(source, layout, part, Watch())
    source.cut, source.sent = None, 0
    source.asked.clear()


def test_the_file_and_the_hashes_of_its_tensors(part: Path) -> None:
    source, layout = block()
    arrived: list[int] = []
    hashes = fetch(source, layout, part, Watch(moved=arrived.append))
    assert part.read_bytes() == whole(source, layout)
    assert list(hashes) == [piece.name for piece in layout.pieces]
    for piece in layout.pieces:
        data = source.files[piece.shard][piece.stored.begin : piece.stored.end]
        assert hashes[piece.name] == hashlib.sha256(data).hexdigest()
    assert sum(arrived) == layout.fetched
    assert len(source.asked) == 2  # neighbours are one request


def test_one_scanner_a_tensor_sees_its_bytes(part: Path) -> None:
    source, layout = block()
    seen: dict[str, bytearray] = {}

    class Scanner:
        def __init__(self, piece: Piece) -> None:
            self.into = seen[piece.name] = bytearray()

        def feed(self, data: bytes | memoryview) -> None:
            self.into += data

    fetch(source, layout, part, Watch(scanner=Scanner))
    assert {name: bytes(data) for name, data in seen.items()} == {
        p.name: source.files[p.shard][p.stored.begin : p.stored.end] for p in layout.pieces
    }
    again = dict(seen)
    seen.clear()
    fetch(source, layout, part, Watch(scanner=Scanner))  # of an old run, too
    assert seen == again


# --- after a cut -------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        pytest.param(0, 40, id="at byte 0"),
        pytest.param(5, 35, id="inside the first tensor"),
        pytest.param(10, 30, id="at a tensor's end"),
        pytest.param(20, 20, id="at a range's end"),
        pytest.param(33, 7, id="inside the last"),
        pytest.param(39, 1, id="before the last byte"),
    ],
)
def test_a_run_goes_on_at_the_byte_where_it_broke_off(part: Path, cut: int, left: int) -> None:
    source, layout = block()
    broken_off(source, layout, part, cut)
    arrived: list[int] = []
    fetch(source, layout, part, Watch(moved=arrived.append))
    assert part.read_bytes() == whole(source, layout)
    assert sum(end - begin for _, begin, end in source.asked) == left
    assert sum(arrived) == layout.fetched  # what was there counts as arrived


def test_nothing_is_asked_for_when_all_is_there(part: Path) -> None:
    source, layout = block()
    hashes = fetch(source, layout, part, Watch())
    source.asked.clear()
    assert fetch(source, layout, part, Watch()) == hashes
    assert source.asked == []


def test_bytes_that_are_not_those_of_the_journal_are_fetched_again(part: Path) -> None:
    source, layout = block()
    fetch(source, layout, part, Watch())
    spoiled = bytearray(part.read_bytes())
    spoiled[-1] ^= 1
    part.write_bytes(spoiled)
    source.asked.clear()
    fetch(source, layout, part, Watch())
    assert part.read_bytes() == whole(source, layout)
    assert len(source.asked) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe garbage \x00\n" * 3,
        b'{"m.0.weight": "' + b"0" * 64 + b'"}\n',
        b'{"m.0.weight": 5}\n[1]\n5\nnull\n["ab"]\n',
        b"[" * 100_000 + b"\n",
        b'{"m.0.weight": "half a li',
    ],
    ids=["empty", "garbage", "a wrong hash", "other JSON", "deep", "cut"],
)
def test_a_journal_that_says_nothing_true_is_no_help_and_no_harm(part: Path, text: bytes) -> None:
    source, layout = block()
    part.write_bytes(b"z" * 10)
    journal_of(part).write_bytes(text)
    hashes = fetch(source, layout, part, Watch())
    assert part.read_bytes() == whole(source, layout)
    source.asked.clear()
    assert fetch(source, layout, part, Watch()) == hashes
    assert source.asked == []  # what was noted behind a cut line counts


def test_a_part_that_is_too_long_is_cut(part: Path) -> None:
    source, layout = block()
    part.write_bytes(b"z" * 10_000)
    fetch(source, layout, part, Watch())
    assert part.read_bytes() == whole(source, layout)


def test_another_block_has_another_part(tmp_path: Path) -> None:
    _, layout = block()
    _, other = block(size=12)
    shard = "model-mtp.safetensors"
    known = part_of(tmp_path, shard, layout, HUB)
    assert known == part_of(tmp_path, shard, layout, HUB)
    moved = replace(HUB, revision="2" * 40)
    assert known != part_of(tmp_path, shard, other, HUB)
    assert known != part_of(tmp_path, shard, layout, moved)
    assert known != part_of(tmp_path, "model-mtp-2.safetensors", layout, HUB)


def test_another_folder_and_a_folder_that_changed_have_another_part(tmp_path: Path) -> None:
    _, layout = block()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for shard in ("a", "bb"):
            (tmp_path / name / shard).write_bytes(b"x")
    one, two = (Target("local", str(tmp_path / name)) for name in ("one", "two"))
    known = part_of(tmp_path, "s", layout, one)
    assert known == part_of(tmp_path, "s", layout, one)
    assert known != part_of(tmp_path, "s", layout, two)
    (tmp_path / "one" / "a").write_bytes(b"xy")
    assert known != part_of(tmp_path, "s", layout, one)


def test_forget_removes_both_files(part: Path) -> None:
    source, layout = block()
    fetch(source, layout, part, Watch())
    assert len(list(part.parent.iterdir())) == 2
    forget(part)
    forget(part)
    assert list(part.parent.iterdir()) == []


# --- several at once ---------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 4])
def test_ranges_side_by_side(part: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(transfer, "AT_ONCE", threads)
    monkeypatch.setattr("mtpfix.grafts.layout.UNIT", 8)  # each tensor is a request
    source, layout = block(count=60)
    source.step = 3
    fetch(source, layout, part, Watch())
    assert part.read_bytes() == whole(source, layout)
    assert len(source.asked) == 60


def test_a_range_that_fails_ends_the_others_and_is_the_error(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "AT_ONCE", 2)

    class Uneven(Memory):
        def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
            if path == "bb":
                time.sleep(0.05)
                raise TargetError("gone", "run again")
            for place in range(begin, end):  # never ends by itself
                time.sleep(0.01)
                yield self.files[path][place : place + 1]
            time.sleep(5)

    made, layout = block(count=40)
    first = layout.pieces[0].shard
    assert first == "a"  # the one that is stopped comes first
    source = Uneven(made.files)
    begun = time.monotonic()
    with pytest.raises(TargetError, match="base: gone"):
        fetch(source, layout, part, Watch())
    assert time.monotonic() - begun < 4


def test_a_stop_by_hand_ends_all(part: Path) -> None:
    source, layout = block()

    def moved(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(source, layout, part, Watch(moved=moved))


# --- where it is written -----------------------------------------------------


@posix
@pytest.mark.parametrize("which", ["part", "journal"])
@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_nothing_is_written_through_what_somebody_put_there(
    part: Path, tmp_path: Path, which: str, kind: str
) -> None:
    source, layout = block()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    place = part if which == "part" else journal_of(part)
    if kind == "symlink":
        place.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, place)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises((OSError, WriteError)):
        fetch(source, layout, part, Watch())
    assert victim.read_bytes() == b"precious"


# --- a base on disk ----------------------------------------------------------


def on_disk(folder: Path) -> Layout:
    """A file of a base, whose header was read, and the new shard made of it."""
    folder.mkdir()
    head = json.dumps({"w": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}).encode()
    (folder / "a").write_bytes(len(head).to_bytes(8, "little") + head + bytes(range(16)))
    begin = 8 + len(head)
    stored = Stored("w", "a", "BF16", (8,), begin, begin + 16)
    return Layout((Piece("w", stored),), {})


def test_a_base_that_changes_while_it_is_read_is_a_conflict(part: Path, tmp_path: Path) -> None:
    layout = on_disk(tmp_path / "base")
    source = LocalSource(tmp_path / "base")

    def touched(_: int) -> None:
        os.utime(tmp_path / "base" / "a", ns=(1, 1))

    with pytest.raises(ConflictError, match="base: 'a': changed while it was read"):
        fetch(source, layout, part, Watch(moved=touched))
    assert json.loads(journal_of(part).read_bytes() or b"{}") == {}


def test_a_base_that_changed_since_its_header_was_read_is_a_conflict(
    part: Path, tmp_path: Path
) -> None:
    layout = on_disk(tmp_path / "base")
    source = LocalSource(tmp_path / "base")
    source.read_header("a")
    (tmp_path / "base" / "a").write_bytes(bytes(500))
    with pytest.raises(ConflictError, match="base: 'a': changed while it was read"):
        fetch(source, layout, part, Watch())


def test_a_base_that_became_shorter_is_told(part: Path, tmp_path: Path) -> None:
    layout = on_disk(tmp_path / "base")
    (tmp_path / "base" / "a").write_bytes(bytes(20))
    with pytest.raises(TargetError, match="base: 'a': 20 bytes, and tensors up to byte"):
        fetch(LocalSource(tmp_path / "base"), layout, part, Watch())
