"""The local edge: repaired files into a folder, or into a new folder of links.

In place, the order is: lock the folder, see that every file still is as it was
read, write all new bytes beside the old ones and flush them to the disk, keep
backups, and only then rename. A failure before the first rename has changed
nothing; one after it renames copies of the old bytes back, which takes no more
space. A run that is killed leaves each file whole, old or new, and at most a
lock file that nobody holds and temporary files, which the next run clears away.

Renaming gives a file a new inode: a hard link to the old one keeps the old
bytes. That is wanted, for whoever linked it did not ask for the repair.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from mtpfix.errors import ConflictError, UsageError, WriteError
from mtpfix.repair.locking import LOCK, locked, released, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

BACKUP = ".bak-mtpfix"
CONFIG = "config.json"
TEMPORARY = ".mtpfix-tmp"  # ends the names of what is being made; they begin with a dot
_ELSEWHERE = "use `--output DIR` for a folder elsewhere"
_REMEDIES = {
    errno.ENOENT: f"check that the folder is there, or {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit on file sizes (ulimit -f), or {_ELSEWHERE}",
    errno.ELOOP: "remove the link that somebody put in the place of a file of mtpfix (.*mtpfix-*)",
    errno.EISDIR: "remove the folder that stands in the place of a file of mtpfix (.*mtpfix*)",
    errno.EIO: f"check the disk, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {_ELSEWHERE}",
    errno.EACCES: f"get write permission on the folder, or {_ELSEWHERE}",
    errno.EPERM: f"get write permission on the folder and the file, or {_ELSEWHERE}",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did."""

    files: tuple[str, ...]
    """Names of the files that changed."""
    backups: Mapping[str, str]
    """Name -> the file beside it that holds the old bytes, made now or found there."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A weight file that comes with an edit of the metadata.

    It is renamed into place after files that are new have got their interim content, and before
    any other file: nothing that is read names it until the last rename.

    Attributes:
        name: its name in the folder.
        part: where it is, whole and flushed, on the same disk.
        interim: new file -> what it holds before the weight file is there.
    """

    name: str
    part: Path
    interim: Mapping[str, bytes] = field(default_factory=dict)


class WeightFile(Protocol):
    """A weight file that changes together with the metadata (`weights.py`): before it, or not."""

    @property
    def name(self) -> str:
        """Its name in the folder."""

    def refuse(self, folder: Path) -> None:
        """Refuse what cannot be changed, before anything is locked."""

    def stage(self, folder: Path) -> None:
        """Make ready what `apply` and `undo` need; nothing is changed yet."""

    def keep(self, folder: Path) -> tuple[str, bool]:
        """Keep what was there; return the name of the backup, and whether it is new."""

    def apply(self, folder: Path) -> None:
        """Change the file."""

    def undo(self, folder: Path) -> None:
        """Make the file what it was, however far `stage` and `apply` came."""

    def finish(self, folder: Path) -> None:
        """Forget how the file was: everything is written."""

    def create(self, path: Path, like: Path | None = None) -> None:
        """Write the changed file to another place, with owner and mode of `like`."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What `overlay` made; paths are relative to the folder, with `/`."""

    folder: Path
    written: tuple[str, ...]
    """New files of their own."""
    links: Mapping[str, str]
    """How each other file came in: `symlink`, `hardlink` or `copy`."""


def write(
    folder: Path,
    files: Mapping[str, tuple[bytes | None, bytes]],
    *,
    backup: bool = True,
    addition: Addition | None = None,
    weights: Sequence[WeightFile] = (),
) -> Written:
    """Replaces files in `folder`, all of them or none.

    The mode of a file is kept, and its owner and group where that is permitted; its
    times are those of the write. Its old bytes, with their times, stay in
    `NAME.bak-mtpfix`; where that holds something else, in `NAME.bak-mtpfix.1`, and so
    on: no backup is ever overwritten, and none is made twice. A file whose new bytes
    are the old ones is left alone.

    Args:
        folder: an existing folder.
        files: name in the folder -> the bytes as they were read (None: it is new), the new
            bytes; renamed in this order.
        backup: keep the old bytes.
        addition: a weight file that goes with them.
        weights: weight files that change before them.

    Raises:
        ConflictError: a file is no longer what was read, or another mtpfix keeps
            writing here.
        WriteError: a file is a link, or the system refused; all is as it was.
        UsageError: a name leads out of the folder or into one below.
    """
    changed = {name: pair for name, pair in files.items() if pair[0] != pair[1]}
    for name in (*changed, *([addition.name] if addition else []), *(w.name for w in weights)):
        if name in {"", ".", ".."} or Path(name).name != name:
            raise UsageError(f"{name!r} is not the name of a file in the folder")
    if not changed and not weights:
        tidy(folder)
        return Written((), {})
    with explained(f"cannot write into {folder}"):
        for name in changed:  # before locking: nothing of ours enters a Hub cache
            refuse_link(folder / name)
        for weight in weights:
            weight.refuse(folder)
        with locked(folder):
            _sweep(folder)
            # Also files that stay: the new bytes of the others were judged beside them.
            for name, (old, _) in files.items():
                _refuse_moved(folder / name, old)
            return _Transaction(folder, changed, addition, weights).run(backup=backup)


def tidy(folder: Path) -> None:
    """Clears away what a killed run left in `folder`, unless another one is at work there.

    A folder without such traces is not touched, and one that cannot be cleared is no error:
    what is left stands in nobody's way.
    """
    with contextlib.suppress(OSError):
        if not (os.path.lexists(folder / LOCK) or any(folder.glob(f".*{TEMPORARY}"))):
            return
        handle = take(folder / LOCK)
        if handle is not None:
            with released(folder / LOCK, handle):
                _sweep(folder)


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
            _refuse_moved(source / path, old)
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


def put(
    folder: Path,
    files: Mapping[str, tuple[bytes | None, bytes]],
    output: Path | None,
    *,
    backup: bool = True,
    addition: Addition | None = None,
    weights: Sequence[WeightFile] = (),
) -> None:
    """Edits a folder (`write`), or makes another one like it (`overlay`).

    Args:
        folder: the folder that was read.
        files: as for `write`.
        output: the new folder; None: the folder itself is edited.
        backup: as for `write`; a new folder needs none.
        addition: as for both.
        weights: as for both.
    """
    if output is None:
        write(folder, files, backup=backup, addition=addition, weights=weights)
        return
    read = {name: old for name, (old, _) in files.items()}
    new = {name: new for name, (_, new) in files.items()}
    overlay(folder, output, new, read=read, addition=addition, weights=weights)


def check_place(folder: Path, names: Iterable[str], output: Path | None) -> None:
    """Refuse at once what `write`, or `overlay`, would refuse later: there is work to do before.

    Args:
        folder: where the files are.
        names: those that will be written.
        output: the new folder; None: in place.

    Raises:
        MtpfixError: as for `write` and `overlay`.
    """
    with explained(f"cannot write into {folder if output is None else output}"):
        if output is not None:
            _check_places(*_places(folder, output))
        for name in names if output is None else ():
            refuse_link(folder / name)


def check_unmoved(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Refuse files that are no longer what was read; None: there was none."""
    with explained(f"cannot write into {folder}"):
        for name, old in files.items():
            _refuse_moved(folder / name, old)


# --- in place ----------------------------------------------------------------


class _Transaction:
    """The renames of one `write`, and the way back. The caller holds the lock."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, tuple[bytes | None, bytes]],
        addition: Addition | None = None,
        weights: Sequence[WeightFile] = (),
    ) -> None:
        self._folder = folder
        self._files = files
        self._addition = addition
        self._weights = weights
        self._made: list[Path] = []
        self._backups: list[Path] = []

    def run(self, *, backup: bool) -> Written:
        """Stages everything, then renames; on any failure takes all of it back."""
        kept: dict[str, str] = {}
        there = {name: old for name, (old, _) in self._files.items() if old is not None}
        try:
            for name, (_, new) in self._files.items():
                self._stage(name, "new", new)
            for name, old in there.items():
                self._stage(name, "old", old)
            for weight in self._weights:
                weight.stage(self._folder)
            if backup:
                kept = {name: self._backup(name, old) for name, old in there.items()}
                kept |= {weight.name: self._kept(weight) for weight in self._weights}
            interim = self._add()
            for weight in self._weights:
                weight.apply(self._folder)
            for name in self._files:
                # An editor knows nothing of our lock.
                _refuse_moved(self._folder / name, interim.get(name, there.get(name)))
                if name not in there and name not in interim:
                    self._made.append(self._folder / name)
                os.replace(self._temporary(name, "new"), self._folder / name)  # noqa: PTH105
            sync(self._folder)
        except BaseException:
            self._roll_back()
            raise
        with contextlib.suppress(OSError):  # what is left, the next run clears away
            for weight in self._weights:
                weight.finish(self._folder)
            _sweep(self._folder)
        return Written((*(weight.name for weight in self._weights), *self._files), kept)

    def _add(self) -> Mapping[str, bytes]:
        """Bring the weight file; return what new files hold meanwhile."""
        if self._addition is None:
            return {}
        for name, data in self._addition.interim.items():
            _refuse_moved(self._folder / name, None)
            self._stage(name, "interim", data)
            self._made.append(self._folder / name)
            os.replace(self._temporary(name, "interim"), self._folder / name)  # noqa: PTH105
        place = self._folder / self._addition.name
        _refuse_moved(place, None)
        sync(self._folder)
        give(self._addition.part, self._like(CONFIG).stat())
        os.replace(self._addition.part, place)  # noqa: PTH105
        sync(self._folder)
        return self._addition.interim

    def _temporary(self, name: str, what: str) -> Path:
        return temporary(self._folder, name, what)

    def _stage(self, name: str, what: str, data: bytes) -> None:
        like = self._like(name).stat()
        create(self._temporary(name, what), data, like)
        if what in ("old", "bak"):  # a copy of the old file is as old as that
            os.utime(self._temporary(name, what), ns=(like.st_atime_ns, like.st_mtime_ns))

    def _like(self, name: str) -> Path:
        """Return the file whose owner and mode a new one gets."""
        near = (self._folder / each for each in (name, CONFIG))
        return next((path for path in near if path.exists()), self._folder)

    def _backup(self, name: str, old: bytes) -> str:
        """Makes sure that some backup holds `old`; returns its name."""
        path, there = backup_of(self._folder, name, lambda path: path.read_bytes() == old)
        if there:
            return path.name
        self._stage(name, "bak", old)
        self._backups.append(path)
        os.replace(self._temporary(name, "bak"), path)  # noqa: PTH105
        return path.name

    def _kept(self, weight: WeightFile) -> str:
        """Make sure that a backup of a weight file is there; return its name."""
        name, new = weight.keep(self._folder)
        if new:
            self._backups.append(self._folder / name)
        return name

    def _roll_back(self) -> None:
        """Brings the old bytes back; keeps every copy of them if that fails."""
        try:
            for name in reversed(tuple(self._files)):
                new, old = (self._temporary(name, what) for what in ("new", "old"))
                # The new bytes are staged first: only a rename leaves the old ones alone.
                if old.exists() and not new.exists():
                    os.replace(old, self._folder / name)  # noqa: PTH105
            for weight in reversed(self._weights):
                weight.undo(self._folder)
            if self._addition is not None:
                _take_back(self._addition, self._folder)
            for path in (*self._made, *self._backups):
                path.unlink(missing_ok=True)
            _sweep(self._folder)
        except OSError as error:
            raise WriteError(
                f"{self._folder}: the write failed, and so did taking it back: {error}",
                f"old files may be found as `.NAME.old{TEMPORARY}` or `NAME{BACKUP}`",
            ) from error


def temporary(folder: Path, name: str, what: str) -> Path:
    """Return where a file is kept that is not in its place; what is left there is swept away."""
    return folder / f".{name}.{what}{TEMPORARY}"


def backup_of(folder: Path, name: str, same: Callable[[Path], bool]) -> tuple[Path, bool]:
    """Return where the backup of a file is or would be, and whether it is there.

    Args:
        folder: where the file is.
        name: what it is called.
        same: whether a backup holds what is to be kept.
    """
    for number in itertools.count():
        path = folder / f"{name}{BACKUP}{f'.{number}' if number else ''}"
        if not os.path.lexists(path):
            break
        if path.is_file() and not path.is_symlink() and same(path):
            return path, True
    return path, False


def _take_back(addition: Addition, folder: Path) -> None:
    """Bring a weight file back to where it was before it was renamed into a folder."""
    place = folder / addition.name
    if not addition.part.exists() and place.exists():
        os.replace(place, addition.part)  # noqa: PTH105


def refuse_link(path: Path) -> None:
    """Refuses to write through a link, or over something that is no file."""
    if path.is_symlink():
        raise WriteError(
            f"{path} is a link, as the Hub cache keeps its files; writing through it would "
            "corrupt the cache for all who use it",
            "use `--output DIR`",
        )
    if path.exists() and not path.is_file():
        raise WriteError(f"{path} is not a regular file", "use `--output DIR`")


def _refuse_moved(path: Path, old: bytes | None) -> None:
    """Refuses to go on when a file is no longer what was read; None: there was none."""
    if old is None:
        if os.path.lexists(path):
            raise ConflictError(f"{path} was made meanwhile", "run the command again")
    elif not path.is_file() or path.read_bytes() != old:
        raise ConflictError(f"{path} changed since it was read", "run the command again")


# --- a new folder ------------------------------------------------------------


def _places(source: Path, output: Path) -> tuple[Path, Path]:
    """Return both without links on the way; a link at the place of `output` stays one."""
    output = Path(os.path.abspath(output))  # noqa: PTH100 - for `..`
    return source.resolve(), output.parent.resolve() / output.name


def check_new(output: Path, apart: Path | None = None) -> None:
    """Refuse places where no new folder can be made; `apart` as for `assemble`."""
    source, output = _places(apart or output, output)
    _check_places(None if apart is None else source, output)


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
        tidy(parent)  # also where nothing is made: a killed run may have got that far
        with explained(f"cannot make {self.output}"):
            check()
            with locked(parent):
                _sweep(parent)
                return self._build(self.begin())

    def _build(self, brought: Iterable[tuple[str, Path]]) -> dict[str, str]:
        output, addition = self.output, self.addition
        made = output.parent / f".{output.name}{TEMPORARY}"
        made.mkdir()
        links: dict[str, str] = {}
        try:
            for name in self.files:
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                create(made / name, self.files[name])
            for weight in self.weights:
                weight.create(made / weight.name, self.source / weight.name)
            for name, file in brought:
                _refuse_climbing(name)
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                links[name] = _bring(file.resolve(), made / name)
            if addition is not None:
                os.replace(addition.part, made / addition.name)  # noqa: PTH105
            sync(made)
            os.replace(made, output)  # noqa: PTH105
            sync(output.parent)
        except BaseException:
            there = made if made.exists() else output
            if addition is not None:
                with contextlib.suppress(OSError):  # then it is fetched again
                    _take_back(addition, there)
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
    seen = set[str]()
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


# --- the system --------------------------------------------------------------


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what the system refuses into one line and a remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _ELSEWHERE)
        raise WriteError(f"{what}: {error.strerror or error}", remedy) from error


def create(path: Path, data: bytes, like: os.stat_result | None = None) -> None:
    """Writes a new file through to the disk, with the owner and mode of another."""
    with path.open("xb") as file:
        file.write(data)
        if like is not None:
            give(path, like)
        file.flush()
        os.fsync(file.fileno())


def give(path: Path, like: os.stat_result) -> None:
    """Owner, or at least group, where the system lets us; then the mode."""
    for owner in (like.st_uid, -1) if os.name != "nt" else ():
        with contextlib.suppress(PermissionError):
            os.chown(path, owner, like.st_gid)
            break
    path.chmod(stat.S_IMODE(like.st_mode))


def sync(folder: Path) -> None:
    """Flushes the names in a folder to the disk, where folders can be flushed."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Removes temporary files; the caller's lock says that no living run needs them."""
    for path in folder.glob(f".*{TEMPORARY}"):
        (shutil.rmtree if path.is_dir() and not path.is_symlink() else os.unlink)(path)
