"""The library's calls: read a target, judge it, plan and make the repair.

Here the pure stages are put together; the edges that they touch are the source
(a folder) and the writer. `mtpfix/__init__.py` re-exports what is public.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mtpfix import judgement, quant, targets
from mtpfix.advice import Names, advise
from mtpfix.checkpoint import strict
from mtpfix.checkpoint.load import listing
from mtpfix.errors import OverrideError, RefusedError, UsageError
from mtpfix.model import PLATFORMS, JsonFile, Platform, Report
from mtpfix.opened import Opened, config_of, open_target, patched
from mtpfix.repair import patch, write
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.plan import Options, Plan, nothing
from mtpfix.repair.plan import plan as make_plan

NEWEST = ("newest",)
ALL = ("all",)


@dataclass(frozen=True, slots=True)
class Repair:
    """A planned repair of one target.

    Attributes:
        before: the report on the files as they are, for all selected releases.
        after: the report on the files as they would be; proof of the plan.
        plan: what changes, and what is left.
        files: path -> (bytes as read, bytes after the edits), only files that change.
        diff: the change as a unified diff; empty when nothing changes.
    """

    before: Report
    after: Report
    plan: Plan
    files: Mapping[str, tuple[bytes, bytes]]
    diff: str


@dataclass(frozen=True, slots=True)
class Override:
    """The repair at serve time.

    Attributes:
        value: JSON for `--hf-overrides`; empty when nothing is to change.
        repair: what it is made of, and what it leaves.
    """

    value: str
    repair: Repair


_Word = TypeVar("_Word", bound=str)


def listed(given: Iterable[_Word]) -> tuple[_Word, ...]:
    """Some words as a tuple; a single one is not taken apart into its letters.

    Raises:
        UsageError: there is none.
    """
    words = (given,) if isinstance(given, str) else tuple(given)
    if not words:
        raise UsageError("no release or no platform is given", "leave the argument out")
    return words  # type: ignore[return-value]


def inspect(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = NEWEST,
    platforms: Iterable[Platform] = ("cuda",),
    trunk: bool = False,
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Report:
    """What is on disk, what vLLM builds, and where they part.

    Nothing is written and no weight is read: configuration, index and safetensors headers are.

    Args:
        target: a folder, `org/name`, `org/name@revision` or `hf://org/name`.
        vllm: releases (`0.32.0`), specifiers (`>=0.28,<0.34`), `newest` or `all`.
        platforms: the platforms to judge for.
        trunk: whether every trunk module is reported, or only those that matter.
        draft: what `"model"` in `--speculative-config` names, a target too: the MTP block is
            loaded from there. None: from `target`.
        revision: branch, tag, commit or `refs/pr/N` of a repo.
        token: what to log in to the Hub with; None: what the environment or
            `hf auth login` says.

    Returns:
        The report; what could not be judged is a finding in it (MTP9xx), not an exception.

    Raises:
        UsageError: `vllm` or `platforms` is empty, or names what is no release.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    opened = read(target, draft, revision, token, trunk=trunk)
    return judgement.report(opened, vllm=listed(vllm), platforms=listed(platforms), trunk=trunk)


def read(
    target: str | Path,
    draft: str | Path | None,
    revision: str | None,
    token: str | None,
    *,
    trunk: bool = False,
) -> Opened:
    """A target and, where it comes from elsewhere, its draft; see `inspect`.

    Raises:
        MtpfixError: one of the two cannot be read.
    """
    source = targets.opened(target, revision, token)
    other = None if draft is None else targets.opened(draft, None, token)
    if other is not None and targets.same(source.target(), other.target()):
        other = None
    return open_target(source, trunk=trunk, draft=other)


def check(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = NEWEST,
    platforms: Iterable[Platform] = ("cuda",),
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Report:
    """The gate: as `inspect`; `Report.exit_code` says whether the target may pass.

    Args:
        target: as for `inspect`.
        vllm: the releases that it must be right for.
        platforms: the platforms that it must be right for.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Returns:
        The report. Its `exit_code` is 0 if all is well, 1 if something is wrong, and 3 if
        something could not be judged, which is no pass.

    Raises:
        MtpfixError: as for `inspect`.
    """
    return inspect(
        target, vllm=vllm, platforms=platforms, draft=draft, revision=revision, token=token
    )


def plan(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Repair:
    """The fewest edits that are right for every selected release, and the proof.

    Args:
        target: as for `inspect`.
        vllm: the releases that the repair must be right for.
        platforms: the platforms that it must be right for.
        options: what may be changed.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Returns:
        The repair, of which nothing is written. It is right where `after.exit_code` is 0;
        `plan.refused` and `plan.unresolved` say what it could not do.

    Raises:
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read.
    """
    opened = read(target, draft, revision, token)
    releases = listed(vllm)
    return planned(opened, releases, listed(platforms), _chosen(options, releases))


def _chosen(options: Options, vllm: tuple[str, ...]) -> Options:
    """The options, which know whether the releases are the caller's choice."""
    return options if vllm == ALL else replace(options, chosen_releases=True)


def planned(
    opened: Opened, releases: Sequence[str], places: Sequence[Platform], options: Options
) -> Repair:
    """The repair of a target that has been read; see `plan`."""
    if opened.unknown is not None:
        raise opened.unknown
    if opened.view is None or opened.policy is None:  # nothing to judge, so nothing to mend
        before = judgement.report(opened, vllm=releases, platforms=places, fixes=False)
        return Repair(before, before, nothing(), {}, "")
    cases = judgement.cases(opened, opened.policy, releases, places)
    before = judgement.report(opened, vllm=releases, platforms=places, fixes=False, selected=cases)
    made = make_plan(cases, opened.view, options)
    files = _files(opened, made)
    if not files:
        return Repair(before, before, made, {}, "")
    repaired = patched(opened, files)
    after = judgement.report(repaired, vllm=releases, platforms=places, fixes=False)
    diff = "".join(unified(old, new, name) for name, (old, new) in files.items())
    return Repair(before, after, made, files, diff)


def _files(opened: Opened, made: Plan) -> dict[str, tuple[bytes, bytes]]:
    """Path -> old and new bytes of every file that the plan edits."""
    files: dict[str, tuple[bytes, bytes]] = {}
    for name in dict.fromkeys(edit.file for edit in made.edits):
        old = opened.listing.configs[name].raw
        files[name] = (old, patch.apply(old, [e for e in made.edits if e.file == name]))
    return files


def rewrite(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    output: Path | None = None,
    backup: bool = True,
) -> Repair:
    """Plans the repair and writes it: into the folder itself, or as a new folder.

    Args:
        target: a folder, and no repo: for that there is `push`.
        vllm: the releases that the repair must be right for.
        platforms: the platforms that it must be right for.
        options: what may be changed.
        draft: as for `inspect`; nothing is written there.
        output: where to make a new folder of links with the repaired JSON; None: in place.
        backup: keep the old file beside the new one.

    Returns:
        What was written; `files` is empty where the target was right already.

    Raises:
        RefusedError: something is wrong and every repair would do harm.
        ConflictError: a file changed since it was read.
        WriteError: a file could not be written; the old ones are untouched.
        MtpfixError: as for `plan`.
    """
    if targets.place(target).path is None:
        raise UsageError(
            f"{str(target)!r:.120}: a repo cannot be written to as a folder",
            "use --push-to-hub, or `hf download` and give the folder",
        )
    if output is None:
        write.tidy(Path(target))
    made = plan(target, vllm=vllm, platforms=platforms, options=options, draft=draft)
    granted(made)
    if output is not None:
        old, new = ({name: pair[i] for name, pair in made.files.items()} for i in (0, 1))
        write.overlay(Path(target), output, new, read=old)
    elif made.files:
        write.write(Path(target), made.files, backup=backup)
    return made


def granted(made: Repair) -> None:
    """Refuses a repair that would do harm, or whose result its own library cannot read."""
    if made.plan.refused is not None:
        raise RefusedError(made.plan.refused, "see `mtpfix inspect` for each module")
    prove(made)


def prove(repair: Repair) -> None:
    """Has compressed-tensors itself read the repaired metadata, if it could read the old.

    Imports torch, which takes a second: nothing but a write calls this.

    Raises:
        RefusedError: it reads the old metadata and not the new.
    """
    for name, (old, new) in repair.files.items():
        if accepts(old, name) and not accepts(new, name):
            raise RefusedError(
                f"{name}: compressed-tensors would not read the repaired metadata",
                "report this with the file",
            )


def accepts(raw: bytes, name: str) -> bool:
    """Whether `compressed_tensors.QuantizationConfig` reads the metadata of a config file."""
    place = quant.find({name: JsonFile(name, raw, strict.loads(raw, name))})
    if place is None or quant.method_of(place) != "compressed-tensors":
        return False
    from compressed_tensors.quantization import QuantizationConfig  # noqa: PLC0415 - heavy

    try:
        QuantizationConfig.model_validate(dict(place.value))
    except Exception:  # noqa: BLE001 - whatever its validators trip over, it does not read it
        return False
    return True


def names_of(
    target: str | Path,
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
    method: str = "compressed-tensors",
    revision: str | None = None,
    token: str | None = None,
) -> Names:
    """Construction-time names of the MTP block, and the entries for a calibration recipe.

    Args:
        target: a folder, a `config.json`, or a repo as for `inspect`; no weights are needed.
        vllm: the releases that the entries must be right for.
        platforms: the platforms that they must be right for.
        options: `engine_names_only` leaves the checkpoint's own spelling out.
        method: the quantization method that the recipe is for.
        revision: as for `inspect`.
        token: as for `inspect`.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
    """
    path = Path(target)
    if path.is_file() and path.name != "config.json":
        raise UsageError(f"{path.name!r:.120} is not a config.json", "give the folder it is in")
    folder = path.parent if path.is_file() else target
    source = targets.opened(folder, revision, token)
    found = listing(source, need_weights=False, need_all=False)
    releases, places = listed(vllm), listed(platforms)
    wishes = _chosen(options, releases)
    return advise(config_of(found), vllm=releases, platforms=places, options=wishes, method=method)


def override(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Override:
    """The repair as a value for vLLM's `--hf-overrides`.

    vLLM puts what it is given in the place of the whole `quantization_config`, so the
    complete, repaired one is returned. It stands at the top of the configuration, where
    vLLM looks first, whatever key the file has it under: below another key vLLM would
    merge it with the old one, and what is to go would stay.

    Args:
        target: as for `inspect`.
        vllm: the releases that the value must be right for.
        platforms: the platforms that it must be right for.
        options: what may be changed.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Raises:
        OverrideError: the repair is in a file, or read by a draft, that no override reaches.
        RefusedError: every repair would do harm.
        MtpfixError: as for `plan`.
    """
    opened = read(target, draft, revision, token)
    releases, places = listed(vllm), listed(platforms)
    made = planned(opened, releases, places, _chosen(options, releases))
    if made.plan.refused is not None:
        raise RefusedError(made.plan.refused, "see `mtpfix inspect` for each module")
    if not made.files:
        return Override("", made)
    if deaf := _deaf(opened, releases, places):
        raise OverrideError(
            f"an override does not reach the draft of vLLM {deaf}, which reads config.json again",
            _SERVE,
        )
    repaired = patched(opened, made.files).view
    assert repaired is not None  # noqa: S101 - it was found before the repair
    stated = quant.overriding(repaired)
    if stated is None:
        raise OverrideError(
            f"an override does not reach {repaired.file}, from which vLLM reads the metadata",
            _SERVE,
        )
    return Override(json.dumps({"quantization_config": dict(stated)}, ensure_ascii=True), made)


_SERVE = "use `mtpfix rewrite --output DIR` and serve that folder"


def _deaf(opened: Opened, releases: Sequence[str], places: Sequence[Platform]) -> str:
    """Releases whose draft resolves the quantization metadata anew; empty if there is none."""
    assert opened.policy is not None  # noqa: S101 - a repair was planned
    cases = judgement.cases(opened, opened.policy, releases, places)
    return ", ".join(judgement.apart(cases))
