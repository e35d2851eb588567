"""The call that brings back a lost MTP block: planned, judged, fetched, written or pushed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtpfix import api, targets
from mtpfix.checkpoint import base_model
from mtpfix.checkpoint.load import listing
from mtpfix.checkpoint.source import Source
from mtpfix.engines.registry import DEFAULT, engine
from mtpfix.errors import RefusedError, UsageError
from mtpfix.grafts import leftovers, manifest, staging
from mtpfix.grafts.attempts import Precision
from mtpfix.grafts.lineage import Lineage
from mtpfix.grafts.pieces import Piece
from mtpfix.grafts.plan import GraftPlan
from mtpfix.grafts.plan import plan as make_plan
from mtpfix.grafts.transfer import Watch
from mtpfix.model import Finding, Platform, Report, Target
from mtpfix.pushing import Landed, Place, Push, cache, goal_of, place_of
from mtpfix.repair import writing
from mtpfix.repair.plan import Options
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.weights import Addition
from mtpfix.selection import Selection, select
from mtpfix.subject import config_of

MESSAGE = "Bring back the MTP block"


@dataclass(frozen=True, slots=True)
class Graft:
    """A block that is brought back, or would be.

    Attributes:
        plan: what is brought, and the metadata for it, with the proof.
        selection: for which releases and platforms it is planned, and which decide.
        hashes: tensor -> SHA-256 of its bytes in the new shard; empty: nothing was fetched.
        values: what is doubtful about the values of the tensors (MTP5xx), where they passed.
    """

    plan: GraftPlan
    selection: Selection
    hashes: Mapping[str, str]
    values: tuple[Finding, ...] = ()

    @property
    def tensors(self) -> tuple[Piece, ...]:
        """The tensors that are brought."""
        return self.plan.layout.pieces

    @property
    def donor(self) -> Target:
        """The base, at one commit."""
        return self.plan.donor.target

    @property
    def lineage(self) -> Lineage:
        """What the base is to the target."""
        return self.plan.lineage

    @property
    def before(self) -> Report:
        """The report on the files as they are, for all releases that it is planned for."""
        return self.plan.before[0]

    @property
    def after(self) -> Report:
        """The report on the files as they would be; proof of the plan."""
        return self.plan.repair.after

    @property
    def checked_before(self) -> Report:
        """What `check` says of the files as they are, for what decides."""
        return self.plan.before[1]

    @property
    def checked(self) -> Report:
        """What `check` says of the files as they would be, for what decides."""
        return self.plan.repair.checked

    @property
    def files(self) -> tuple[str, ...]:
        """The files beside the new shard that change, or would."""
        return tuple(self.plan.files)

    @property
    def refused(self) -> RefusedError | None:
        """Why nothing is written, or None."""
        return self.plan.refused

    @property
    def exit_code(self) -> int:
        """That of `check` for the releases and platforms that decide, with the block."""
        return self.checked.exit_code


def plan(
    target: str | Path | Source,
    donor: str | Path,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    precision: Precision = "auto",
    options: Options = Options(),  # noqa: B008 - a frozen value
    revision: str | None = None,
    token: str | None = None,
) -> Graft:
    """Return what a graft would bring and write, and what every release would make of it.

    No weights are read but for a few small slices that tell whether the base is the right one.

    Args:
        target: the checkpoint that lost its block: a folder or a repo, as for `inspect`.
        donor: the model that it was made from, a folder or a repo with `@revision`.
        vllm: as for `mtpfix.plan`.
        sglang: the same of SGLang.
        engines: as for `mtpfix.plan`.
        platforms: as for `mtpfix.plan`.
        precision: what becomes of a block in FP8 or MXFP4: `keep` it where the target's method
            can say it, make it `bf16`, or `auto`: keep it if that serves as many releases.
        options: what may be changed in the metadata.
        revision: branch, tag, commit or `refs/pr/N` of the target.
        token: as for `inspect`.

    Raises:
        RefusedError: the base cannot give this target a block; no way to bring it is clean is no
            error here: `Graft.refused` says it.
        MtpfixError: one of the two cannot be read.
    """
    selection = select(vllm, platforms, engines, sglang)
    ours = targets.source(target, revision, token)
    theirs = targets.source(donor, None, token)
    if targets.is_same(ours.target(), theirs.target()):
        raise UsageError("the base is the target itself", "give the model that it was made from")
    options = replace(options, chosen_releases=selection.explicit)
    made = make_plan(ours, theirs, selection, options, precision)
    return Graft(made, selection, {})


def graft(
    target: str | Path | Source,
    donor: str | Path,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    precision: Precision = "auto",
    options: Options = Options(),  # noqa: B008 - a frozen value
    write: bool = False,
    output: Path | None = None,
    backup: bool = True,
    revision: str | None = None,
    token: str | None = None,
    watch: Watch = Watch(),  # noqa: B008 - a frozen value
) -> Graft:
    """The command `graft`: without `write` and `output` as `plan`; with one of them, it writes.

    Args:
        target: as for `inspect`; to write, a folder: for a repo there is `push`.
        donor: as for `plan`.
        vllm: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `plan`.
        platforms: as for `plan`.
        precision: as for `plan`.
        options: as for `plan`.
        write: bring it into the folder itself.
        output: where to make a new folder of links, with the new shard.
        backup: keep the old files beside the new ones.
        revision: as for `inspect`.
        token: as for `inspect`.
        watch: what is told of the bytes as they pass.

    Returns:
        The graft, written where that was asked for; without tensors, where the target has its
        block already.

    Raises:
        RefusedError: no way to bring the block is clean for what decides, or its values make it
            useless.
        ConflictError: a file changed since it was read, or another graft is at work.
        WriteError: a file could not be written; the old ones are untouched.
        MtpfixError: as for `plan`.
    """
    folder = api.destination(target, revision, output, write=write)
    if folder is not None:
        room = folder if output is None else output.resolve().parent
        disk.tidy(room)
        leftovers.put_right(room)
    made = plan(
        target,
        donor,
        vllm=vllm,
        sglang=sglang,
        engines=engines,
        platforms=platforms,
        precision=precision,
        options=options,
        revision=revision,
        token=token,
    )
    if folder is None:
        return made
    _refuse(made)
    if not made.tensors:
        if output is None:
            leftovers.clear(folder)
        if made.plan.files or output is not None:
            writing.put(folder, made.plan.files, output, backup=backup)
        return made
    watch.compared(made.lineage)
    return _written(made, folder, output, watch, backup=backup)


def _refuse(made: Graft) -> None:
    """Refuse a graft that is not clean, or whose metadata other readers cannot read."""
    if made.refused is not None:
        raise made.refused
    api.prove(made.plan.repair, made.plan.metadata)


def _written(
    made: Graft, folder: Path, output: Path | None, watch: Watch, *, backup: bool
) -> Graft:
    """Fetch the block beside its place, and put it there with all that names it."""
    shard, beside = made.plan.shard, manifest.name_of(made.plan.shard)
    read = {beside: None, **{name: old for name, (old, _) in made.plan.files.items()}}
    writing.check_place(folder, read, output)  # before the bytes come, not after
    room = folder if output is None else output.resolve().parent

    def unmoved() -> None:
        disk.check_unmoved(folder, {**read, shard: None})

    with staging.fetched(made.plan, room, watch, unmoved) as (part, hashes, findings):
        files = {beside: (None, manifest.text(made.plan, hashes)), **made.plan.files}
        addition = Addition(shard, part, made.plan.interim)
        writing.put(folder, files, output, backup=backup, addition=addition)
        if output is None:
            leftovers.forget(folder)
    return replace(made, hashes=hashes, values=findings)


# --- to the Hub -------------------------------------------------------------------------


def push(
    target: str | Path,
    donor: str | Path,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    precision: Precision = "auto",
    options: Options = Options(),  # noqa: B008 - a frozen value
    revision: str | None = None,
    token: str | None = None,
    wish: Push = Push(),  # noqa: B008 - a frozen value
    describe: Callable[[Graft], str] | None = None,
    watch: Watch = Watch(),  # noqa: B008 - a frozen value
) -> tuple[Graft, Landed]:
    """Bring the block into a repo: shard, index and metadata in one commit, or one pull request.

    Where the base is on the Hub too, and one of its files is the block and nothing else, the Hub
    copies that file itself. Else the block is fetched into a cache folder first, where a run that
    was cut goes on.

    Args:
        target: a repo, or a folder with `wish.repo_id`.
        donor: as for `plan`.
        vllm: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `plan`.
        platforms: as for `plan`.
        precision: as for `plan`.
        options: as for `plan`.
        revision: branch or `refs/pr/N` that is judged and written to; None: main.
        token: what to log in with; None: what the environment or `hf auth login` says.
        wish: how it is pushed.
        describe: writes the text below the title, in Markdown.
        watch: what is told of the bytes as they pass.

    Raises:
        RefusedError: no way to bring the block is clean for what decides.
        ConflictError: the branch moved since it was judged; nothing was pushed.
        WriteError: this login may not write there.
        MtpfixError: as for `plan`.
    """
    place = place_of(target, wish, revision, token)
    made = plan(
        target,
        donor,
        vllm=vllm,
        sglang=sglang,
        engines=engines,
        platforms=platforms,
        precision=precision,
        options=options,
        revision=revision if place.target.path is None else None,
        token=token,
    )
    _refuse(made)
    if not made.plan.files:
        return made, Landed(place.repo)
    return _pushed(made, place, wish, describe, watch)


def _pushed(
    made: Graft,
    place: Place,
    wish: Push,
    describe: Callable[[Graft], str] | None,
    watch: Watch,
) -> tuple[Graft, Landed]:
    """Commit the block: copied by the Hub where that is possible, else fetched and uploaded."""
    from mtpfix.repair import publish  # noqa: PLC0415 - heavy, and only for a push

    wish = replace(wish, message=wish.message or MESSAGE)
    goal = goal_of(place, made.before.target, made.plan.files, wish, command="graft")
    if wish.dry_run:
        return made, Landed(place.repo, goal.branch)

    def commit(made: Graft, **shard: Mapping[str, Any]) -> tuple[Graft, Landed]:
        files = {name: new for name, (_, new) in made.plan.files.items()}
        if made.tensors:
            files[manifest.name_of(made.plan.shard)] = manifest.text(made.plan, made.hashes)
        told = replace(goal, description=describe(made) if describe is not None else "")
        done = publish.publish(told, files, **shard)
        return made, Landed(place.repo, goal.branch, done.commit, done.url)

    if not made.tensors:
        return commit(made)
    watch.compared(made.lineage)
    name, whole, base = made.plan.shard, made.plan.whole_file, made.donor
    if whole is not None and base.kind == "hub" and publish.can_copy():
        source = publish.CopySource(base.name, whole, base.revision or "")
        with contextlib.suppress(publish.CopyError):
            return commit(made, copies={name: source})
    with staging.fetched(made.plan, cache(), watch) as (part, hashes, findings):
        made = replace(made, hashes=hashes, values=findings)
        return commit(made, uploads={name: part})


def offered(
    target: str | Path | Source, *, revision: str | None = None, token: str | None = None
) -> str:
    """Return the base that the model cards lead to: the first of the line with an MTP block.

    Args:
        target: as for `plan`.
        revision: as for `plan`.
        token: as for `plan`.

    Raises:
        UsageError: they lead to none.
        MtpfixError: the target cannot be read.
    """
    trail = base_model.follow(
        targets.source(target, revision, token),
        lambda repo: targets.source(f"hf://{repo}", None, token),
        _has_block,
    )
    if trail.donor is None:
        raise UsageError(
            f"the model card leads to no base with an MTP block ({trail.reason})",
            "name the base: --from org/name",
        )
    return trail.donor


def _has_block(source: Source) -> bool:
    found = listing(source, need_all=False)
    return bool(engine(DEFAULT).read(found, config_of(found)).block.tensors)
