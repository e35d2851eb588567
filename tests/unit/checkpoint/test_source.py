import errno
import os
import socket
import struct

import pytest

from mtpfix.checkpoint import source as room
from mtpfix.checkpoint.source import LocalSource, climbs_out
from mtpfix.errors import BrokenFileError, ConflictError, TargetError

HEADER = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
SHARD = struct.pack("<Q", len(HEADER)) + HEADER + b"xx"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    return tmp_path


def refused(call, *args):
    with pytest.raises(TargetError) as caught:
        call(*args)
    assert caught.value.message.isprintable()
    assert caught.value.remedy
    return caught.value.message


# --- the folder --------------------------------------------------------------


def test_target_is_the_folder_as_it_was_written(folder, monkeypatch):
    monkeypatch.chdir(folder)
    target = LocalSource(".").target()
    assert (target.kind, target.name, target.revision) == ("local", ".", None)


def test_missing_folder_is_refused(tmp_path):
    assert "no such folder" in refused(LocalSource, tmp_path / "none\n")


def test_file_instead_of_a_folder_is_refused(folder):
    assert "not a folder" in refused(LocalSource, folder / "config.json")


def test_nul_in_the_folder_is_refused():
    assert "no such folder" in refused(LocalSource, "a\0b")


def test_list_is_sorted_and_leaves_hidden_folders_out(folder):
    for name in ("b.txt", "sub/a.txt", ".git/x", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert LocalSource(folder).list() == (".hidden", "b.txt", "config.json", "sub/a.txt")


def test_list_does_not_follow_links_to_folders(folder):
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert LocalSource(folder).list() == ("config.json",)


def test_folder_with_too_many_files_is_refused(folder, monkeypatch):
    monkeypatch.setattr(room, "MAX_FILES", 0)
    assert "more than 0 files" in refused(LocalSource(folder).list)


# --- read --------------------------------------------------------------------


def test_read_gives_the_bytes(folder):
    assert LocalSource(folder).read("config.json") == b"{}"


def test_read_follows_a_link_to_a_file_elsewhere(folder, tmp_path_factory):
    blob = tmp_path_factory.mktemp("blobs") / "blob"
    blob.write_bytes(b"blob")
    (folder / "link.json").symlink_to(blob)
    assert LocalSource(folder).read("link.json") == b"blob"


def test_read_refuses_more_bytes_than_the_limit(folder):
    with pytest.raises(BrokenFileError, match="2 bytes, more than the 1"):
        LocalSource(folder).read("config.json", limit=1)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0", "C:\\x", ".."]
)
def test_path_that_leads_out_is_refused(folder, path):
    assert "out of the folder" in refused(LocalSource(folder).read, path)


@pytest.mark.parametrize("path", ["a", "a/b", "a..b", "...", "ab:c", ".a"])
def test_path_that_stays_inside_is_not_refused(path):
    assert not climbs_out(path)


def test_missing_file_is_refused(folder):
    assert "no such file" in refused(LocalSource(folder).read, "none.json")


def test_link_to_nothing_is_refused(folder):
    (folder / "x").symlink_to("gone")
    assert "no such file" in refused(LocalSource(folder).read, "x")


def test_link_to_itself_is_refused(folder):
    (folder / "x").symlink_to("x")
    assert "back to itself" in refused(LocalSource(folder).read, "x")


def test_folder_instead_of_a_file_is_refused(folder):
    (folder / "x").mkdir()
    assert "not a regular file" in refused(LocalSource(folder).read, "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_fifo_is_refused_without_waiting_for_a_writer(folder):
    os.mkfifo(folder / "x")
    assert "not a regular file" in refused(LocalSource(folder).read, "x")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_socket_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x")
        assert "not a regular file" in refused(LocalSource(folder).read, "x")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs devices")  # noqa: PTH110
def test_link_to_a_device_is_refused(folder):
    (folder / "x").symlink_to("/dev/zero")
    assert "not a regular file" in refused(LocalSource(folder).read, "x")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_file_without_permission_is_refused(folder, monkeypatch, code):
    def forbid(*args):
        raise OSError(code, "no")

    monkeypatch.setattr(room.os, "open", forbid)
    assert "no permission" in refused(LocalSource(folder).read, "config.json")


def test_error_of_the_system_is_passed_on_in_one_line(folder):
    assert "cannot be read" in refused(LocalSource(folder).read, "x" * 5000)


# --- read_header -------------------------------------------------------------


def test_read_header_gives_header_and_data_size(folder):
    (folder / "m.safetensors").write_bytes(SHARD)
    assert LocalSource(folder).read_header("m.safetensors") == (HEADER, 2)


def test_read_header_refuses_a_file_that_is_too_short(folder):
    (folder / "m.safetensors").write_bytes(SHARD[:20])
    assert "claims a header" in refused(LocalSource(folder).read_header, "m.safetensors")


def test_read_header_does_not_read_the_data(folder):
    path = folder / "m.safetensors"
    path.write_bytes(SHARD)
    os.truncate(path, 10**12)  # sparse
    assert LocalSource(folder).read_header("m.safetensors")[1] > 10**11


def test_change_while_reading_is_a_conflict(folder, monkeypatch):
    path = folder / "m.safetensors"
    path.write_bytes(SHARD)

    def meddle(*args, **kwargs):
        path.write_bytes(SHARD + b"more")
        return len(HEADER)

    monkeypatch.setattr(room, "header_length", meddle)
    with pytest.raises(ConflictError, match="changed while it was read"):
        LocalSource(folder).read_header("m.safetensors")


def test_stream_gives_the_bytes_of_a_range(folder):
    (folder / "m.safetensors").write_bytes(SHARD)
    source = LocalSource(folder)
    assert b"".join(source.stream("m.safetensors", 3, len(SHARD))) == SHARD[3:]
    assert b"".join(source.stream("m.safetensors", 5, 5)) == b""


def test_stream_refuses_a_range_that_ends_beyond_the_file(folder):
    (folder / "m.safetensors").write_bytes(SHARD)
    with pytest.raises(TargetError, match=f"m.safetensors.*{len(SHARD)} bytes"):
        list(LocalSource(folder).stream("m.safetensors", 0, len(SHARD) + 1))
