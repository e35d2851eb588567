"""The calls of the library: what is asked of one checkpoint, for the releases that are selected.

Here the pure stages are put together; the edges that they touch are the source (a folder, a repo)
and the delivery. What a user says beside it is turned into a `Reference` and a `Selection` above
(`handle.py`, `cli/`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mtpfix import targets
from mtpfix.advice import advised
from mtpfix.analysis import add_findings, analyze, analyze_shown, verdicts_beside
from mtpfix.changes import declaration, graft, index, rewrite
from mtpfix.changes.metadata import chosen
from mtpfix.changes.repair import Repair
from mtpfix.checkpoint.load import listing
from mtpfix.checkpoint.source import Source
from mtpfix.delivery import Delivered, Delivery
from mtpfix.engines.base import EngineCase
from mtpfix.engines.registry import DEFAULT
from mtpfix.engines.registry import engine as engine_of
from mtpfix.engines.verification import Verification
from mtpfix.errors import OverrideError, UsageError
from mtpfix.grafts.attempts import Precision
from mtpfix.merging import tell_beside
from mtpfix.model import Report
from mtpfix.recipe import Names, advise
from mtpfix.repair.fixes import attach_fixes
from mtpfix.repair.plan import Options
from mtpfix.selection import Selection
from mtpfix.subject import config_of, open_subject
from mtpfix.targets import Reference


def inspect(
    target: Reference,
    selection: Selection,
    *,
    trunk: bool = False,
    values: bool = False,
    fixes: bool = True,
    gate: bool = False,
) -> Report:
    """Return what is on disk, what the engines build, and where they part.

    Nothing is written. Configuration, index and safetensors headers are read, and weights only with
    `values`. What could not be judged is a finding (MTP9xx), not an exception.

    Args:
        target: the checkpoint.
        selection: engines, releases and platforms.
        trunk: whether every module of the target model is reported, or only those that matter.
        values: whether the weights of the MTP block are read, too, and judged (MTP5xx).
        fixes: whether findings are given the edits that fix them: that takes a plan.
        gate: whether it is on what decides alone, with a note on every other engine's verdict.

    Raises:
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    source, other = target.sources()
    subject = open_subject(source, selection.engines, trunk=trunk, draft=other)
    made = (analyze if gate else analyze_shown)(subject, selection, trunk=trunk)
    report = advised(made.report, source) if other is None else made.report
    if gate:
        report = tell_beside(report, verdicts_beside(subject, selection))
    if fixes:
        report = attach_fixes(report, made.cases, subject.files.listing.configs)
        report = rewrite.attach_repairs(report, made.cases, source, subject, selection)
        report = report if other else index.attach(report, source, subject, selection)
        report = rewrite.attach_hint(report, source, subject, selection)
    if not values:
        return report
    from mtpfix.values.read import read_values  # noqa: PLC0415 - few ask for it

    return add_findings(report, read_values(subject, source, other))


def check(target: Reference, selection: Selection, *, values: bool = False) -> Report:
    """Return the report of the gate: its `exit_code` says whether the target may pass.

    It is 0 if all is well, 1 if something is wrong, and 3 if something could not be judged, which
    is no pass. No repair is planned: findings have no edits.

    Args:
        target: the checkpoint.
        selection: engines, releases and platforms.
        values: as for `inspect`.

    Raises:
        MtpfixError: as for `inspect`.
    """
    return inspect(target, selection, values=values, fixes=False, gate=True)


def plan(target: Reference, selection: Selection, options: Options) -> Repair:
    """Return the fewest edits that make the metadata right, and the proof; nothing is written.

    Args:
        target: the checkpoint.
        selection: what it is planned for, and what must be right.
        options: what may be changed.

    Returns:
        The repair. It is right where its `exit_code` is 0; `refused` and `plan.unresolved` say
        what it could not do.

    Raises:
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read.
    """
    return rewrite.plan(*target.sources(), selection, options)


def repair(
    target: Reference, selection: Selection, options: Options, delivery: Delivery
) -> Delivered:
    """Plan the repair of the metadata and deliver it.

    Raises:
        RefusedError: every repair would do harm, or no release that decides would be better.
        ConflictError: a file changed since it was read.
        WriteError: a file could not be written; the old ones are untouched.
        MtpfixError: as for `plan`.
    """
    target = delivery.prepare(target, "rewrite")
    return delivery.deliver(plan(target, selection, options))


def plan_graft(
    target: Reference,
    base: Reference,
    selection: Selection,
    options: Options,
    precision: Precision = "auto",
) -> Repair:
    """Return what a graft would bring and write; see `changes.graft.plan`.

    Args:
        target: the checkpoint that lost its block.
        base: the model that it was made from.
        selection: what it is planned for, and what must be right.
        options: what may be changed in the metadata.
        precision: what becomes of a block in FP8 or MXFP4.

    Raises:
        UsageError: the base is the target itself.
        MtpfixError: as for `changes.graft.plan`.
    """
    ours, theirs = target.source, base.source
    if targets.is_same(ours.target(), theirs.target()):
        raise UsageError("the base is the target itself", "give the model that it was made from")
    return graft.plan(ours, theirs, selection, options, precision)


def bring_block(
    target: Reference,
    base: Reference,
    selection: Selection,
    options: Options,
    *,
    precision: Precision,
    delivery: Delivery,
) -> Delivered:
    """Plan a graft and deliver it: shard, index and metadata together.

    Raises:
        RefusedError: no way to bring the block is clean for what decides, or its values make it
            useless.
        MtpfixError: as for `plan_graft` and `repair`.
    """
    target = delivery.prepare(target, "graft")
    return delivery.deliver(plan_graft(target, base, selection, options, precision))


def drop(target: Reference, selection: Selection, delivery: Delivery) -> Delivered:
    """Take the declaration of the MTP block out of `config.json`, where the block is not to be had.

    Raises:
        RefusedError: no edit does it, or it would change the target model.
        MtpfixError: as for `repair`.
    """
    target = delivery.prepare(target, "graft --drop")
    return delivery.deliver(declaration.plan(target.source, selection))


def base_of(target: Reference) -> str:
    """Return the base that the model cards lead to: the first of the line with an MTP block.

    Raises:
        UsageError: they lead to none.
        MtpfixError: the target cannot be read.
    """
    from mtpfix.checkpoint import base_model  # noqa: PLC0415 - few ask for it

    trail = base_model.follow(
        target.source,
        lambda repo: targets.source(f"hf://{repo}", None, target.token),
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
    return bool(engine_of(DEFAULT).read(found, config_of(found)).block.tensors)


def names_of(
    target: Reference,
    selection: Selection,
    options: Options,
    *,
    method: str = "compressed-tensors",
    stored: str | None = None,
) -> Names:
    """Return the construction-time names of the MTP block, and the entries for a recipe.

    Args:
        target: the checkpoint, or a `config.json`; no weights are needed.
        selection: what the entries must be right for.
        options: `engine_names_only` leaves the checkpoint's own spelling out.
        method: the quantization method that the recipe is for, or a tool that writes it, such as
            `auto-round`.
        stored: how the recipe is to store the MTP block, such as `fp8-block`; None: unquantized.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
    """
    source = targets.source(_folder(target.target), target.revision, target.token)
    found = listing(source, need_weights=False, need_all=False)
    allowed = chosen(options, explicit=selection.explicit)
    return advise(config_of(found), selection, options=allowed, method=method, stored=stored)


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


def verify(
    target: Reference, selection: Selection, *, python: str | None = None, timeout: float = 600
) -> Verification:
    """Ask the engine of an interpreter itself about a target.

    Nothing is loaded: modules are built on the meta device, in the engine's own order.

    Args:
        target: the checkpoint; the engine never sees its token.
        selection: the engine, whatever its releases.
        python: path of an interpreter that has it; None: this one.
        timeout: seconds that it may take to answer.

    Raises:
        UnknownError: the engine died, or mtpfix does not know the family.
        MtpfixError: the target cannot be read.
    """
    source, other = target.sources()
    (asked,) = selection.engines
    opening = open_subject(source, selection.engines, draft=other).openings[asked]
    return asked.verify(opening.require(), python=python, timeout=timeout)


# --- at serve time ----------------------------------------------------------------------


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


def override(target: Reference, selection: Selection, options: Options) -> Override:
    """Return the repair as a value for vLLM's `--hf-overrides`.

    vLLM puts what it is given in the place of the whole `quantization_config`, so the
    complete, repaired one is returned. It stands at the top of the configuration, where
    vLLM looks first, whatever key the file has it under: below another key vLLM would
    merge it with the old one, and what is to go would stay.

    Args:
        target: the checkpoint.
        selection: what the value must be right for; of the first engine.
        options: what may be changed.

    Raises:
        OverrideError: the repair is in a file, or read by a draft, that no override reaches.
        RefusedError: every repair would do harm.
        MtpfixError: as for `plan`.
    """
    source, other = target.sources()
    made = rewrite.plan(source, other, selection, options)
    if made.refusal is not None:
        raise made.refusal
    if not made.files:
        return Override("", made)
    if made.index.edits:
        raise OverrideError(
            f"an override does not reach {made.index.file}, which must be corrected", _SERVE
        )
    engine = selection.engines[0]
    unreached = _unreached([c for c in made.old.cases if c.engine is engine], selection)
    if unreached.decisive:
        raise OverrideError(
            f"an override does not reach the draft of {engine.title} "
            f"{', '.join(unreached.decisive)}, which reads config.json again",
            _SERVE,
        )
    repaired = next(case.view for case in made.new.cases if case.engine is engine)
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
