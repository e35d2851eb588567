"""The repair of a target, committed to the Hub: judged first, and judged again after the edit."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtpfix import indexing, targets
from mtpfix.analysis import analyze
from mtpfix.api import granted, hint, read, sources
from mtpfix.checkpoint.source import Source
from mtpfix.errors import ConflictError, RefusedError, UsageError
from mtpfix.model import Platform, Target
from mtpfix.planning import Repair
from mtpfix.repair.plan import Options
from mtpfix.repair.writing import disk, renamed_weights
from mtpfix.repair.writing.locking import locked
from mtpfix.selection import Selection, select
from mtpfix.subject import Subject, patched

if TYPE_CHECKING:
    from mtpfix.repair.publish import Goal


@dataclass(frozen=True, slots=True)
class Push:
    """How a repair is pushed.

    Attributes:
        repo_id: the repo that a folder is pushed to; empty: the target itself.
        create_pr: open a pull request.
        message: first line of the commit; empty: the one that mtpfix has.
        describe: writes the text below it, in Markdown.
        allow_partial: push a repair that helps some of what decides, and not all of it.
        dry_run: do everything but the commit.
    """

    repo_id: str = ""
    create_pr: bool = False
    message: str = ""
    describe: Callable[[Repair], str] | None = None
    allow_partial: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of an edit on the Hub.

    Attributes:
        repo: `org/name`.
        branch: where it went, or would go; empty: nothing was to change.
        commit: hash of the new commit; empty: none was made.
        url: page of the pull request, or of the commit.
    """

    repo: str
    branch: str = ""
    commit: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Pushed(Landed):
    """A repair, and what became of it on the Hub.

    Attributes:
        repair: as it was planned.
    """

    repair: Repair = field(kw_only=True)


def push(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
    wish: Push = Push(),
) -> Pushed:
    """Plan the repair and commit it to the Hub: the metadata files, and nothing else.

    Args:
        target: a repo, or a folder with `wish.repo_id`.
        vllm: the releases that the repair must be right for; None: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: the platforms that it must be right for; None: as for `plan`.
        options: what may be changed.
        draft: as for `inspect`; nothing is pushed there.
        revision: branch or `refs/pr/N` that is judged and written to; None: main.
        token: what to log in with; None: what the environment or `hf auth login` says.
        wish: how it is pushed.

    Raises:
        RefusedError: the repair would do harm, or leaves something wrong that decides.
        ConflictError: the branch moved since it was judged, or holds other files than
            the folder; nothing was pushed.
        WriteError: this login may not write there.
        MtpfixError: as for `plan`.
    """
    selection = select(vllm, platforms, engines, sglang)
    if options.rename_in_place:
        raise UsageError(
            "--rename-in-place edits weight files of this machine; nothing was pushed",
            "use --rename-tensors",
        )
    place = place_of(target, wish, revision, token)
    of_target = revision if place.target.path is None else None
    source, other = sources(target, draft, of_target, token)
    made, _, subject = indexing.planned(source, other, selection, options)
    made = granted(made, what="pushed", remedy="see `mtpfix inspect` for what is wrong")
    _refuse_rest(made, allow_partial=wish.allow_partial)
    if not made.changes:
        return Pushed(place.repo, repair=made)
    if subject.files.draft is not None and not wish.allow_partial:
        own = read(target, None, selection, revision=of_target, token=token)
        _refuse_spoilt(own, made, selection)
    description = wish.describe(made) if wish.describe is not None else ""
    goal = goal_of(place, subject.files.listing.target, made.files, wish, description=description)
    if wish.dry_run:
        return Pushed(place.repo, goal.branch, repair=made)
    from mtpfix.repair import publish  # noqa: PLC0415 - heavy

    files = {name: new for name, (_, new) in made.files.items()}
    with _new_weights(made, source, place) as uploads:
        done = publish.publish(goal, files, uploads=uploads)
    return Pushed(place.repo, goal.branch, done.commit, done.url, repair=made)


@contextlib.contextmanager
def _new_weights(made: Repair, source: Source, place: Place) -> Iterator[Mapping[str, Path]]:
    """Make weight files with other names, for as long as they are uploaded: path -> file.

    Raises:
        ConflictError: the repo holds other weights than the folder that was judged.
        WriteError: they could not be written.
    """
    if not made.renames:
        yield {}
        return
    if place.target.path is not None:
        there = targets.source(f"hf://{place.repo}", place.revision, place.token)
        for name in made.renames.files:
            if name not in there.list() or there.read_header(name) != source.read_header(name):
                raise _other(there.target(), name, "rewrite")
    room = cache()
    disk.tidy(room)
    with disk.explained(f"cannot write into {room}"), locked(room):
        folder = disk.temporary(room, made.before.target.revision or "weights", "new")
        folder.mkdir()
        try:
            changes = renamed_weights.changes(made.renames, source)
            for weight in changes:
                weight.create(folder / weight.name)
            yield {weight.name: folder / weight.name for weight in changes}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def cache() -> Path:
    """Return the folder where weights wait for their upload."""
    from huggingface_hub import constants  # noqa: PLC0415 - heavy, and only for a push

    room = Path(constants.HF_HOME) / "mtpfix"
    with disk.explained(f"cannot write into {room}"):
        room.mkdir(parents=True, exist_ok=True)
    return room


class Place(NamedTuple):
    """Where something is pushed to.

    Attributes:
        target: what the user named.
        repo: `org/name`.
        revision: the branch that was given beside it.
        token: what to log in with.
    """

    target: targets.Address
    repo: str
    revision: str | None
    token: str | None


def place_of(target: str | Path, wish: Push, revision: str | None, token: str | None) -> Place:
    """Return where a target is pushed to.

    Raises:
        UsageError: no repo is named, or another one than the target is.
    """
    there = targets.parse(target, revision)
    repo = there.repo or wish.repo_id
    if not repo or (there.repo and wish.repo_id not in ("", there.repo)):
        raise UsageError(
            "--repo-id names the repo for a folder; a repo is pushed to itself",
            "for a folder, write --repo-id org/name; for a repo, leave it out",
        )
    return Place(there, repo, revision, token)


def goal_of(
    place: Place,
    judged: Target,
    files: Mapping[str, tuple[bytes | None, bytes]],
    wish: Push,
    *,
    description: str = "",
    command: str = "rewrite",
) -> Goal:
    """Return the commit that is to be made, on top of what was judged.

    Args:
        place: where it goes.
        judged: what it rests on.
        files: path -> bytes as read (None: a new file), and the new bytes.
        wish: how it is pushed.
        description: the text below the title.
        command: what a user types after `mtpfix` to push to the repo.

    Raises:
        ConflictError: the repo holds other files than the folder that was judged.
        TargetError: the repo cannot be read.
    """
    from mtpfix.repair import publish  # noqa: PLC0415 - heavy

    there = place.target
    if there.path is not None:
        source = targets.source(f"hf://{place.repo}", place.revision, place.token)
        _refuse_other(source, files, command)
        judged = source.target()
    commit = judged.revision or ""
    branch = (there.revision if there.path is None else place.revision) or publish.MAIN
    return publish.Goal(
        repo=place.repo,
        parent=commit,
        # Judged by its hash, a commit is written on top of only as the head of main.
        branch=publish.MAIN if branch == commit else branch,
        create_pr=wish.create_pr,
        message=wish.message or publish.MESSAGE,
        description=description,
        token=place.token,
    )


def _refuse_rest(made: Repair, *, allow_partial: bool) -> None:
    """Refuse to publish what is not right for everything that decides, or not judged."""
    partial = made.exit_code == RefusedError.exit_code
    if made.exit_code == 0 or (partial and allow_partial):
        return
    left = {finding.code for finding in made.checked.findings if finding.severity != "info"}
    message = (
        "the repair does not fix everything" if partial else "mtpfix could not judge everything"
    )
    remedy = (
        "--allow-partial pushes it anyway" if partial else "see `mtpfix rewrite` for the reason"
    )
    raise RefusedError(
        f"{message} ({', '.join(sorted(left))}); nothing was pushed",
        hint(made, remedy),
        repair=made,
    )


def _refuse_spoilt(own: Subject, made: Repair, selection: Selection) -> None:
    """Refuse to publish what is wrong for the MTP block that the repo itself holds."""
    old, new = (analyze(each, selection).report for each in (own, patched(own, made.files)))
    if new.exit_code > old.exit_code == 0:
        raise RefusedError(
            "the repair is right for this draft, but wrong for the MTP block of the repo itself; "
            "nothing was pushed",
            "make a copy with --output and serve that, or push it with --allow-partial",
            repair=made,
        )


def _refuse_other(
    source: Source, files: Mapping[str, tuple[bytes | None, bytes]], command: str
) -> None:
    """Refuse to overwrite files of a repo that are not those of the folder."""
    there = set(source.list())
    for name, (old, _) in files.items():
        if (source.read(name) if name in there else None) != old:
            raise _other(source.target(), name, command)


def _other(repo: Target, name: str, command: str) -> ConflictError:
    return ConflictError(
        f"{repo.name}: its {name} differs from that of the folder; nothing was pushed",
        f"repair the repo itself: mtpfix {command} {repo.name} --push-to-hub",
    )
