"""The environments that vLLM releases run in: where they are, and how to make them.

    python -m tools.environments 0.32.0 0.24.0 [--home DIR]

A home holds `environments/NAME` (virtual environments), `wheels/RELEASE` (unpacked wheels)
and `extra/NAME`. Two environments serve all releases: the unpacked wheel of a release
stands first on the module path. See `environments.json` for which release needs what.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HOME = Path.home() / ".cache" / "mtpfix" / "vllm"
"""Where environments are kept unless told otherwise."""


class Place(NamedTuple):
    """Where one release runs."""

    python: str
    pythonpath: str | None


@cache
def _data() -> dict[str, Any]:
    path = Path(__file__).with_name("environments.json")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def releases() -> list[str]:
    """Every release that can be run, the newest first."""
    return list(_data()["releases"])


class Home:
    """A folder with environments.

    Args:
        folder: the folder; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()

    def place(self, release: str) -> Place:
        """Where a release runs, whether or not it was made yet."""
        spec = _data()["releases"][release]
        front = []
        if "extra" in spec:
            front.append(self.extra(spec["extra"]))
        if "wheel" in spec:
            front.append(self.wheel(release))
        python = self.environment(spec["environment"]) / "bin" / "python"
        return Place(str(python), os.pathsep.join(map(str, front)) or None)

    def environment(self, name: str) -> Path:
        """Folder of a virtual environment."""
        return self.folder / "environments" / name

    def wheel(self, release: str) -> Path:
        """Folder of an unpacked wheel."""
        return self.folder / "wheels" / release

    def extra(self, requirements: list[str]) -> Path:
        """Folder of packages that replace those of an environment."""
        return self.folder / "extra" / "+".join(requirements)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="+", choices=releases())
    parser.add_argument("--home", type=Path, default=HOME)
    parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
