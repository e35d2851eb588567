"""The library's calls: read a target, judge it, plan and make the repair.

Here the pure stages are put together; the edges that they touch are the source
(a folder) and the writer. `mtpfix/__init__.py` re-exports what is public.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mtpfix import indexing, renaming, targets
from mtpfix.advice import advised
from mtpfix.analysis import add_findings, analyze, analyze_shown, verdicts_beside
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIGS, listing
from mtpfix.checkpoint.source import LocalSource, Source
from mtpfix.engines.base import EngineCase
from mtpfix.engines.registry import DEFAULT, engine
from mtpfix.errors import (
    MissingPackageError,
    MtpfixError,
    OverrideError,
    RefusedError,
    UsageError,
)
from mtpfix.merging import tell_beside
from mtpfix.model import EngineReport, JsonFile, Platform, Report
from mtpfix.planning import Repair, attach_copy, informed
from mtpfix.recipe import Names, advise
from mtpfix.repair import progress, reasons, writing
from mtpfix.repair.fixes import attach_fixes
from mtpfix.repair.plan import Options
from mtpfix.repair.writing import disk, renamed_weights
from mtpfix.selection import Selection, asking, select
from mtpfix.subject import Subject, config_of, open_subject, patched


@dataclass(frozen=True, slots=True)
class Override:
    """The repair at serve time.

    Attributes:
        value: JSON for `--hf-overrides`; empty when nothing is to change.
        repair: what it is made of, and what it leaves.
        unreached: planned releases, none of them decisive, whose draft no override reaches.
    """

    value: str
    repair: Repair
    unreached: tuple[str, ...] = ()


def inspect(
    target: str | Path | Source = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    trunk: bool = False,
    draft: str | Path | None = None,
    values: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> Report:
    """Return what is on disk, what the engine builds, and where they part.

    Nothing is written. Configuration, index and safetensors headers are read, and weights only with
    `values`.

    Args:
        target: a folder, `org/name`, `org/name@revision` or `hf://org/name`.
        vllm: releases (`0.32.0`), specifiers (`>=0.28,<0.34`), `newest` or `all`. None: the newest.
        sglang: the same of SGLang.
        engines: requirements, such as `vllm>=0.28,<0.34`, beside `vllm`.
        platforms: the platforms to judge for. None: CUDA.
        trunk: whether every module of the target model is reported, or only those that matter.
        draft: what `"model"` in `--speculative-config` names, a target too: the MTP block is
            loaded from there. None: from `target`.
        values: whether the weights of the MTP block are read, too, and judged (MTP5xx).
        revision: branch, tag, commit or `refs/pr/N` of a repo.
        token: what to log in to the Hub with; None: what the environment or
            `hf auth login` says.

    Returns:
        The report, its findings with their fixes; what could not be judged is a finding in it
        (MTP9xx), not an exception.

    Raises:
        UsageError: a selection is empty, or names what is no release.
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    selection = select(vllm, platforms, engines, sglang)
    return inspected(
        target, selection, draft, revision=revision, token=token, trunk=trunk, values=values
    )


def inspected(
    target: str | Path | Source,
    selection: Selection,
    draft: str | Path | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    trunk: bool = False,
    values: bool = False,
    fixes: bool = True,
    gate: bool = False,
) -> Report:
    """Return the report on a target; see `inspect`.

    Args:
        target: as for `inspect`.
        selection: engines, releases and platforms.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.
        trunk: as for `inspect`.
        values: as for `inspect`.
        fixes: whether findings are given the edits that fix them: that takes a plan.
        gate: whether it is on what decides alone, with a note on every other engine's verdict.
    """
    source, other = sources(target, draft, revision, token)
    subject = open_subject(source, selection.engines, trunk=trunk, draft=other)
    made = (analyze if gate else analyze_shown)(subject, selection, trunk=trunk)
    report = advised(made.report, source) if other is None else made.report
    if gate:
        report = tell_beside(report, verdicts_beside(subject, selection))
    if fixes:
        report = attach_fixes(report, made.cases, subject.files.listing.configs)
        report = attach_copy(report, made.cases, subject, selection)
        report = report if other else indexing.attach(report, source, subject, selection)
        report = renaming.hinted(report, subject, selection)
    if not values:
        return report
    from mtpfix.values.read import read_values  # noqa: PLC0415 - few ask for it

    return add_findings(report, read_values(subject, source, other))


def read(
    target: str | Path | Source,
    draft: str | Path | None,
    selection: Selection,
    *,
    revision: str | None = None,
    token: str | None = None,
    trunk: bool = False,
) -> Subject:
    """Return a target and, where it comes from elsewhere, its draft; see `inspect`.

    Raises:
        MtpfixError: one of the two cannot be read.
    """
    source, other = sources(target, draft, revision, token)
    return open_subject(source, selection.engines, trunk=trunk, draft=other)


def sources(
    target: str | Path | Source, draft: str | Path | None, revision: str | None, token: str | None
) -> tuple[Source, Source | None]:
    """Return where a target is read from, and its draft, if that is another checkpoint."""
    source = targets.source(target, revision, token)
    other = None if draft is None else targets.source(draft, None, token)
    if other is not None and targets.is_same(source.target(), other.target()):
        other = None
    return source, other


def check(
    target: str | Path | Source = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    draft: str | Path | None = None,
    values: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> Report:
    """The gate: as `inspect`; `Report.exit_code` says whether the target may pass.

    No repair is planned: findings have no edits. `inspect` and `plan` have them.

    Args:
        target: as for `inspect`.
        vllm: the releases that it must be right for. None: the newest.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: the platforms that it must be right for. None: CUDA.
        draft: as for `inspect`.
        values: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Returns:
        The report. Its `exit_code` is 0 if all is well, 1 if something is wrong, and 3 if
        something could not be judged, which is no pass.

    Raises:
        MtpfixError: as for `inspect`.
    """
    selection = select(vllm, platforms, engines, sglang)
    return inspected(
        target,
        selection,
        draft,
        revision=revision,
        token=token,
        values=values,
        fixes=False,
        gate=True,
    )


def plan(
    target: str | Path | Source = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Repair:
    """The fewest edits that are right, and the proof.

    Args:
        target: as for `inspect`.
        vllm: the releases that the repair must be right for. None: it is planned for every
            release that knows the family, and the newest must be right, as for `check`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: the platforms that it must be right for. None: it is planned for all, and CUDA
            must be right.
        options: what may be changed.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Returns:
        The repair, of which nothing is written. It is right where its `exit_code` is 0;
        `refused` and `plan.unresolved` say what it could not do.

    Raises:
        UsageError: `vllm` or `platforms` is empty, or names what is no release or no platform.
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read.
    """
    selection = select(vllm, platforms, engines, sglang)
    source, other = sources(target, draft, revision, token)
    return indexing.planned(source, other, selection, options).repair


def rewrite(
    target: str | Path | Source = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    options: Options = Options(),  # noqa: B008 - a frozen value
    draft: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
    write: bool = False,
    output: Path | None = None,
    backup: bool = True,
    allow_partial: bool = False,
) -> Repair:
    """The command `rewrite`: without `write` and `output` as `plan`; with one of them, it writes.

    Args:
        target: as for `inspect`; to write, a folder: for a repo there is `push`.
        vllm: the releases that the repair must be right for; None: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: the platforms that it must be right for; None: as for `plan`.
        options: what may be changed.
        draft: as for `inspect`; nothing is written there.
        revision: as for `inspect`.
        token: as for `inspect`.
        write: edit the files in place.
        output: where to make a new folder of links with the repaired JSON.
        backup: keep the old file beside the new one.
        allow_partial: write also what leaves every release that decides as broken as it is.

    Returns:
        The repair, written where that was asked for; `changes` is empty where there was nothing to
        change. A repair that helps some releases and not all of those that decide is written too:
        `exit_code` tells.

    Raises:
        RefusedError: every repair would do harm, or no release that decides would be better.
        ConflictError: a file changed since it was read.
        WriteError: a file could not be written; the old ones are untouched.
        MtpfixError: as for `plan`.
    """
    folder = destination(target, revision, output, write=write)
    if folder is not None and output is None:
        disk.tidy(folder)
        renamed_weights.put_right(folder)
    made = plan(
        target,
        vllm=vllm,
        sglang=sglang,
        engines=engines,
        platforms=platforms,
        options=options,
        draft=draft,
        revision=revision,
        token=token,
    )
    if folder is None:
        return made
    if made.changes or made.refused is not None or output is not None:
        made = granted(made, allow_partial=allow_partial)
    if made.changes or output is not None:
        renamed = renamed_weights.changes(made.renames, LocalSource(folder), output)
        writing.put(folder, made.files, output, backup=backup, weights=renamed)
    return made


def destination(
    target: str | Path | Source, revision: str | None, output: Path | None, *, write: bool
) -> Path | None:
    """Return the folder that an edit starts from, or None where nothing is to be written.

    Raises:
        UsageError: it is no folder, or is to be edited in place and copied.
    """
    if write and output is not None:
        raise UsageError("`write` edits the folder, and `output` makes another", "give one of them")
    return targets.folder_of(target, revision) if write or output is not None else None


_TAKEN = "--allow-partial writes it anyway"


def granted(
    made: Repair, *, allow_partial: bool = False, what: str = "written", remedy: str = _TAKEN
) -> Repair:
    """Refuse a repair that does harm, helps nobody, or that other readers of the file cannot read.

    Args:
        made: the repair.
        allow_partial: whether it may leave every release that decides as broken as it is.
        what: what was not done then, for the message.
        remedy: what the user can do where the result would be as broken as the source.

    Returns:
        The repair, which may be written.

    Raises:
        RefusedError: it is refused.
        MissingPackageError: compressed-tensors is to read the result, and is not installed.
    """
    if made.refused is not None:
        raise RefusedError(made.refused, hint(made), repair=made)
    harmed = progress.worsened(made.checked_before, made.checked)
    harmed += progress.spoilt(made.before, made.after)
    if harmed:
        raise RefusedError(
            f"the repair would make it worse on {_releases(harmed)}; nothing was {what}",
            f"choose other releases with {asking(harmed[0].engine, '').split()[0]}",
            repair=made,
        )
    helps = progress.improved(made.checked_before, made.checked)
    if made.exit_code == RefusedError.exit_code and not helps and not allow_partial:
        raise RefusedError(
            f"the result would be as broken as the source ({_codes(made.checked)}); nothing was "
            f"{what}",
            hint(made, remedy),
            repair=made,
        )
    prove(made)
    return made


def hint(made: Repair, otherwise: str = "see `mtpfix inspect` for each module") -> str:
    """Return what helps where a repair does not."""
    if (said := next(reasons.helping(made), None)) is not None:
        return said
    if made.refused is not None and not made.selection.explicit:
        option = asking(made.selection.engines[0].name, "RELEASE")
        return f"{otherwise}; `{option}` plans for that release only"
    return otherwise


def _codes(report: Report) -> str:
    """The codes of all errors in a report; what fails without any has none."""
    found = {finding.code for finding in report.findings if finding.severity == "error"}
    return ", ".join(sorted(found)) or "no finding says why"


def _releases(engines: Iterable[EngineReport]) -> str:
    found: dict[str, dict[str, None]] = {}
    for each in engines:
        found.setdefault(each.engine, {})[each.version] = None
    return " and ".join(f"{engine(name).title} {', '.join(own)}" for name, own in found.items())


def prove(repair: Repair, files: Mapping[str, tuple[bytes, bytes]] | None = None) -> None:
    """Have compressed-tensors itself read the repaired metadata, if it could read the old.

    Imports torch, which takes a second: nothing but a write calls this.

    Args:
        repair: what is written.
        files: path -> old and new bytes, where more than the repair changes; None: that alone.

    Raises:
        RefusedError: it reads the old metadata and not the new.
        MissingPackageError: it is not installed, and the metadata is its own.
    """
    metadata = {name: pair for name, pair in repair.files.items() if name in CONFIGS}
    for name, (old, new) in (metadata if files is None else files).items():
        try:
            refuses = accepts(old, name) and not accepts(new, name)
        except ImportError:
            raise MissingPackageError(
                "compressed-tensors", "a write needs it, to check that it reads the new metadata"
            ) from None
        if refuses:
            raise RefusedError(
                f"{name}: compressed-tensors would not read the repaired metadata",
                "please report this, with the file",
                repair=repair,
            )


def accepts(raw: bytes, name: str) -> bool:
    """Return whether `compressed_tensors.QuantizationConfig` reads the metadata of a config file.

    Raises:
        ImportError: compressed-tensors, or what it stands on, is not installed.
    """
    configs = {name: JsonFile(name, raw, strict_json.loads(raw, name))}
    try:
        view = engine(DEFAULT).metadata(configs)
    except MtpfixError:
        return False
    if view is None or view.method != "compressed-tensors":
        return False
    from compressed_tensors.quantization import QuantizationConfig  # noqa: PLC0415 - heavy

    try:
        QuantizationConfig.model_validate(dict(view.raw))
    except Exception:  # noqa: BLE001 - whatever its validators trip over, it does not read it
        return False
    return True


def names_of(
    target: str | Path | Source,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    options: Options = Options(),  # noqa: B008 - a frozen value
    method: str = "compressed-tensors",
    stored: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Names:
    """Construction-time names of the MTP block, and the entries for a calibration recipe.

    Args:
        target: a folder, a `config.json`, or a repo as for `inspect`; no weights are needed.
        vllm: the releases that the entries must be right for; None: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: the platforms that they must be right for; None: as for `plan`.
        options: `engine_names_only` leaves the checkpoint's own spelling out.
        method: the quantization method that the recipe is for, or a tool that writes it, such as
            `auto-round`.
        stored: how the recipe is to store the MTP block, such as `fp8-block`; None: unquantized.
        revision: as for `inspect`.
        token: as for `inspect`.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
    """
    selection = select(vllm, platforms, engines, sglang)
    source = targets.source(_folder(target), revision, token)
    found = listing(source, need_weights=False, need_all=False)
    wishes = informed(options, selection)
    return advise(config_of(found), selection, options=wishes, method=method, stored=stored)


def _folder(target: str | Path | Source) -> str | Path | Source:
    """Return the folder of a `config.json`, or the target itself.

    Raises:
        UsageError: it is another file.
    """
    try:
        alone = isinstance(target, str | Path) and Path(target).is_file()
    except (OSError, ValueError):  # no path can be like that: what reads it says so
        alone = False
    if not alone or not isinstance(target, str | Path):
        return target
    path = Path(target)
    if path.name != "config.json":
        raise UsageError(
            f"{path.name!r:.120} is not a config.json", "name the folder that it is in"
        )
    return path.parent


def override(
    target: str | Path | Source = ".",
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
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
        vllm: the releases that the value must be right for; None: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `inspect`, but None is the default engine alone: no other is given
            such a value.
        platforms: the platforms that it must be right for; None: as for `plan`.
        options: what may be changed.
        draft: as for `inspect`.
        revision: as for `inspect`.
        token: as for `inspect`.

    Raises:
        OverrideError: the repair is in a file, or read by a draft, that no override reaches.
        RefusedError: every repair would do harm.
        MtpfixError: as for `plan`.
    """
    if vllm is None and sglang is None and engines is None:
        engines = (DEFAULT,)
    selection = select(vllm, platforms, engines, sglang)
    source, other = sources(target, draft, revision, token)
    made, cases, subject = indexing.planned(source, other, selection, options)
    if made.refused is not None:
        raise RefusedError(made.refused, hint(made), repair=made)
    if not made.files:
        return Override("", made)
    if made.index.edits:
        raise OverrideError(
            f"an override does not reach {made.index.file}, which must be corrected", _SERVE
        )
    engine, opening = next(iter(patched(subject, made.files).openings.items()))
    unreached = _unreached([case for case in cases if case.engine is engine], selection)
    if unreached.decisive:
        raise OverrideError(
            f"an override does not reach the draft of {engine.title} "
            f"{', '.join(unreached.decisive)}, which reads config.json again",
            _SERVE,
        )
    repaired = opening.require().view
    stated = engine.overriding(repaired)
    if stated is None:
        raise OverrideError(
            f"an override does not reach {repaired.file}, from which {engine.title} reads the "
            "metadata",
            _SERVE,
        )
    value = json.dumps({"quantization_config": dict(stated)}, ensure_ascii=True)
    return Override(value, made, unreached.others)


_SERVE = "use `mtpfix rewrite --output DIR` and serve that folder"


class _Unreached(NamedTuple):
    """Releases whose draft reads the quantization metadata again: those that decide, the others."""

    decisive: tuple[str, ...]
    others: tuple[str, ...]


def _unreached(cases: Sequence[EngineCase], selection: Selection) -> _Unreached:
    """Return the releases that no override reaches."""
    decisive = dict.fromkeys(c.release for c in selection.deciding(cases) if c.reads_its_own)
    others = dict.fromkeys(case.release for case in cases if case.reads_its_own)
    return _Unreached(tuple(decisive), tuple(r for r in others if r not in decisive))
