"""One checkpoint, opened once: what is asked of it, and for which engines, is said in one place.

Here a user of the library speaks: releases of engines are given by name, as on the command line.
Below, every call takes a `Reference` and a `Selection`.
"""

from __future__ import annotations

import inspect as signatures
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypedDict, TypeVar

from typing_extensions import Unpack

from mtpfix import calls
from mtpfix.calls import Override
from mtpfix.changes.repair import Repair
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.delivery import Delivered, Delivery, Show
from mtpfix.delivery.folder import Folder
from mtpfix.delivery.hub import Hub
from mtpfix.drafting import Drafted, draft_folder_of
from mtpfix.engines.registry import DEFAULT
from mtpfix.engines.verification import Verification
from mtpfix.errors import GateError, RefusedError, UsageError
from mtpfix.grafts.attempts import Precision
from mtpfix.grafts.transfer import Watch
from mtpfix.model import Platform, Report
from mtpfix.recipe import Names
from mtpfix.repair.plan import Options
from mtpfix.selection import Selection, select
from mtpfix.targets import Reference

P = ParamSpec("P")
T = TypeVar("T")

FOLDER = "folder_path"
"""What the calls of huggingface_hub name the folder that they upload."""


class Releases(TypedDict, total=False):
    """What is asked of each engine, as `Checkpoint` takes it."""

    vllm: Iterable[str] | None
    sglang: Iterable[str] | None
    engines: Iterable[str] | None
    platforms: Iterable[Platform] | None


class Where(Releases, total=False):
    """What is asked, and how the checkpoint is reached, as `Checkpoint` takes it."""

    draft: str | Path | None
    revision: str | None
    token: str | None


class Checkpoint:
    """A checkpoint, and the engines that it is to be served with; `mtpfix.open` makes one.

    A repo is read at one commit, and no file of it is fetched twice. A folder is read anew by each
    call, so that a call sees what the one before it wrote.
    """

    def __init__(
        self,
        target: str | Path | Source = ".",
        *,
        vllm: Iterable[str] | None = None,
        sglang: Iterable[str] | None = None,
        engines: Iterable[str] | None = None,
        platforms: Iterable[Platform] | None = None,
        draft: str | Path | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> None:
        """Find the checkpoint; its files are read when something is asked of it.

        Args:
            target: a folder, `org/name`, `org/name@revision` or `hf://org/name`.
            vllm: releases (`0.32.0`), specifiers (`>=0.28,<0.34`), `newest` or `all`: what all is
                judged and planned for. None: the newest is judged, and a repair is planned for all
                and must be right for the newest.
            sglang: the same of SGLang.
            engines: requirements, such as `vllm>=0.28,<0.34`, beside `vllm` and `sglang`.
            platforms: the platforms, chosen in the same way. None: CUDA.
            draft: what `"model"` in `--speculative-config` names, a target too: the MTP block is
                loaded from there. None: from `target`.
            revision: branch, tag, commit or `refs/pr/N` of a repo.
            token: what to log in to the Hub with; None: what the environment or
                `hf auth login` says.

        Raises:
            UsageError: a selection is empty, or names what is no release.
            TargetError: there is no such folder, or no such repo for this login.
        """
        self._selection = select(vllm=vllm, sglang=sglang, engines=engines, platforms=platforms)
        self._chosen = any(each is not None for each in (vllm, sglang, engines))
        self._given = Reference(target, draft, revision, token)
        source = self._given.source
        folder = source.target().kind == "local"
        self._read = self._given if folder else Reference(Remembered(source), draft, None, token)

    def inspect(self, *, trunk: bool = False, values: bool = False) -> Report:
        """Return what is on disk, what the engines build, and where they part.

        Args:
            trunk: whether every module of the target model is reported, or only those that matter.
            values: whether the weights of the MTP block are read, too, and judged (MTP5xx).

        Returns:
            The report, its findings with their fixes; what could not be judged is a finding in it
            (MTP9xx), not an exception.

        Raises:
            MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
        """
        return calls.inspect(self._read, self._selection, trunk=trunk, values=values)

    def check(self, *, values: bool = False) -> Report:
        """Return the report of the gate: its `exit_code` says whether the target may pass.

        It is 0 if all is well, 1 if something is wrong, and 3 if something could not be judged,
        which is no pass. No repair is planned: findings have no edits.

        Args:
            values: as for `inspect`.

        Raises:
            MtpfixError: as for `inspect`.
        """
        return calls.check(self._read, self._selection, values=values)

    def gate(self, *, values: bool = False) -> Report:
        """Return the report of `check`, if it passes.

        Raises:
            GateError: it does not.
        """
        return _passed(self.check(values=values))

    def plan(self, options: Options = Options()) -> Repair:  # noqa: B008 - a frozen value
        """Return the fewest edits that make the metadata right, and the proof; see `calls.plan`.

        Args:
            options: what may be changed.

        Raises:
            UnknownError: the family, the method or a release is not covered.
            MtpfixError: the target cannot be read.
        """
        return calls.plan(self._read, self._selection, options)

    def rewrite(
        self,
        options: Options = Options(),  # noqa: B008 - a frozen value
        *,
        write: bool = False,
        output: Path | None = None,
        backup: bool = True,
        allow_partial: bool = False,
    ) -> Repair:
        """Repair the metadata; without `write` and `output` it is planned, as by `plan`.

        Args:
            options: what may be changed.
            write: edit the files in place.
            output: where to make a new folder of links with the repaired JSON.
            backup: keep the old file beside the new one.
            allow_partial: write also what leaves every release that decides as broken as it is.

        Returns:
            The repair; `changes` is empty where there was nothing to change. A repair that helps
            some releases and not all of those that decide is written too: `exit_code` tells.

        Raises:
            RefusedError: every repair would do harm, or no release that decides would be better.
            ConflictError: a file changed since it was read.
            WriteError: a file could not be written; the old ones are untouched.
            MtpfixError: as for `plan`.
        """
        place = _place(Folder(output, backup, allow_partial), write=write)
        return calls.repair(self._read, self._selection, options, place).repair

    def push(
        self,
        options: Options = Options(),  # noqa: B008 - a frozen value
        *,
        repo_id: str = "",
        create_pr: bool = False,
        message: str = "",
        describe: Callable[[Delivered], str] | None = None,
        allow_partial: bool = False,
        dry_run: bool = False,
    ) -> Delivered:
        """Repair the metadata on the Hub: one commit, or one pull request.

        What is judged and written to is the branch, as it is by then.

        Args:
            options: what may be changed.
            repo_id: the repo that a folder is pushed to; empty: the target itself.
            create_pr: open a pull request.
            message: first line of the commit; empty: the one that mtpfix has.
            describe: writes the text below it, in Markdown.
            allow_partial: push a repair that helps some of what decides, and not all of it.
            dry_run: do everything but the commit.

        Raises:
            RefusedError: the repair would do harm, or leaves something wrong that decides.
            ConflictError: the branch moved since it was judged, or holds other files than
                the folder; nothing was pushed.
            WriteError: this login may not write there.
            MtpfixError: as for `plan`.
        """
        place = Hub(self._given, repo_id, create_pr, message, describe, allow_partial, dry_run)
        return calls.repair(self._given, self._selection, options, place)

    def graft(
        self,
        base: str | Path | None = None,
        options: Options = Options(),  # noqa: B008 - a frozen value
        *,
        precision: Precision = "auto",
        write: bool = False,
        output: Path | None = None,
        backup: bool = True,
        watch: Watch = Watch(),  # noqa: B008 - a frozen value
    ) -> Delivered:
        """Bring back an MTP block that was lost; without `write` and `output` it is planned.

        Args:
            base: the model that the target was made from, a folder or a repo with `@revision`.
                None: the one that the model cards lead to.
            options: what may be changed in the metadata.
            precision: what becomes of a block in FP8 or MXFP4: `keep` it where the target's method
                can say it, make it `bf16`, or `auto`: keep it if that serves as many releases.
            write: bring it into the folder itself.
            output: where to make a new folder of links, with the new shard.
            backup: keep the old files beside the new ones.
            watch: what is told of the bytes as they pass.

        Returns:
            The graft; without tensors, where the target has its block already.

        Raises:
            RefusedError: the base cannot give this target a block; or, where something is to be
                written, no way to bring it is clean, or its values make it useless.
            ConflictError: a file changed since it was read, or another graft is at work.
            WriteError: a file could not be written; the old ones are untouched.
            MtpfixError: as for `plan`.
        """
        base = calls.base_of(self._read) if base is None else base
        origin = Reference(base, token=self._given.token)
        place = _place(Folder(output, backup, watch=watch), write=write)
        return calls.bring_block(
            self._read, origin, self._selection, options, precision=precision, delivery=place
        )

    def override(self, options: Options = Options()) -> Override:  # noqa: B008 - a frozen value
        """Return the repair as a value for vLLM's `--hf-overrides`; see `calls.override`.

        Where no release is chosen, the default engine alone is asked: no other is given such a
        value.

        Raises:
            OverrideError: the repair is in a file, or read by a draft, that no override reaches.
            RefusedError: every repair would do harm.
            MtpfixError: as for `plan`.
        """
        selection = self._selection if self._chosen else self._selection.of(DEFAULT)
        return calls.override(self._read, selection, options)

    def draft_folder(
        self,
        output: Path | None = None,
        *,
        watch: Watch = Watch(),  # noqa: B008 - a frozen value
    ) -> Drafted:
        """Return a folder for `--speculative-draft-model-path` of SGLang; see `drafting`.

        Args:
            output: the folder; it must not exist, or be empty. None: nothing is written.
            watch: what is told of the bytes as they pass.
        """
        return draft_folder_of(self._read, self._selection, output, watch)

    def names(
        self,
        *,
        method: str = "compressed-tensors",
        stored: str | None = None,
        options: Options = Options(),  # noqa: B008 - a frozen value
    ) -> Names:
        """Return the engines' names, and the entries for a recipe; see `calls.names_of`."""
        return calls.names_of(self._read, self._selection, options, method=method, stored=stored)

    def verify(
        self, *, engine: str = DEFAULT, python: str | None = None, timeout: float = 600
    ) -> Verification:
        """Ask one installed engine, whatever releases are selected; see `calls.verify`."""
        return calls.verify(self._read, select(engines=[engine]), python=python, timeout=timeout)


open = Checkpoint  # noqa: A001 - to be read as `mtpfix.open`
"""As people say it: `mtpfix.open("org/name", vllm=[">=0.30"]).check()`."""


def _place(folder: Folder, *, write: bool) -> Delivery:
    """Return where a repair goes.

    Raises:
        UsageError: the folder is to be edited in place and copied.
    """
    if write and folder.output is not None:
        raise UsageError("`write` edits the folder, and `output` makes another", "give one of them")
    return folder if write or folder.output is not None else Show()


# --- one call each ------------------------------------------------------------------------


def inspect(
    target: str | Path | Source = ".",
    *,
    trunk: bool = False,
    values: bool = False,
    **where: Unpack[Where],
) -> Report:
    """As `Checkpoint(target, **where).inspect(…)`.

    Args:
        target: as for `Checkpoint`.
        trunk: as for `Checkpoint.inspect`.
        values: as for `Checkpoint.inspect`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).inspect(trunk=trunk, values=values)


def check(
    target: str | Path | Source = ".", *, values: bool = False, **where: Unpack[Where]
) -> Report:
    """As `Checkpoint(target, **where).check(…)`.

    Args:
        target: as for `Checkpoint`.
        values: as for `Checkpoint.check`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).check(values=values)


def plan(
    target: str | Path | Source = ".",
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    **where: Unpack[Where],
) -> Repair:
    """As `Checkpoint(target, **where).plan(…)`.

    Args:
        target: as for `Checkpoint`.
        options: what may be changed.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).plan(options)


def rewrite(
    target: str | Path | Source = ".",
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    write: bool = False,
    output: Path | None = None,
    backup: bool = True,
    allow_partial: bool = False,
    **where: Unpack[Where],
) -> Repair:
    """As `Checkpoint(target, **where).rewrite(…)`.

    Args:
        target: as for `Checkpoint`.
        options: what may be changed.
        write: as for `Checkpoint.rewrite`.
        output: as for `Checkpoint.rewrite`.
        backup: as for `Checkpoint.rewrite`.
        allow_partial: as for `Checkpoint.rewrite`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        RefusedError: every repair would do harm, or no release that decides would be better.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).rewrite(
        options, write=write, output=output, backup=backup, allow_partial=allow_partial
    )


def push(
    target: str | Path = ".",
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    repo_id: str = "",
    create_pr: bool = False,
    message: str = "",
    describe: Callable[[Delivered], str] | None = None,
    allow_partial: bool = False,
    dry_run: bool = False,
    **where: Unpack[Where],
) -> Delivered:
    """As `Checkpoint(target, **where).push(…)`; of a folder, the revision is that of the repo.

    Args:
        target: as for `Checkpoint`.
        options: what may be changed.
        repo_id: as for `Checkpoint.push`.
        create_pr: as for `Checkpoint.push`.
        message: as for `Checkpoint.push`.
        describe: as for `Checkpoint.push`.
        allow_partial: as for `Checkpoint.push`.
        dry_run: as for `Checkpoint.push`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        RefusedError: the repair would do harm, or leaves something wrong that decides.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    at, selection = _taken_apart(target, where)
    place = Hub(at, repo_id, create_pr, message, describe, allow_partial, dry_run)
    return calls.repair(at, selection, options, place)


def graft(
    target: str | Path | Source,
    base: str | Path | None = None,
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    precision: Precision = "auto",
    write: bool = False,
    output: Path | None = None,
    backup: bool = True,
    watch: Watch = Watch(),  # noqa: B008 - a frozen value
    **where: Unpack[Where],
) -> Delivered:
    """As `Checkpoint(target, **where).graft(base, …)`.

    Args:
        target: as for `Checkpoint`.
        base: as for `Checkpoint.graft`.
        options: what may be changed.
        precision: as for `Checkpoint.graft`.
        write: as for `Checkpoint.graft`.
        output: as for `Checkpoint.graft`.
        backup: as for `Checkpoint.graft`.
        watch: as for `Checkpoint.graft`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        RefusedError: the base cannot give this target a block, or no way to bring it is clean.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).graft(
        base,
        options,
        precision=precision,
        write=write,
        output=output,
        backup=backup,
        watch=watch,
    )


def override(
    target: str | Path | Source = ".",
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    **where: Unpack[Where],
) -> Override:
    """As `Checkpoint(target, **where).override(…)`.

    Args:
        target: as for `Checkpoint`.
        options: what may be changed.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        OverrideError: the repair is in a file, or read by a draft, that no override reaches.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).override(options)


def draft_folder(
    target: str | Path = ".",
    *,
    output: Path | None = None,
    watch: Watch = Watch(),  # noqa: B008 - a frozen value
    **where: Unpack[Where],
) -> Drafted:
    """As `Checkpoint(target, **where).draft_folder(…)`.

    Args:
        target: as for `Checkpoint`.
        output: as for `Checkpoint.draft_folder`.
        watch: as for `Checkpoint.draft_folder`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        UsageError: not one engine is asked that takes such a folder.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).draft_folder(output, watch=watch)


def names_of(
    target: str | Path | Source,
    *,
    options: Options = Options(),  # noqa: B008 - a frozen value
    method: str = "compressed-tensors",
    stored: str | None = None,
    **where: Unpack[Where],
) -> Names:
    """As `Checkpoint(target, **where).names(…)`; the target may be a `config.json` alone.

    Args:
        target: as for `Checkpoint`.
        options: what may be changed.
        method: as for `calls.names_of`.
        stored: as for `calls.names_of`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    at, selection = _taken_apart(target, where)
    return calls.names_of(at, selection, options, method=method, stored=stored)


def verify(
    target: str | Path | Source = ".",
    *,
    engine: str = DEFAULT,
    python: str | None = None,
    timeout: float = 600,
    **where: Unpack[Where],
) -> Verification:
    """As `Checkpoint(target, **where).verify(…)`.

    Args:
        target: as for `Checkpoint`.
        engine: the name of the engine.
        python: as for `calls.verify`.
        timeout: as for `calls.verify`.
        where: what is asked, and how the checkpoint is reached: the words of `Checkpoint`.

    Raises:
        UnknownError: the engine died, or mtpfix does not know the family.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return Checkpoint(target, **where).verify(engine=engine, python=python, timeout=timeout)


def _taken_apart(target: str | Path | Source, where: Where) -> tuple[Reference, Selection]:
    """Return what the user points at, and what is asked."""
    selection = select(
        vllm=where.get("vllm"),
        sglang=where.get("sglang"),
        engines=where.get("engines"),
        platforms=where.get("platforms"),
    )
    at = Reference(target, where.get("draft"), where.get("revision"), where.get("token"))
    return at, selection


# --- gates --------------------------------------------------------------------------------


def _passed(report: Report) -> Report:
    """Return a report that passes.

    Raises:
        GateError: it does not.
    """
    if report.ok:
        return report
    from mtpfix.report import text  # noqa: PLC0415 - only where something is to be said

    name = report.target.name
    raise GateError(
        text.summary(report)[2:], f"`mtpfix inspect {name}` shows each module", report=report
    )


@contextmanager
def saving(
    folder: str | Path, *, repair: bool = False, **releases: Unpack[Releases]
) -> Iterator[None]:
    """Judge a checkpoint when the block that saves it is done.

    ::

        with mtpfix.saving("out", vllm=[">=0.30"], repair=True):
            model.save_pretrained("out")

    Args:
        folder: where the block saves it.
        repair: repair the metadata first, in place, where that helps.
        releases: as for `Checkpoint`.

    Raises:
        GateError: what was saved does not pass.
        MtpfixError: as for `check`.
    """
    selection = _selected(releases)  # what is wrong shows before the work
    yield
    saved = Reference(folder)
    report = calls.check(saved, selection)
    if repair and not report.ok:
        with suppress(RefusedError):  # what stays wrong is in the report
            calls.repair(saved, selection, Options(), Folder(backup=False))
        report = calls.check(saved, selection)
    _passed(report)


def gated(upload: Callable[P, T], **releases: Unpack[Releases]) -> Callable[P, T]:
    """Return an upload that judges the folder first, and sends nothing that does not pass.

    ::

        upload_folder = mtpfix.gated(HfApi().upload_folder, vllm=[">=0.30"])
        upload_folder(repo_id="org/name", folder_path="out")

    Args:
        upload: `upload_folder` of huggingface_hub, or another call with a `folder_path`.
        releases: as for `Checkpoint`.

    Returns:
        The same call. It raises `GateError` where the folder does not pass, or what `check` raises
        where it cannot be read.

    Raises:
        UsageError: the call takes no `folder_path`, or a selection makes no sense.
    """
    takes = signatures.signature(upload)
    if FOLDER not in takes.parameters:
        raise UsageError(f"an upload without {FOLDER} cannot be gated", "wrap upload_folder")
    selection = _selected(releases)

    @wraps(upload)
    def judged(*args: P.args, **kwargs: P.kwargs) -> T:
        folder = takes.bind(*args, **kwargs).arguments[FOLDER]
        _passed(calls.check(Reference(folder), selection))
        return upload(*args, **kwargs)

    return judged


def _selected(releases: Releases) -> Selection:
    """Return the selection for what a user gave."""
    return select(**releases)
