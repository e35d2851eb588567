"""The library's calls: read a target, judge it, plan and make the repair.

Here the pure stages are put together; the edges that they touch are the source
(a folder), and the writer. `mtpfix/__init__.py` re-exports what is public.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtpfix import quant, rules
from mtpfix.advice import Names, advise
from mtpfix.checkpoint import strict
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import LocalSource, Source
from mtpfix.engines.vllm import judge, names, policy
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import BrokenFileError, RefusedError, UnknownError
from mtpfix.model import (
    PLATFORMS,
    Checkpoint,
    EngineReport,
    Finding,
    JsonFile,
    Listing,
    ModelInfo,
    Platform,
    QuantView,
    Report,
)
from mtpfix.repair import patch, write
from mtpfix.repair.plan import Options, Plan, plan as make_plan
from mtpfix.rules.evidence import Evidence

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


@dataclass(frozen=True)
class _Opened:
    """A target, read as far as it is needed."""

    listing: Listing
    policy: Policy | None
    view: QuantView | None
    method: str | None
    checkpoint: Checkpoint
    unknown: UnknownError | None = None


# --- public ------------------------------------------------------------------


def inspect(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = NEWEST,
    platforms: Iterable[Platform] = ("cuda",),
    trunk: bool = False,
) -> Report:
    """What is on disk, what vLLM builds, and where they part.

    Args:
        target: a folder.
        vllm: releases (`0.32.0`), specifiers (`>=0.28,<0.34`), `newest` or `all`.
        platforms: the platforms to judge for.
        trunk: whether every trunk module is reported, or only those that matter.

    Raises:
        MtpfixError: the target cannot be read; every subclass has an exit code and a remedy.
    """
    return _report(_open(LocalSource(target), trunk=trunk), tuple(vllm), tuple(platforms), trunk)


def check(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = NEWEST,
    platforms: Iterable[Platform] = ("cuda",),
) -> Report:
    """The gate: as `inspect`; `Report.exit_code` says whether the target may pass."""
    return inspect(target, vllm=vllm, platforms=platforms)


def plan(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> Repair:
    """The fewest edits that are right for every selected release, and the proof.

    Raises:
        UnknownError: the family, the method or a release is not covered.
        MtpfixError: the target cannot be read.
    """
    opened = _open(LocalSource(target))
    if opened.unknown is not None:
        raise opened.unknown
    before = _report(opened, tuple(vllm), tuple(platforms), trunk=False)
    if opened.view is None or opened.policy is None:
        return Repair(before, before, Plan(_no_view()), {}, "")
    made = make_plan(_cases(opened, tuple(vllm), tuple(platforms)), opened.view, options)
    files = _patched(opened.listing.configs, made)
    reread = _reread(opened, files)
    after = _report(reread, tuple(vllm), tuple(platforms), trunk=False) if files else before
    diff = "".join(patch.diff(old, new, name) for name, (old, new) in files.items())
    return Repair(before, after, made, files, diff)


def rewrite(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
    output: Path | None = None,
    backup: bool = True,
) -> Repair:
    """Plans the repair and writes it: into the folder itself, or as a new folder.

    Args:
        output: where to make a new folder of links with the repaired JSON; None: in place.
        backup: keep the old file beside the new one.

    Raises:
        RefusedError: something is wrong and every repair would do harm.
        ConflictError: a file changed since it was read.
        WriteError: a file could not be written; the old ones are untouched.
        MtpfixError: as for `plan`.
    """
    made = plan(target, vllm=vllm, platforms=platforms, options=options)
    if made.plan.refused is not None:
        raise RefusedError(made.plan.refused, "see `mtpfix inspect` for each module")
    prove(made)
    if output is not None:
        write.overlay(Path(target), output, {name: new for name, (_, new) in made.files.items()})
    elif made.files:
        write.write(Path(target), made.files, backup=backup)
    return made


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
    from compressed_tensors.quantization import QuantizationConfig  # noqa: PLC0415 - heavy

    place = quant.find({name: JsonFile(name, raw, strict.loads(raw, name))})
    if place is None:
        return False
    try:
        QuantizationConfig.model_validate(dict(place.value))
    except ValueError:
        return False
    return True


def names_of(
    target: str | Path,
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> Names:
    """Construction-time names of the MTP block, and the entries for a calibration recipe.

    Args:
        target: a folder, or a `config.json`; no weights are needed.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
    """
    path = Path(target)
    folder = path.parent if path.is_file() else path
    found = listing(LocalSource(folder), need_weights=False)
    config = found.configs["config.json"].value
    if not isinstance(config, dict):
        raise BrokenFileError("config.json is not an object", "give the config.json of a model")
    return advise(config, vllm=vllm, platforms=tuple(platforms), options=options)


def override(
    target: str | Path = ".",
    *,
    vllm: Iterable[str] = ALL,
    platforms: Iterable[Platform] = PLATFORMS,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> str:
    """The repair as a value for vLLM's `--hf-overrides`; empty when nothing need change.

    vLLM replaces the whole `quantization_config` with what it is given, so the
    complete, repaired one is returned.

    Raises:
        UnknownError: the metadata stands where an override has not been tried.
        MtpfixError: as for `plan`.
    """
    made = plan(target, vllm=vllm, platforms=platforms, options=options)
    if made.plan.refused is not None:
        raise RefusedError(made.plan.refused, "see `mtpfix inspect` for each module")
    if not made.files:
        return ""
    if made.plan.view.pointer != "/quantization_config":
        raise UnknownError(
            f"overriding {made.plan.view.pointer} has not been tried on a real vLLM",
            "use `mtpfix rewrite --output DIR` and serve that folder",
        )
    _, new = made.files["config.json"]
    value = strict.loads(new, "config.json")["quantization_config"]
    return json.dumps({"quantization_config": value}, ensure_ascii=True)


# --- reading -----------------------------------------------------------------


def _open(source: Source, *, trunk: bool = False) -> _Opened:
    """Reads configuration and index, then the headers of the shards that matter."""
    found = listing(source)
    config = found.configs["config.json"].value
    if not isinstance(config, dict):
        config = {}
    family = policy.recognise(config)
    known = policy.policy(family) if family is not None else None
    place = quant.find(found.configs)
    method = quant.method_of(place) if place is not None else None
    unknown: UnknownError | None = None
    view: QuantView | None = None
    if place is not None and known is None:
        unknown = _unknown_family(config)
    elif place is not None:
        try:
            view = quant.read(place)
        except UnknownError as error:
            unknown = error
    wanted = _wanted(found, known, config, trunk) if known is not None else ()
    checkpoint = open_shards(source, found, wanted)
    return _Opened(checkpoint.listing, known, view, method, checkpoint, unknown)


def _unknown_family(config: Mapping[str, object]) -> UnknownError:
    named = config.get("architectures")
    shown = ", ".join(str(a)[:80] for a in named) if isinstance(named, list) else "none"
    return UnknownError(
        f"no policy for this model: architectures {shown}, model_type {config.get('model_type')!r:.80}",
        "see `mtpfix families` for what is covered",
    )


def _wanted(
    found: Listing, known: Policy, config: Mapping[str, object], trunk: bool
) -> Sequence[str]:
    """Names of the tensors whose headers are needed: the MTP block's, or all of them."""
    if trunk:
        return tuple(found.shards)
    context = names.context(known, config, policy.covered_releases()[-1], "cuda")
    roots = names.disk_roots(known, context)
    draft = names.modules(known, context, "draft")
    lone = {f"{member}.weight" for m in draft for member in m.members if "*" not in member}
    return tuple(name for name in found.shards if name.startswith(roots) or name in lone)


# --- judging -----------------------------------------------------------------


def _cases(
    opened: _Opened, vllm: Sequence[str], platforms: Sequence[Platform]
) -> tuple[Case, ...]:
    """One case for each selected release and platform that the policy tells apart."""
    assert opened.policy is not None  # noqa: S101 - callers have checked
    config = opened.listing.configs["config.json"].value
    inventory = Inventory(opened.checkpoint)
    cases: list[Case] = []
    for release in policy.known_releases(opened.policy, vllm):
        for platform in platforms:
            context = names.context(opened.policy, config, release, platform)
            names.counts(opened.policy, context)
            cases.append(Case(opened.policy, context, inventory))
    return tuple(cases)


def _report(
    opened: _Opened, vllm: Sequence[str], platforms: Sequence[Platform], trunk: bool
) -> Report:
    if opened.unknown is not None:
        return _could_not_judge(opened, opened.unknown)
    if opened.view is None or opened.policy is None:
        return _nothing_to_judge(opened)
    try:
        cases = _cases(opened, vllm, platforms)
        evidence = _evidence(opened, cases)
    except UnknownError as error:
        return _could_not_judge(opened, error)
    findings = rules.run(evidence)
    engines = tuple(_shown(item, trunk) for item in evidence)
    notes = ()
    if all(engine.outcome == "no_mtp" for engine in engines):
        notes = ("config.json declares no MTP layers: there is no draft to judge",)
    return Report(
        target=opened.listing.target,
        model=_model(opened, cases[-1]),
        method=opened.method,
        quant_files=opened.view.files,
        engines=engines,
        findings=findings,
        exit_code=_exit_code(findings, engines),
        notes=notes,
    )


def _evidence(opened: _Opened, cases: Iterable[Case]) -> tuple[Evidence, ...]:
    assert opened.view is not None  # noqa: S101 - callers have checked
    line_of = _lines(opened.listing.configs)
    view = opened.view
    return tuple(
        Evidence(case, view, judge.report(case, view), opened.checkpoint, line_of)
        for case in cases
    )


def _shown(item: Evidence, trunk: bool) -> EngineReport:
    """The engine's report with the trunk modules that matter, or all of them."""
    if trunk:
        return item.report
    return judge.without_quiet_trunk(item.report)


def _lines(configs: Mapping[str, JsonFile]) -> Callable[[str, str], int | None]:
    cache: dict[tuple[str, str], int | None] = {}

    def line_of(file: str, pointer: str) -> int | None:
        if file not in configs or not pointer:
            return None
        if (file, pointer) not in cache:
            cache[file, pointer] = patch.line_of(configs[file].raw, pointer)
        return cache[file, pointer]

    return line_of


def _model(opened: _Opened, case: Case | None) -> ModelInfo:
    config = opened.listing.configs["config.json"].value
    named = config.get("architectures") if isinstance(config, dict) else None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    info = ModelInfo(
        family=opened.policy.family if opened.policy is not None else None,
        model_type=model_type if isinstance(model_type, str) else None,
        architectures=tuple(a for a in named if isinstance(a, str)) if isinstance(named, list) else (),
    )
    if case is None:
        return info
    layers, mtp_layers = names.counts(case.policy, case.context)
    draft = case.policy.pick("draft_class", case.context)
    return replace(
        info,
        draft_class=None if draft is None else draft["value"],
        num_hidden_layers=layers,
        mtp_layers=mtp_layers,
    )


def _nothing_to_judge(opened: _Opened) -> Report:
    note = "config.json has no quantization_config: vLLM builds everything unquantized, nothing to judge"
    return Report(opened.listing.target, _model(opened, None), None, (), (), (), 0, (note,))


def _could_not_judge(opened: _Opened, error: UnknownError) -> Report:
    code = "MTP901" if opened.policy is None else "MTP902" if opened.view is None else "MTP903"
    finding = Finding(code, "error", "run", f"could not judge: {error.message}; {error.remedy}")
    return Report(
        target=opened.listing.target,
        model=_model(opened, None),
        method=opened.method,
        quant_files=opened.view.files if opened.view is not None else (),
        engines=(),
        findings=(finding,),
        exit_code=UnknownError.exit_code,
        notes=(),
    )


def _exit_code(findings: Sequence[Finding], engines: Sequence[EngineReport]) -> int:
    if rules.worst(findings) == "error":
        return 1
    if any(engine.outcome == "unknown" for engine in engines):
        return UnknownError.exit_code
    return 0


# --- repairing ---------------------------------------------------------------


def _patched(
    configs: Mapping[str, JsonFile], made: Plan
) -> Mapping[str, tuple[bytes, bytes]]:
    files: dict[str, tuple[bytes, bytes]] = {}
    for name in dict.fromkeys(edit.file for edit in made.edits):
        old = configs[name].raw
        files[name] = (old, patch.apply(old, [e for e in made.edits if e.file == name]))
    return files


def _reread(opened: _Opened, files: Mapping[str, tuple[bytes, bytes]]) -> _Opened:
    """The target as it would be read after the edits: parsed again from the new bytes."""
    configs = dict(opened.listing.configs)
    for name, (_, new) in files.items():
        configs[name] = JsonFile(name, new, strict.loads(new, name))
    place = quant.find(configs)
    found = replace(opened.listing, configs=configs)
    checkpoint = replace(opened.checkpoint, listing=found)
    view = quant.read(place) if place is not None else None
    return replace(opened, listing=found, checkpoint=checkpoint, view=view)


def _no_view() -> QuantView:
    return QuantView("", "config.json", "", (), "", (), None)
