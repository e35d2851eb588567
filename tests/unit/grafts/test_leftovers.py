"""mtpfix.grafts.leftovers: what a killed graft has left is put right, and nothing else is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mtpfix.grafts.leftovers import LOCK, clear, put_right
from mtpfix.repair.writing.locking import locked
from tests.unit.grafts.pairs import INDEX, content

PART = ".model-mtp.safetensors-0123456789abcdef.mtpfix-part"
SHARD, MANIFEST = "model-mtp.safetensors", "model-mtp.manifest.json"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A kill between two renames: the weight file is there, and the index does not name it."""
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    (tmp_path / "model.safetensors").write_bytes(b"old")
    (tmp_path / SHARD).write_bytes(b"new")
    (tmp_path / MANIFEST).write_bytes(b"{}")
    (tmp_path / f"{PART}.json").write_bytes(b"journal")
    (tmp_path / LOCK).touch()
    return tmp_path


def test_a_weight_file_that_nothing_names_is_a_part_again(folder: Path) -> None:
    old = content(folder)
    put_right(folder)
    kept = {name: old[name] for name in (INDEX, "model.safetensors", f"{PART}.json")}
    assert content(folder) == {**kept, PART: b"new"}


def test_one_that_is_named_stays(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": SHARD}}))
    old = content(folder)
    put_right(folder)
    assert old.items() - content(folder).items() == {(LOCK, b"")}
    clear(folder)
    assert set(content(folder)) == {INDEX, "model.safetensors", SHARD, MANIFEST}


@pytest.mark.parametrize("text", [None, b"[]", b"{", b'{"weight_map": 5}', b"\xff"])
def test_one_stays_where_the_index_does_not_say(folder: Path, text: bytes | None) -> None:
    (folder / INDEX).unlink()
    if text is not None:
        (folder / INDEX).write_bytes(text)
    put_right(folder)
    assert (folder / SHARD).read_bytes() == b"new"


def test_one_stays_where_its_part_is_there_too(folder: Path) -> None:
    (folder / PART).write_bytes(b"begun")
    put_right(folder)
    assert (folder / SHARD).read_bytes() == b"new"
    assert (folder / PART).read_bytes() == b"begun"


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_nothing_is_touched_while_another_graft_is_at_work(folder: Path) -> None:
    with locked(folder, LOCK):
        old = content(folder)
        put_right(folder)
        clear(folder)
        assert content(folder) == old


@pytest.mark.parametrize(
    "name",
    [
        ".model.safetensors-0123456789abcdef.mtpfix-part.json",
        ".model-mtp.safetensors.mtpfix-part.json",
        ".model-mtp-x.safetensors-0123456789abcdef.mtpfix-part.json",
    ],
)
def test_no_journal_names_another_file_of_weights(folder: Path, name: str) -> None:
    (folder / f"{PART}.json").rename(folder / name)
    (folder / INDEX).write_text(json.dumps({"weight_map": {}}))
    put_right(folder)
    assert (folder / SHARD).read_bytes() == b"new"
    assert (folder / "model.safetensors").read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_a_link_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to(folder / "model.safetensors")
    put_right(folder)
    assert (folder / SHARD).is_symlink()
    assert not (folder / PART).exists()


def test_a_folder_without_traces_is_not_touched(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    put_right(tmp_path)
    clear(tmp_path)
    assert tmp_path.stat().st_mtime_ns == before
    put_right(tmp_path / "nowhere")
    clear(tmp_path / "nowhere")


def test_a_journal_of_bytes_that_are_nowhere_is_removed(folder: Path) -> None:
    (folder / SHARD).unlink()
    put_right(folder)
    assert f"{PART}.json" not in content(folder)
