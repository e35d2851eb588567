"""Weight files with other names for their tensors: whole at any time, and not copied in vain."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from mtpfix.checkpoint.header import parse_header
from mtpfix.checkpoint.source import LocalSource
from mtpfix.errors import ConflictError, UsageError, WriteError
from mtpfix.repair import writing
from mtpfix.repair.renames import Renames
from mtpfix.repair.writing import disk, renamed_weights
from mtpfix.repair.writing.in_place import Written, write
from mtpfix.repair.writing.locking import LOCK, locked

FILE, CONFIG = "mtp.safetensors", "config.json"
NAMES = {"ä.weight_scale_inv": "ä.weight_scale"}
DATA = bytes(range(8))
NEW = b'{"new": 1}'


def file(names: tuple[str, ...] = ("ä.weight_scale_inv", "ä.weight")) -> bytes:
    table = {
        name: {"dtype": "U8", "shape": [4], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    head = json.dumps({"__metadata__": {"format": "pt"}, **table}).encode()
    return len(head).to_bytes(8, "little") + head + DATA


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / FILE).write_bytes(file())
    (made / FILE).chmod(0o640)
    (made / CONFIG).write_bytes(b"{}")
    return made


def changes(
    folder: Path, *, in_place: bool = False, output: Path | None = None
) -> tuple[renamed_weights.NewFile, ...]:
    source = LocalSource(folder)
    raw, size = source.read_header(FILE)
    header = parse_header(raw, data_size=size, file=FILE)
    return renamed_weights.changes(Renames(NAMES, {FILE: header}, (), in_place), source, output)


def put(folder: Path, *, in_place: bool = False, backup: bool = True) -> Written:
    made = changes(folder, in_place=in_place)
    return write(folder, {CONFIG: (b"{}", NEW)}, backup=backup, weights=made)


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, "np") as opened:
        return {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WANTED = {"ä.weight_scale": DATA[:4], "ä.weight": DATA[4:]}


def test_a_new_file_takes_the_place_and_the_old_one_is_the_backup(folder: Path) -> None:
    before = (folder / FILE).stat()
    made = put(folder)
    assert tensors(folder / FILE) == WANTED
    assert (folder / CONFIG).read_bytes() == NEW
    assert made.files == (FILE, CONFIG)
    backup = folder / made.backups[FILE]
    assert backup.stat().st_ino == before.st_ino  # not a byte of it was copied
    assert backup.read_bytes() == file()
    assert (folder / FILE).stat().st_mode == before.st_mode
    assert names(folder) == {FILE, CONFIG, FILE + disk.BACKUP, CONFIG + disk.BACKUP}


def test_without_a_backup_the_old_file_goes(folder: Path) -> None:
    put(folder, backup=False)
    assert names(folder) == {FILE, CONFIG}


def test_in_place_only_the_header_is_written(folder: Path) -> None:
    before = (folder / FILE).stat()
    made = put(folder, in_place=True)
    after = (folder / FILE).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert tensors(folder / FILE) == WANTED
    assert made.backups[FILE] == f"{FILE}.header{disk.BACKUP}"
    head = (folder / made.backups[FILE]).read_bytes()
    assert head == file()[: -len(DATA)]
    assert names(folder) == {FILE, CONFIG, made.backups[FILE], CONFIG + disk.BACKUP}
    with (folder / FILE).open("r+b") as opened:  # as `dd conv=notrunc` does
        opened.write(head)
    assert (folder / FILE).read_bytes() == file()


def test_a_backup_with_other_content_is_left_alone(folder: Path) -> None:
    for name in (FILE, f"{FILE}.header"):
        (folder / (name + disk.BACKUP)).write_bytes(b"mine")
    assert put(folder).backups[FILE] == f"{FILE}{disk.BACKUP}.1"
    (folder / FILE).write_bytes(file())
    (folder / CONFIG).write_bytes(b"{}")
    assert put(folder, in_place=True).backups[FILE] == f"{FILE}.header{disk.BACKUP}.1"
    assert (folder / (FILE + disk.BACKUP)).read_bytes() == b"mine"


def test_a_new_folder_has_the_new_file_and_links_to_the_rest(folder: Path, tmp_path: Path) -> None:
    (folder / "other.safetensors").write_bytes(b"weights")
    output = tmp_path / "new"
    writing.put(folder, {CONFIG: (b"{}", NEW)}, output, weights=changes(folder))
    assert tensors(output / FILE) == WANTED
    assert not (output / FILE).is_symlink()
    assert (output / "other.safetensors").is_symlink()
    assert (folder / FILE).read_bytes() == file()


def test_nothing_of_a_new_folder_is_edited_in_place(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="links to them"):
        changes(folder, in_place=True, output=tmp_path / "new")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_link_into_a_cache_is_refused(folder: Path, tmp_path: Path, in_place: bool) -> None:
    blob = tmp_path / "blob"
    (folder / FILE).rename(blob)
    (folder / FILE).symlink_to(blob)
    with pytest.raises(WriteError, match="is a link"):
        put(folder, in_place=in_place)
    assert blob.read_bytes() == file()
    assert names(folder) == {FILE, CONFIG}


def test_a_file_with_another_name_is_not_edited_but_replaced(folder: Path, tmp_path: Path) -> None:
    os.link(folder / FILE, tmp_path / "other")
    with pytest.raises(WriteError, match="hard links"):
        put(folder, in_place=True)
    put(folder)
    assert (tmp_path / "other").read_bytes() == file()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_moved_is_refused(folder: Path, in_place: bool) -> None:
    made = changes(folder, in_place=in_place)
    other = file(("ä.weight_scale_inv", "b.weight"))
    (folder / FILE).write_bytes(other)
    with pytest.raises(ConflictError, match="changed"):
        write(folder, {CONFIG: (b"{}", NEW)}, weights=made)
    assert (folder / FILE).read_bytes() == other
    assert names(folder) == {FILE, CONFIG}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("backup", [False, True])
def test_what_fails_later_takes_the_names_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool, backup: bool
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real = disk.refuse_moved
    seen: list[Path] = []

    def meddled(path: Path, old: bytes | None) -> None:
        seen.append(path)
        if len(seen) > 1:  # the weights have their names by now
            assert tensors(folder / FILE) == WANTED
            raise ConflictError("moved", "again")
        real(path, old)

    monkeypatch.setattr(disk, "refuse_moved", meddled)
    with pytest.raises(ConflictError, match="moved"):
        put(folder, in_place=in_place, backup=backup)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- what a killed run leaves ----------------------------------------------------------------


def left(folder: Path) -> Path:
    """Leave a journal, as a run does that is killed before it wrote the header."""
    changes(folder, in_place=True)[0].stage(folder)
    return folder / f".{FILE}{renamed_weights.JOURNAL}"


def test_a_torn_header_becomes_the_old_one(folder: Path) -> None:
    journal = left(folder)
    raw = bytearray(file())
    raw[8:40] = b'{"a.weight_scale":'.ljust(32)
    (folder / FILE).write_bytes(raw)
    renamed_weights.put_right(folder)
    assert (folder / FILE).read_bytes() == file()
    assert not journal.exists()


def test_a_whole_header_stays_old_or_new(folder: Path) -> None:
    left(folder)
    renamed_weights.put_right(folder)
    assert (folder / FILE).read_bytes() == file()
    left(folder)
    changes(folder, in_place=True)[0].apply(folder)
    renamed_weights.put_right(folder)
    assert tensors(folder / FILE) == WANTED
    assert names(folder) == {FILE, CONFIG}


def test_another_file_in_the_place_is_left_alone(folder: Path) -> None:
    journal = left(folder)
    other = file(("a",)) + b"more"
    (folder / FILE).write_bytes(other)
    renamed_weights.put_right(folder)
    assert (folder / FILE).read_bytes() == other
    assert not journal.exists()


@pytest.mark.parametrize("kind", ["link", "hard link", "another file", "fifo", "folder"])
def test_a_journal_that_a_stranger_sends_touches_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    victim = tmp_path_factory.mktemp("elsewhere") / "victim.safetensors"
    shutil.copy(folder / FILE, victim)
    journal = left(folder)
    raw = journal.read_bytes().replace(b"weight", b"WEIGHT")
    (folder / FILE).unlink()
    if kind == "link":
        (folder / FILE).symlink_to(victim)
    elif kind == "hard link":
        (folder / FILE).hardlink_to(victim)
    else:
        shutil.copy(victim, folder / FILE)
    # Even if they knew the inode that the link leads to.
    inode = 1 if kind == "another file" else victim.stat().st_ino
    journal.write_bytes(inode.to_bytes(8, "little") + raw[8:])
    if kind == "fifo":
        journal.unlink()
        os.mkfifo(journal)
    elif kind == "folder":
        journal.unlink()
        journal.mkdir()
    renamed_weights.put_right(folder)
    assert victim.read_bytes() == (folder / FILE).read_bytes() == file()
    assert os.path.lexists(journal)


def test_a_run_that_is_at_work_keeps_its_journal(folder: Path) -> None:
    journal = left(folder)
    with locked(folder, LOCK):
        renamed_weights.put_right(folder)
    assert journal.exists()


def test_a_folder_without_traces_is_not_touched(folder: Path) -> None:
    before = folder.stat().st_mtime_ns
    renamed_weights.put_right(folder)
    assert folder.stat().st_mtime_ns == before
