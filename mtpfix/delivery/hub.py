"""A repair on the Hub: one commit or one pull request, on top of the commit that was judged."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtpfix import targets
from mtpfix.analysis import analyze
from mtpfix.changes.repair import Purpose, Repair
from mtpfix.changes.rewrite import hint
from mtpfix.checkpoint.source import Source
from mtpfix.delivery import Delivered, Pushed, guard
from mtpfix.errors import ConflictError, RefusedError, UsageError
from mtpfix.grafts import manifest, staging
from mtpfix.grafts.block import Block
from mtpfix.grafts.transfer import Watch
from mtpfix.model import Target
from mtpfix.repair.writing import disk, renamed_weights
from mtpfix.repair.writing.locking import locked
from mtpfix.subject import open_subject, patched
from mtpfix.targets import Reference

if TYPE_CHECKING:
    from mtpfix.repair.publish import Goal

MESSAGES: Mapping[Purpose, str] = {
    "rewrite": "Fix the quantization metadata of the MTP block",
    "graft": "Bring back the MTP block",
    "graft --drop": "Declare no MTP block: its weights are not here",
}
"""The first line of a commit."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A repo of the Hub: the target itself, or the one that a folder is the content of.

    Attributes:
        target: what is repaired.
        repo_id: the repo that a folder is pushed to; empty: the target itself.
        create_pr: open a pull request.
        message: first line of the commit; empty: the one that mtpfix has.
        describe: writes the text below it, in Markdown.
        allow_partial: push a repair that helps some of what decides, and not all of it.
        dry_run: do everything but the commit.
        watch: what is told of the bytes of a block as they pass.
    """

    target: Reference
    repo_id: str = ""
    create_pr: bool = False
    message: str = ""
    describe: Callable[[Delivered], str] | None = None
    allow_partial: bool = False
    dry_run: bool = False
    watch: Watch = field(default_factory=Watch)

    @property
    def _address(self) -> targets.Address:
        """What the target names."""
        given = self.target.target
        if not isinstance(given, str | Path):
            raise UsageError("files that are open already are pushed nowhere", "name the repo")
        return targets.parse(given, self.target.revision)

    @property
    def _is_folder(self) -> bool:
        return self._address.path is not None

    @property
    def repo(self) -> str:
        """`org/name`.

        Raises:
            UsageError: no repo is named, or another one than the target is.
        """
        there = self._address
        repo = there.repo or self.repo_id
        if not repo or (there.repo and self.repo_id not in ("", there.repo)):
            raise UsageError(
                "--repo-id names the repo for a folder; a repo is pushed to itself",
                "for a folder, write --repo-id org/name; for a repo, leave it out",
            )
        return repo

    def prepare(self, target: Reference, purpose: Purpose) -> Reference:
        """Return what is read: of a folder, the revision is that of the repo it is pushed to."""
        del purpose
        if not self.repo:
            raise UsageError("no repo is named", "write --repo-id org/name")
        return replace(target, revision=None) if self._is_folder else target

    def deliver(self, repair: Repair) -> Delivered:
        """Commit a repair; see `Delivery.deliver`."""
        if repair.renames.in_place:
            raise UsageError(
                "--rename-in-place edits weight files of this machine; nothing was pushed",
                "use --rename-tensors",
            )
        guard.require_harmless(
            repair, verb="pushed", remedy="see `mtpfix inspect` for what is wrong"
        )
        if repair.purpose == "rewrite":
            _require_right(repair, allow_partial=self.allow_partial)
        done = Delivered(repair, pushed=Pushed(self.repo))
        if not repair.changes:
            return done
        if self.target.draft is not None and not self.allow_partial:
            self._require_harmless_for_own_block(repair)
        goal = self._goal(repair)
        done = replace(done, pushed=Pushed(self.repo, goal.branch))
        if self.dry_run:
            return done
        if repair.block is not None and repair.block.tensors:
            return self._with_block(done, goal, repair.block)
        with self._renamed(repair) as uploads:
            return self._commit(done, goal, uploads=uploads)

    def _commit(self, done: Delivered, goal: Goal, **weights: Mapping[str, Any]) -> Delivered:
        from mtpfix.repair import publish  # noqa: PLC0415 - heavy

        block = done.repair.block
        files = {name: new for name, (_, new) in done.repair.files.items()}
        if block is not None and block.tensors:
            files[manifest.name_of(block.shard)] = manifest.text(block, done.hashes)
        description = self.describe(done) if self.describe is not None else ""
        made = publish.publish(replace(goal, description=description), files, **weights)
        pushed = Pushed(goal.repo, goal.branch, made.commit, made.url)
        return replace(done, pushed=pushed)

    def _with_block(self, done: Delivered, goal: Goal, block: Block) -> Delivered:
        """Commit a block: copied by the Hub where that is possible, else fetched and uploaded.

        The Hub copies a file of the base that is the block and nothing else. What is fetched waits
        in a cache folder, where a run that was cut goes on.
        """
        from mtpfix.repair import publish  # noqa: PLC0415 - heavy

        self.watch.compared(block.lineage)
        whole, base = block.whole_file, block.donor.target
        if whole is not None and base.kind == "hub" and publish.can_copy():
            source = publish.CopySource(base.name, whole, base.revision or "")
            with contextlib.suppress(publish.CopyError):
                return self._commit(done, goal, copies={block.shard: source})
        with staging.fetched(block, _cache(), self.watch) as (part, hashes, findings):
            there = replace(done, hashes=hashes, values=findings)
            return self._commit(there, goal, uploads={block.shard: part})

    @contextlib.contextmanager
    def _renamed(self, repair: Repair) -> Iterator[Mapping[str, Path]]:
        """Make weight files with other names, for as long as they are uploaded: path -> file.

        Raises:
            ConflictError: the repo holds other weights than the folder that was judged.
            WriteError: they could not be written.
        """
        if not repair.renames:
            yield {}
            return
        if self._is_folder:
            there = self._there()
            for name in repair.renames.files:
                held = name in there.list()
                if not held or there.read_header(name) != repair.source.read_header(name):
                    raise _other(there.target(), name, repair.purpose)
        room = _cache()
        disk.tidy(room)
        with disk.explained(f"cannot write into {room}"), locked(room):
            folder = disk.temporary(room, repair.target.revision or "weights", "new")
            folder.mkdir()
            try:
                changes = renamed_weights.changes(repair.renames, repair.source)
                for weight in changes:
                    weight.create(folder / weight.name)
                yield {weight.name: folder / weight.name for weight in changes}
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _there(self) -> Source:
        """Return the files of the repo that a folder is pushed to."""
        return targets.source(f"hf://{self.repo}", self.target.revision, self.target.token)

    def _goal(self, repair: Repair) -> Goal:
        """Return the commit that is to be made, on top of what was judged.

        Raises:
            ConflictError: the repo holds other files than the folder that was judged.
            TargetError: the repo cannot be read.
        """
        from mtpfix.repair import publish  # noqa: PLC0415 - heavy

        judged, branch = repair.target, self._address.revision
        if self._is_folder:
            there = self._there()
            _refuse_other(there, repair)
            judged, branch = there.target(), self.target.revision
        commit, branch = judged.revision or "", branch or publish.MAIN
        return publish.Goal(
            repo=self.repo,
            parent=commit,
            # Judged by its hash, a commit is written on top of only as the head of main.
            branch=publish.MAIN if branch == commit else branch,
            create_pr=self.create_pr,
            message=self.message or MESSAGES[repair.purpose],
            token=self.target.token,
        )

    def _require_harmless_for_own_block(self, repair: Repair) -> None:
        """Refuse to publish what is wrong for the MTP block that the repo itself holds."""
        own = open_subject(repair.source, repair.selection.engines)
        pairs = {name: (old or b"", new) for name, (old, new) in repair.files.items()}
        states = (own, patched(own, pairs))
        old, new = (analyze(each, repair.selection).report for each in states)
        if new.exit_code > old.exit_code == 0:
            raise RefusedError(
                "the repair is right for this draft, but wrong for the MTP block of the repo "
                "itself; nothing was pushed",
                "make a copy with --output and serve that, or push it with --allow-partial",
                repair=repair,
            )


def _cache() -> Path:
    """Return the folder where weights wait for their upload."""
    from huggingface_hub import constants  # noqa: PLC0415 - heavy, and only for a push

    room = Path(constants.HF_HOME) / "mtpfix"
    with disk.explained(f"cannot write into {room}"):
        room.mkdir(parents=True, exist_ok=True)
    return room


def _require_right(made: Repair, *, allow_partial: bool) -> None:
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


def _refuse_other(there: Source, repair: Repair) -> None:
    """Refuse to overwrite files of a repo that are not those of the folder."""
    held = set(there.list())
    for name, (old, _) in repair.files.items():
        if (there.read(name) if name in held else None) != old:
            raise _other(there.target(), name, repair.purpose)


def _other(repo: Target, name: str, purpose: Purpose) -> ConflictError:
    return ConflictError(
        f"{repo.name}: its {name} differs from that of the folder; nothing was pushed",
        f"repair the repo itself: mtpfix {purpose} {repo.name} --push-to-hub",
    )
