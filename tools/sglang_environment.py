"""The environment that SGLang releases run in: where it is, and how to make it.

    python -m tools.sglang_environment 0.5.23 0.5.19 [--home DIR] [--beside VENV]

One virtual environment serves all releases, because the unpacked wheel of a release stands in front
of what it has installed. A home holds `venv`, `wheels`, `src/RELEASE` and `ov/OVERLAY`;
`sglang_environments.json` says which release needs which overlay. What another environment has
already, such as torch, is not installed again: its packages stand behind the others (`--beside`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import venv
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from mtpfix.engines.sglang.live import CAPABILITY, Server
from tools.environments import insert, pip

HOME = Path.home() / ".cache" / "mtpfix" / "sglang"
"""Where it is kept unless told otherwise."""
_PACKAGES = "lib/python*/site-packages"


RELEASES = Path(__file__).with_name("sglang_environments.json")


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(RELEASES.read_text(encoding="utf-8"))
    return data


def releases() -> list[str]:
    """Return every release that can be run, the newest first."""
    return list(_data()["releases"])


def add(release: str) -> bool:
    """Add the row of a release that has none, as the newest has it; return whether it was added."""
    if release in _data()["releases"]:
        return False
    insert(RELEASES, release, _data()["releases"][releases()[0]])
    _data.cache_clear()
    return True


class Home:
    """A folder with the environment.

    Args:
        folder: the folder; it need not exist yet.
    """

    def __init__(self, folder: Path = HOME) -> None:
        self.folder = folder.expanduser().absolute()
        self.python = self.folder / "venv" / "bin" / "python"

    def path(self, release: str) -> list[Path]:
        """Return what stands in front of the packages of the environment for a release."""
        overlay = _data()["releases"][release]
        front = [] if overlay is None else [self._overlay(overlay)]
        return [*front, self.sources(release)]

    def sources(self, release: str) -> Path:
        """Return the folder of an unpacked wheel, whether or not it was made yet."""
        return self.folder / "src" / release

    def server(self, release: str, *, capability: str = CAPABILITY, timeout: float = 600) -> Server:
        """Return a SGLang of a release, to be asked inside a `with`.

        Args:
            release: the release; its environment must have been made.
            capability: of the device that it is shown.
            timeout: seconds, as for `Server`.
        """
        python, path = str(self.python), self.path(release)
        return Server(python=python, path=path, capability=capability, timeout=timeout)

    def make(self, release: str, beside: Path | None = None) -> list[Path]:
        """Make what a release needs and is not there yet, from PyPI; return its path.

        Args:
            release: the release.
            beside: a virtual environment whose packages are used, where they fit.
        """
        if not self.python.exists():
            self._make_environment(beside)
        overlay = _data()["releases"][release]
        if overlay is not None and not self._overlay(overlay).exists():
            wanted = _data()["overlays"][overlay]
            target = str(self._overlay(overlay))
            pip(str(self.python), "install", "--no-deps", "--target", target, *wanted)
        if not self.sources(release).exists():
            self._unpack(release)
        return self.path(release)

    def _make_environment(self, beside: Path | None) -> None:
        """Make the virtual environment; whole, or not at all."""
        folder = self.folder / "venv"
        venv.create(folder, with_pip=True)
        try:
            if beside is not None:
                theirs, ours = (next(at.glob(_PACKAGES)) for at in (beside.absolute(), folder))
                (ours / "beside.pth").write_text(f"{theirs}\n", encoding="utf-8")
            # Most modules are never imported: compiling them all takes as long as the rest.
            pip(str(self.python), "install", "--no-compile", *_data()["requirements"])
        except BaseException:
            shutil.rmtree(folder)
            raise

    def _overlay(self, name: str) -> Path:
        return self.folder / "ov" / name

    def _unpack(self, release: str) -> None:
        """Download the wheel of a release, and unpack it; whole, or not at all."""
        wheels = self.folder / "wheels"
        wanted = ["--no-deps", "--dest", str(wheels), f"sglang=={release}"]
        pip(str(self.python), "download", *wanted)
        part = self.folder / "src" / f"{release}.part"
        with zipfile.ZipFile(next(wheels.glob(f"sglang-{release}-*.whl"))) as wheel:
            wheel.extractall(part)
        part.rename(self.sources(release))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="+", choices=releases())
    parser.add_argument("--home", type=Path, default=HOME)
    parser.add_argument("--beside", type=Path, metavar="VENV", help="use its packages too")
    options = parser.parse_args()
    home = Home(options.home)
    for release in options.release:
        path = ":".join(map(str, home.make(release, options.beside)))
        print(f"{release}: {home.python}, PYTHONPATH={path}")


if __name__ == "__main__":
    main()
