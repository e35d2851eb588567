"""A new folder, of new files and links: built beside its place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mtpfix.checkpoint.source import MAX_FILES
from mtpfix.errors import UsageError, WriteError
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.locking import LOCK, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mtpfix.repair.writing.weights import Addition, WeightFile


@dataclass(frozen=True, slots=True)
class Overlay:
    """What `overlay` made; paths are relative to the folder, with `/`."""

    folder: Path
    written: tuple[str, ...]
    """New files of their own."""
    links: Mapping[str, str]
    """How each other file came in: `symlink`, `hardlink` or `copy`."""


def overlay(
    source: Path,
    output: Path,
    files: Mapping[str, bytes],
    *,
    read: Mapping[str, bytes | None] | None = None,
    addition: Addition | None = None,
    weights: Sequence[WeightFile] = (),
) -> Overlay:
    """Makes a folder like `source`, in which `files` are new and the rest are links.

    Links point to the file itself, not to a link to it, so those of a Hub
    snapshot lead to its blobs. They are relative, so that the common parent may
    be moved or mounted elsewhere. Where links are not possible a hard link is
    tried, then a copy. Hidden folders (`.git`, `.cache`) and special files are
    left out; folders that are links are walked into. Clearing the Hub cache
    breaks the links. The folder is built beside `output`, then renamed.

    Args:
        source: the folder that was read; it is not touched.
        output: must not exist yet, or be empty; its parent must exist.
        files: path in the folder -> bytes.
        read: path in the folder -> the bytes that `files` were made from; None: there were none.
        addition: a weight file that is moved into the new folder.
        weights: weight files that are changed in the new folder.

    Raises:
        UsageError: `output` is no possible place, or a path leads out of it.
        WriteError: `source` holds a link to nothing, or the system refused.
        ConflictError: a file is no longer what was read, or another mtpfix keeps
            writing beside `output`.
    """
    source, output = _places(source, output)

    def begin() -> Iterator[tuple[str, Path]]:
        for path, old in (read or {}).items():
            disk.refuse_moved(source / path, old)
        new = {*files, *(weight.name for weight in weights)}
        all_files = ((file.relative_to(source).as_posix(), file) for file in _regular(source))
        return ((name, file) for name, file in all_files if name not in new)

    made = Made(source, output, files, begin, addition, weights)
    links = made.put(lambda: _check_places(source, output))
    written = (*files, *(weight.name for weight in weights))
    return Overlay(output, tuple(sorted(written)), links)


def assemble(
    output: Path,
    files: Mapping[str, bytes],
    linked: Mapping[str, Path],
    *,
    apart: Path | None = None,
    addition: Addition | None = None,
    check: Callable[[], None] = lambda: None,
) -> Overlay:
    """Makes a folder of new files, and of links to chosen ones; as `overlay` does it.

    Args:
        output: must not exist yet, or be empty; its parent must exist.
        files: path in the folder -> bytes.
        linked: path in the folder -> the file that it leads to.
        apart: a folder that `output` must not be inside of, nor around; None: there is none.
        addition: a weight file that is moved into the new folder.
        check: is called when nobody else writes there, before anything is made.

    Raises:
        MtpfixError: as for `overlay`.
    """
    source, output = _places(apart or output, output)

    def begin() -> Iterator[tuple[str, Path]]:
        check()
        return iter(linked.items())

    made = Made(source, output, files, begin, addition)
    links = made.put(lambda: check_new(output, apart))
    return Overlay(output, tuple(sorted(files)), links)


def check_new(output: Path, apart: Path | None = None) -> None:
    """Refuse places where no new folder can be made; `apart` as for `assemble`."""
    source, output = _places(apart or output, output)
    _check_places(None if apart is None else source, output)


def _places(source: Path, output: Path) -> tuple[Path, Path]:
    """Return both without links on the way; a link at the place of `output` stays one."""
    output = Path(os.path.abspath(output))  # noqa: PTH100 - for `..`
    return source.resolve(), output.parent.resolve() / output.name


def _check_places(source: Path | None, output: Path) -> None:
    """Refuses outputs that exist already, have no parent, or overlap the source."""
    if source is not None and not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} does not exist", f"mkdir -p '{output.parent}'")
    if source is not None and (
        output == source or source in output.parents or output in source.parents
    ):
        raise UsageError(
            f"{output} and {source}: one is inside the other", "choose a folder beside it"
        )
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output} exists and is not a folder", "choose a new name")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty", "choose a new or an empty folder")


@dataclass(frozen=True)
class Made:
    """A new folder on its way: built beside its place, then renamed.

    Attributes:
        source: where the weight files that change come from.
        output: the place.
        files: path in the folder -> bytes.
        begin: is called when nobody else writes there; path in the folder -> the file to link.
        addition: a weight file that is moved into the new folder.
        weights: weight files that are changed in the new folder.
    """

    source: Path
    output: Path
    files: Mapping[str, bytes]
    begin: Callable[[], Iterable[tuple[str, Path]]]
    addition: Addition | None = None
    weights: Sequence[WeightFile] = ()

    def put(self, check: Callable[[], None]) -> dict[str, str]:
        """Make the folder; return how files came in.

        Args:
            check: refuses places that are none.
        """
        for path in self.files:
            _refuse_climbing(path)
        parent = self.output.parent
        disk.tidy(parent)  # also where nothing is made: a killed run may have got that far
        with disk.explained(f"cannot make {self.output}"):
            check()
            with locked(parent):
                disk.sweep(parent)
                return self._build(self.begin())

    def _build(self, brought: Iterable[tuple[str, Path]]) -> dict[str, str]:
        output, addition = self.output, self.addition
        made = output.parent / f".{output.name}{disk.TEMPORARY}"
        made.mkdir()
        links: dict[str, str] = {}
        try:
            for name in self.files:
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                disk.create(made / name, self.files[name])
            for weight in self.weights:
                weight.create(made / weight.name, self.source / weight.name)
            for name, file in brought:
                _refuse_climbing(name)
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                links[name] = _bring(file.resolve(), made / name)
            if addition is not None:
                os.replace(addition.part, made / addition.name)  # noqa: PTH105
            disk.sync(made)
            os.replace(made, output)  # noqa: PTH105
            disk.sync(output.parent)
        except BaseException:
            there = made if made.exists() else output
            if addition is not None:
                with contextlib.suppress(OSError):  # then it is fetched again
                    addition.take_back(there)
            shutil.rmtree(there, ignore_errors=True)
            raise
        return links


def _refuse_climbing(path: str) -> None:
    """Refuse a path that leads out of the folder."""
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise UsageError(f"{path!r} is not a path inside the folder")


def _regular(source: Path) -> Iterator[Path]:
    """The files of a folder and the folders below, in order, without our own traces.

    A folder that is a link is walked once, and not at all where it leads upwards. What cannot be
    looked at is an error: without it, the new folder would lack a file.
    """
    seen, found = set[str](), 0
    for place, folders, names in os.walk(source, onerror=_refuse_unseen, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and os.path.realpath(Path(place, name)) not in seen
            and Path(place, name).resolve() not in source.parents
        )
        for name in sorted(names):
            path = Path(place, name)
            found += 1
            if found > MAX_FILES:
                raise WriteError(
                    f"{source} and what its links lead to: more than {MAX_FILES} files",
                    "take the links to other folders out of it",
                )
            if name != LOCK and not _is_ours(name) and _is_regular(path):
                yield path


def _is_ours(name: str) -> bool:
    """Whether a file is one that mtpfix has not finished."""
    return name.startswith(".") and ".mtpfix-" in name


def _refuse_unseen(error: OSError) -> None:
    raise WriteError(
        f"{error.filename} cannot be read: {error.strerror}",
        "make it readable, or move it out of the folder",
    ) from error


def _is_regular(path: Path) -> bool:
    """Whether a path is a file, or a link to one; unlike `is_file`, never False by a fault."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            remedy = "complete the download, or remove the link"
            raise WriteError(f"{path} is a link to nothing", remedy) from error
        _refuse_unseen(error)
        raise


def _bring(target: Path, link: Path) -> str:
    """Makes `link` stand for `target`, in the cheapest way that works here."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: on another Windows drive
        os.symlink(os.path.relpath(target, link.parent), link)  # noqa: PTH211
        return "symlink"
    with contextlib.suppress(OSError):
        os.link(target, link)
        return "hardlink"
    shutil.copy2(target, link)
    return "copy"
