"""Nothing is written outside of the target, `--output` and the file that was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Folder

_TORCH = ("TORCHINDUCTOR_", "TRITON_")
ROOT = Path(__file__).parents[2]
WIRE = """
import os, sys
allowed = [os.path.realpath(p) for p in sys.argv[1].split(os.pathsep) if p]
MAKES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod",
         "os.chown", "os.truncate", "os.utime", "shutil.rmtree", "shutil.move"}
REACHES = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.fork"}
def wire(event, args):
    if event == "open":
        path, mode, flags = args
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        paths = [path]
    elif event in MAKES:
        paths = [p for p in args if isinstance(p, (str, bytes, os.PathLike))]
        paths = paths[-1:] if event in {"os.link", "os.symlink"} else paths[:2]
    elif event in REACHES:
        print("TRIPPED", event, args, file=sys.stderr)
        return
    else:
        return
    for path in paths:
        place = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
        if not any(place == a or place.startswith(a + os.sep) for a in allowed):
            if os.fsdecode(path) != os.devnull:
                print("TRIPPED", event, path, file=sys.stderr)
sys.addaudithook(wire)
from mtpfix.cli import main
sys.exit(main(sys.argv[2:]))
"""


def run(allowed: list[Path], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line behind a wire; every other write is told on stderr.

    torch, which a write imports, tries out the folder for temporary files.
    """
    temporary = Path(tempfile.mkdtemp())
    command = [sys.executable, "-B", "-c", WIRE, os.pathsep.join(map(str, [*allowed, temporary]))]
    # A torch that was imported here has told its children where its cache is.
    env = {key: value for key, value in os.environ.items() if not key.startswith(_TORCH)}
    env["TMPDIR"] = str(temporary)
    words = [*command, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["inspect", "check", "rewrite", "override", "names"])
def test_a_command_that_only_looks_writes_nothing(tmp_path: Path, command: str) -> None:
    folder = Folder(tmp_path / "model")
    before = folder.bytes()
    ran = run([], command, folder)
    assert ran.returncode in (0, 1)
    assert "TRIPPED" not in ran.stderr
    assert folder.bytes() == before


def test_a_rewrite_writes_into_its_target_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "model")
    ran = run([folder.path], "rewrite", folder, "--write", "--vllm", "0.32.0")
    assert ran.returncode == 0
    assert "TRIPPED" not in ran.stderr


def test_a_new_folder_and_a_report_are_written_where_they_were_asked_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "model")
    (tmp_path / "out").mkdir()
    out = tmp_path / "out"
    ran = run([out], "rewrite", folder, "--output", out / "new", "--vllm", "0.32.0")
    assert ran.returncode == 0
    assert "TRIPPED" not in ran.stderr
    ran = run([out], "check", folder, "--output-file", out / "a", "--also", f"json={out / 'b'}")
    assert ran.returncode == 1
    assert "TRIPPED" not in ran.stderr


def test_the_wire_notices(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "model")
    ran = run([], "rewrite", folder, "--write", "--vllm", "0.32.0")
    assert "TRIPPED open" in ran.stderr
    assert "TRIPPED os.rename" in ran.stderr
