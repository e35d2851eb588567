"""Writing to a local folder: all or nothing, and never over what somebody else wrote."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mtpfix.errors import ConflictError, UsageError, WriteError
from mtpfix.repair.writing import disk, locking, new_folder
from mtpfix.repair.writing.disk import TEMPORARY, tidy
from mtpfix.repair.writing.in_place import write
from mtpfix.repair.writing.locking import LOCK
from mtpfix.repair.writing.new_folder import overlay

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = b'{"a": 1}\n', b'{"a": 2}\n'
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file system")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with two metadata files."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(OLD)
    (model / "hf_quant_config.json").write_bytes(OLD)
    return model


def content(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of everything below a folder, traces of ours included."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def both() -> dict[str, tuple[bytes, bytes]]:
    return {"config.json": (OLD, NEW), "hf_quant_config.json": (OLD, NEW)}


# --- what is written ---------------------------------------------------------


def test_new_bytes_replace_the_old_and_the_old_are_kept_beside(folder: Path):
    done = write(folder, {"config.json": (OLD, NEW)})
    assert done.files == ("config.json",)
    assert done.backups == {"config.json": "config.json.bak-mtpfix"}
    assert content(folder) == {
        "config.json": NEW,
        "config.json.bak-mtpfix": OLD,
        "hf_quant_config.json": OLD,
    }


def test_several_files_are_written_together(folder: Path):
    assert write(folder, both(), backup=False).backups == {}
    assert content(folder) == {"config.json": NEW, "hf_quant_config.json": NEW}


def test_equal_bytes_touch_nothing(folder: Path):
    before = (folder / "config.json").stat(), folder.stat().st_mtime_ns
    assert write(folder, {"config.json": (OLD, OLD)}).files == ()
    assert ((folder / "config.json").stat(), folder.stat().st_mtime_ns) == before


@posix
def test_the_mode_is_kept(folder: Path):
    (folder / "config.json").chmod(0o640)
    write(folder, {"config.json": (OLD, NEW)})
    for name in ("config.json", "config.json.bak-mtpfix"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o640


@posix
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root")
def test_the_owner_is_kept_where_permitted(folder: Path):
    os.chown(folder / "config.json", 12345, 23456)
    write(folder, {"config.json": (OLD, NEW)})
    state = (folder / "config.json").stat()
    assert (state.st_uid, state.st_gid) == (12345, 23456)


@posix
def test_an_owner_that_cannot_be_kept_does_no_harm(folder: Path, monkeypatch: Any):
    monkeypatch.setattr(os, "chown", failing(errno.EPERM))
    write(folder, {"config.json": (OLD, NEW)}, backup=False)
    assert (folder / "config.json").read_bytes() == NEW


@posix
def test_the_backup_is_as_old_as_the_old_file_and_the_new_file_is_new(folder: Path):
    os.utime(folder / "config.json", ns=(10**18, 10**18))
    write(folder, {"config.json": (OLD, NEW)})
    assert (folder / "config.json.bak-mtpfix").stat().st_mtime_ns == 10**18
    assert (folder / "config.json").stat().st_mtime_ns > 10**18


@posix
def test_a_hard_link_keeps_the_old_bytes(folder: Path, tmp_path: Path):
    os.link(folder / "config.json", tmp_path / "other")
    write(folder, {"config.json": (OLD, NEW)})
    assert (tmp_path / "other").read_bytes() == OLD


@posix
def test_a_folder_may_be_reached_through_a_link(folder: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(folder)
    write(tmp_path / "link", {"config.json": (OLD, NEW)})
    assert (folder / "config.json").read_bytes() == NEW


# --- backups -----------------------------------------------------------------


def test_a_different_backup_is_never_overwritten(folder: Path):
    (folder / "config.json.bak-mtpfix").write_bytes(b"older")
    (folder / "config.json.bak-mtpfix.1").write_bytes(b"old")
    done = write(folder, {"config.json": (OLD, NEW)})
    assert done.backups["config.json"] == "config.json.bak-mtpfix.2"
    assert (folder / "config.json.bak-mtpfix").read_bytes() == b"older"
    assert (folder / "config.json.bak-mtpfix.2").read_bytes() == OLD


def test_an_identical_backup_is_not_made_again(folder: Path):
    (folder / "config.json.bak-mtpfix").write_bytes(b"older")
    (folder / "config.json.bak-mtpfix.1").write_bytes(OLD)
    done = write(folder, {"config.json": (OLD, NEW)})
    assert done.backups["config.json"] == "config.json.bak-mtpfix.1"
    assert "config.json.bak-mtpfix.2" not in content(folder)


@posix
def test_a_link_in_the_place_of_a_backup_is_left_alone(folder: Path):
    (folder / "config.json.bak-mtpfix").symlink_to("nowhere")
    done = write(folder, {"config.json": (OLD, NEW)})
    assert done.backups["config.json"] == "config.json.bak-mtpfix.1"


# --- refusals ----------------------------------------------------------------


def test_a_file_that_moved_is_a_conflict(folder: Path):
    (folder / "config.json").write_bytes(b"edited meanwhile")
    before = content(folder)
    with pytest.raises(ConflictError, match="changed since it was read") as caught:
        write(folder, both())
    assert caught.value.exit_code == 4
    assert content(folder) == before


def test_a_file_that_vanished_is_a_conflict(folder: Path):
    (folder / "config.json").unlink()
    with pytest.raises(ConflictError):
        write(folder, both())
    assert content(folder) == {"hf_quant_config.json": OLD}


def test_a_file_that_stays_but_moved_is_a_conflict_too(folder: Path):
    (folder / "config.json").write_bytes(b"edited meanwhile")
    with pytest.raises(ConflictError):
        write(folder, {"config.json": (OLD, OLD), "hf_quant_config.json": (OLD, NEW)})


def test_an_edit_in_the_last_moment_is_a_conflict_and_stays(folder: Path, monkeypatch: Any):
    late, create = folder / "hf_quant_config.json", disk.create

    def create_and_meddle(*args: Any, **options: Any) -> None:
        create(*args, **options)
        late.write_bytes(b"late")

    monkeypatch.setattr(disk, "create", create_and_meddle)
    with pytest.raises(ConflictError):
        write(folder, both())
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": b"late"}


@posix
def test_a_link_is_not_written_through(folder: Path, tmp_path: Path):
    blob = tmp_path / "blob"
    (folder / "config.json").rename(blob)
    (folder / "config.json").symlink_to(blob)
    with pytest.raises(WriteError, match="corrupt the cache") as caught:
        write(folder, both())
    assert "--output" in caught.value.remedy
    assert blob.read_bytes() == OLD
    assert set(content(folder)) == {"config.json", "hf_quant_config.json"}


@pytest.mark.parametrize("name", ["../model/config.json", "sub/config.json", "..", "", "/config"])
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, name: str):
    with pytest.raises(UsageError, match="not the name of a file"):
        write(folder, {name: (OLD, NEW)})


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(WriteError, match="not a regular file"):
        write(folder, {"config.json": (OLD, NEW)})


# --- faults of the system ----------------------------------------------------


def failing(
    code: int, real: Callable[..., Any] | None = None, at: int = 1, only: str = ""
) -> Callable[..., Any]:
    """A system call that fails at its `at`-th use (on paths with `only` in them)."""
    uses = iter(range(1, 1000))

    def call(*args: Any, **options: Any) -> Any:
        if only in " ".join(map(str, args)) and (real is None or next(uses) == at):
            raise OSError(code, os.strerror(code))
        assert real is not None
        return real(*args, **options)

    return call


def outcome(call: Callable[[], object]) -> WriteError | None:
    """What went wrong, which must be said in one line; None if nothing did."""
    try:
        call()
    except WriteError as error:
        return error
    return None


@pytest.mark.parametrize("backup", [True, False])
@pytest.mark.parametrize("name", ["replace", "fsync", "chmod", "stat"])
@pytest.mark.parametrize("at", range(1, 16))
def test_a_fault_at_any_point_leaves_everything_as_it_was(
    folder: Path, monkeypatch: Any, name: str, at: int, *, backup: bool
):
    owner: Any = os if name in {"replace", "fsync"} else Path
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing(errno.ENOSPC, getattr(owner, name), at))
        error = outcome(lambda: write(folder, both(), backup=backup))
    if error is None:  # fewer calls than that
        assert content(folder).items() >= {"config.json": NEW, "hf_quant_config.json": NEW}.items()
        assert len(content(folder)) == (4 if backup else 2)
    else:
        assert "\n" not in error.message
        assert "free some space" in error.remedy
        assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


@pytest.mark.parametrize("at", range(1, 7))
def test_a_full_disk_leaves_everything_as_it_was(folder: Path, monkeypatch: Any, at: int):
    opened = Path.open
    fault = failing(errno.ENOSPC, opened, at, only=TEMPORARY)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fault)
        with pytest.raises(WriteError, match="No space left"):
            write(folder, both())
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOLCK])
def test_a_folder_that_cannot_be_locked_is_refused_with_a_remedy(
    folder: Path, monkeypatch: Any, code: int
):
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing(code))
        with pytest.raises(WriteError, match=os.strerror(code)) as caught:
            write(folder, both())
    assert "--output DIR" in caught.value.remedy
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


@posix
def test_a_disk_without_locks_is_left_without_a_lock_file(folder: Path, monkeypatch: Any):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(WriteError):
        write(folder, both())
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


def test_an_interrupt_is_rolled_back_and_passed_on(folder: Path, monkeypatch: Any):
    replace, uses = os.replace, iter(range(9))

    def interrupted(*args: Any) -> None:
        replace(*args)
        if next(uses) == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder, both(), backup=False)
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


def test_a_failed_roll_back_keeps_the_old_bytes_and_says_where(folder: Path, monkeypatch: Any):
    replace, uses = os.replace, iter(range(9))

    def broken(*args: Any) -> None:
        if next(uses) > 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(*args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", broken)
        with pytest.raises(WriteError, match="so did taking it back") as caught:
            write(folder, both(), backup=False)
    assert ".NAME.old" in caught.value.remedy
    assert content(folder)[f".config.json.old{TEMPORARY}"] == OLD


# --- other runs --------------------------------------------------------------


def test_traces_of_a_killed_run_are_cleared_away(folder: Path):
    (folder / LOCK).touch()
    (folder / f".config.json.new{TEMPORARY}").write_bytes(b"half")
    (folder / f".config.json.old{TEMPORARY}").write_bytes(b"half")
    write(folder, {"config.json": (OLD, NEW)}, backup=False)
    assert content(folder) == {"config.json": NEW, "hf_quant_config.json": OLD}


@pytest.mark.parametrize("trace", [LOCK, f".config.json.old{TEMPORARY}"])
def test_traces_are_cleared_away_where_nothing_is_to_be_written(folder: Path, trace: str):
    (folder / trace).touch()
    tidy(folder)
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


def test_traces_of_a_living_run_are_left_alone(folder: Path):
    with locking.locked(folder):
        (folder / f".config.json.new{TEMPORARY}").touch()
        tidy(folder)
        assert f".config.json.new{TEMPORARY}" in content(folder)
    tidy(folder)
    assert content(folder) == {"config.json": OLD, "hf_quant_config.json": OLD}


def test_a_folder_without_traces_is_not_touched(folder: Path, tmp_path: Path):
    before = folder.stat().st_mtime_ns
    tidy(folder)
    assert folder.stat().st_mtime_ns == before
    tidy(tmp_path / "no such folder")


@posix
def test_a_lock_dies_with_its_process(folder: Path):
    code = "import sys; from mtpfix.repair.writing.locking import take; import os, pathlib; "
    code += "take(pathlib.Path(sys.argv[1])); os._exit(9)"
    root = str(Path(disk.__file__).parents[3])
    command = [sys.executable, "-c", code, str(folder / LOCK)]
    subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": root})
    assert (folder / LOCK).exists()
    write(folder, {"config.json": (OLD, NEW)}, backup=False)
    assert LOCK not in content(folder)


def test_a_run_that_finds_the_folder_locked_gives_up_in_the_end(folder: Path, monkeypatch: Any):
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    with locking.locked(folder), pytest.raises(ConflictError, match="another mtpfix"):
        write(folder, both())
    write(folder, both())


def test_of_many_writers_at_once_one_wins(folder: Path):
    count = 12
    start, results = threading.Barrier(count), dict[int, str]()

    def run(number: int) -> None:
        start.wait()
        try:
            write(folder, {"config.json": (OLD, b"%d" % number)})
            results[number] = "won"
        except ConflictError:
            results[number] = "lost"

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number in results if results[number] == "won"]
    assert len(results) == count
    assert len(winners) == 1
    assert content(folder) == {
        "config.json": b"%d" % winners[0],
        "config.json.bak-mtpfix": OLD,
        "hf_quant_config.json": OLD,
    }


# --- a new folder ------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A snapshot as the Hub cache keeps it: links into blobs."""
    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    (snapshot / "sub").mkdir(parents=True)
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir()
    for number, name in enumerate(["config.json", "model.safetensors", "sub/tokenizer.json"]):
        (blobs / str(number)).write_bytes(OLD)
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{number}")
    return snapshot


@posix
def test_an_overlay_links_to_blobs_and_writes_the_repaired_file(cache: Path, tmp_path: Path):
    output = tmp_path / "out"
    done = overlay(cache, output, {"config.json": NEW})
    assert (done.folder, done.written) == (output, ("config.json",))
    assert done.links == {"model.safetensors": "symlink", "sub/tokenizer.json": "symlink"}
    assert content(output) == {
        "config.json": NEW,
        "model.safetensors": OLD,
        "sub/tokenizer.json": OLD,
    }
    assert not (output / "config.json").is_symlink()
    assert (output / "model.safetensors").readlink() == Path("../hub/blobs/1")
    assert (output / "sub/tokenizer.json").readlink() == Path("../../hub/blobs/2")
    assert (cache / "config.json").read_bytes() == OLD


@posix
def test_the_common_parent_of_an_overlay_may_be_moved(cache: Path, tmp_path: Path):
    parent = tmp_path / "parent"
    parent.mkdir()
    shutil.move(tmp_path / "hub", parent / "hub")
    overlay(parent / "hub/snapshots/abc", parent / "out", {})
    parent.rename(tmp_path / "moved")
    assert (tmp_path / "moved/out/sub/tokenizer.json").read_bytes() == OLD


def test_an_overlay_may_fill_an_empty_folder(folder: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    overlay(folder, tmp_path / "out", {"config.json": NEW})
    assert content(tmp_path / "out") == {"config.json": NEW, "hf_quant_config.json": OLD}


def test_hidden_folders_and_our_own_traces_stay_out(folder: Path, tmp_path: Path):
    for name in (".git/HEAD", ".gitattributes", LOCK, f".x{TEMPORARY}"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    done = overlay(folder, tmp_path / "out", {})
    assert set(done.links) == {".gitattributes", "config.json", "hf_quant_config.json"}


@posix
def test_special_files_stay_out(folder: Path, tmp_path: Path):
    os.mkfifo(folder / "pipe")
    assert "pipe" not in overlay(folder, tmp_path / "out", {}).links


@posix
def test_a_link_to_a_large_folder_ends_in_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number in range(5):
        (elsewhere / str(number)).touch()
    (folder / "extra").symlink_to(elsewhere)
    monkeypatch.setattr(new_folder, "MAX_FILES", 5)
    with pytest.raises(WriteError, match="more than 5 files"):
        overlay(folder, tmp_path / "out", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "model"]


@posix
def test_linked_folders_are_walked_once(folder: Path, tmp_path: Path):
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "vocab.txt").write_bytes(OLD)
    (folder / "extra").symlink_to(tmp_path / "extra")
    (tmp_path / "extra" / "loop").symlink_to(tmp_path / "extra")
    (folder / "self").symlink_to(folder)
    links = overlay(folder, tmp_path / "out", {}).links
    assert set(links) == {"config.json", "extra/vocab.txt", "hf_quant_config.json"}


@posix
def test_a_link_to_nothing_is_refused(folder: Path, tmp_path: Path):
    (folder / "model.safetensors").symlink_to("gone")
    with pytest.raises(WriteError, match="link to nothing"):
        overlay(folder, tmp_path / "out", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("fails", "how"), [(["symlink"], "hardlink"), (["symlink", "link"], "copy")]
)
def test_where_links_are_impossible_the_next_best_is_taken(
    folder: Path, tmp_path: Path, monkeypatch: Any, fails: list[str], how: str
):
    for name in fails:
        monkeypatch.setattr(os, name, failing(errno.EPERM))
    done = overlay(folder, tmp_path / "out", {"config.json": NEW})
    assert done.links == {"hf_quant_config.json": how}
    assert content(tmp_path / "out") == {"config.json": NEW, "hf_quant_config.json": OLD}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("model", "one is inside the other"),
        ("model/out", "one is inside the other"),
        ("model/../model/out", "one is inside the other"),
        (".", "one is inside the other"),
        ("full", "not empty"),
        ("full/file", "not a folder"),
        ("link", "not a folder"),
        ("absent/out", "does not exist"),
    ],
)
def test_an_impossible_output_is_refused(folder: Path, tmp_path: Path, output: str, message: str):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to("model")
    before = content(tmp_path)
    with pytest.raises(UsageError, match=message):
        overlay(folder, tmp_path / output, {})
    assert content(tmp_path) == before


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", ""])
def test_a_path_out_of_the_new_folder_is_refused(folder: Path, tmp_path: Path, path: str):
    with pytest.raises(UsageError, match="not a path inside"):
        overlay(folder, tmp_path / "out", {path: NEW})


@pytest.mark.parametrize("name", ["replace", "fsync", "mkdir"])
@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_overlay_leaves_nothing_behind(
    folder: Path, monkeypatch: Any, name: str, at: int, *, exists: bool
):
    output = folder.parent / "out"
    if exists:
        output.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, name, failing(errno.EIO, getattr(os, name), at))
        error = outcome(lambda: overlay(folder, output, {"config.json": NEW}))
    done = {"config.json": NEW, "hf_quant_config.json": OLD} if error is None else {}
    assert content(output) == done
    assert {path.name for path in folder.parent.iterdir()} <= {"model", "out"}


def test_traces_of_a_killed_overlay_are_cleared_away(folder: Path, tmp_path: Path):
    stale = tmp_path / f".out{TEMPORARY}"
    stale.mkdir()
    (stale / "half").touch()
    overlay(folder, tmp_path / "out", {})
    assert content(tmp_path / "out") == {"config.json": OLD, "hf_quant_config.json": OLD}
    assert not stale.exists()


def test_traces_are_cleared_away_where_the_new_folder_was_done(folder: Path, tmp_path: Path):
    overlay(folder, tmp_path / "out", {})
    (tmp_path / LOCK).touch()
    with pytest.raises(UsageError, match="is not empty"):
        overlay(folder, tmp_path / "out", {})
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("at", [1, 2])
def test_a_folder_that_cannot_be_listed_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: Any, at: int
):
    """What is not seen would be missing in the new folder."""
    (folder / "below").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", failing(errno.EIO, os.scandir, at, "model"))
        error = outcome(lambda: overlay(folder, tmp_path / "out", {}))
    assert isinstance(error, WriteError)
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_looked_at_is_refused(folder: Path, tmp_path: Path, monkeypatch: Any):
    real = Path.stat

    def looked(path: Path, **options: Any) -> os.stat_result:
        if path.name == "hf_quant_config.json":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", looked)
        error = outcome(lambda: overlay(folder, tmp_path / "out", {}))
    assert isinstance(error, WriteError)
    assert "hf_quant_config.json cannot be read" in str(error)
    assert not (tmp_path / "out").exists()


def test_the_source_of_an_overlay_must_be_a_folder(tmp_path: Path):
    with pytest.raises(UsageError, match="is not a folder"):
        overlay(tmp_path / "none", tmp_path / "out", {})
