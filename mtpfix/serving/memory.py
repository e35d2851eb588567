"""What is wrong with the draft that a vLLM is about to build, and the metadata that fixes it.

The configuration in memory is judged, not the one on disk: `--hf-overrides` may have changed
it. Everything else is the plan of `mtpfix rewrite`, for one release and one platform.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from mtpfix import facts, targets
from mtpfix.analysis import analyze
from mtpfix.changes.repair import Repair
from mtpfix.changes.rewrite import hint, of_subject
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIG, CONFIG_LIMIT
from mtpfix.checkpoint.source import READ_LIMIT, LocalSource, Source
from mtpfix.checkpoint.wrapped import Wrapped
from mtpfix.delivery.guard import require_harmless
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import Opening, Unsupported
from mtpfix.engines.registry import engine
from mtpfix.errors import UnknownError
from mtpfix.model import Json, ModuleReport, Platform, QuantView, Target
from mtpfix.repair.plan import Options
from mtpfix.report import wording
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.selection import Selection, select
from mtpfix.subject import Subject, open_subject

SHOWN = 3
"""Entries that a line names."""

Model = Literal["target", "draft"]

BESIDE = "hf_quant_config.json"
"""What ModelOpt writes beside `config.json`."""

TOP = "/quantization_config"
"""Where vLLM looks first, and where it puts what it reads from another file."""

_ADDED = ("total_num_heads", "total_num_kv_heads")
"""Keys that vLLM itself writes into metadata of compressed-tensors."""

_REMEDY = "see docs/howto/plugin.md for what the plugin can judge"


@dataclass(frozen=True, slots=True)
class Running:
    """The vLLM that is running."""

    release: str
    platform: Platform
    speculation: str = "mtp"
    """What `--speculative-config` calls the method of the draft."""

    @property
    def selection(self) -> Selection:
        """What is asked: this release on this platform."""
        return select(vllm=[self.release], platforms=[self.platform])


@dataclass(frozen=True, slots=True)
class Metadata:
    """Quantization metadata in memory, and the JSON pointer under which vLLM found it."""

    pointer: str
    value: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Served:
    """One artifact as vLLM has it in memory.

    Attributes:
        name: a folder, or a repo of the Hub.
        revision: the one of the repo; None: its main branch.
        method: the quantization method that vLLM chose; None: it quantizes nothing.
        metadata: what it goes by; None: there is none.
        overrides: what `--hf-overrides` put into the configuration, key by key.
        token: what vLLM was given to log in to the Hub with.
        cache: where vLLM keeps what it downloads; None: where the Hub's own tools do.
    """

    name: str
    revision: str | None = None
    method: str | None = None
    metadata: Metadata | None = None
    overrides: Mapping[str, Json] = field(default_factory=dict)
    token: str | None = None
    cache: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        return Path(self.name).is_dir()

    @property
    def given(self) -> str:
        """How it is given to mtpfix."""
        if self.local:
            return self.name
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def where(self) -> Target:
        """What tells one artifact from another; a folder has no revisions."""
        if self.local:
            return Target("local", self.name)
        return Target("hub", self.name, self.revision)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of one look.

    Attributes:
        said: the end of one line, safe to print.
        metadata: what must stand in memory; None: nothing is to change.
        old: what stands there now.
        models: those whose metadata this is about.
    """

    said: str
    metadata: Metadata | None = None
    old: Metadata | None = None
    models: tuple[Model, ...] = ("target", "draft")


def unjudged(why: str) -> UnknownError:
    """The error for what vLLM does otherwise than mtpfix can follow."""
    return UnknownError(why, _REMEDY)


def judged(target: Served, draft: Served, running: Running) -> Verdict:
    """Judges the draft that vLLM would build, and repairs the metadata.

    A release that is newer than all that is known is judged as the newest, and it is said so.

    Args:
        target: the main model.
        draft: the model that the draft is loaded from; mostly the same.
        running: for which release and platform.

    Raises:
        MtpfixError: it cannot be judged, or cannot be read.
    """
    vllm = engine("vllm")
    verdict = _judged(target, draft, running)
    if (brought := facts.brought()) is not None:
        verdict = replace(verdict, said=f"{verdict.said}. Judged by {inert(str(brought))}")
    if not vllm.is_newer(running.release):
        return verdict
    assumed = (
        f"This is assumed: vLLM {running.release} is newer than {vllm.releases[-1]}, the newest "
        "that mtpfix knows"
    )
    return replace(verdict, said=f"{verdict.said}. {assumed}")


def _judged(target: Served, draft: Served, running: Running) -> Verdict:
    """Return the verdict by what is known of the release, or else of the newest."""
    seen = _seen(target, draft, running)
    subject, served = seen.subject, seen.served
    _same_method(subject, served)
    made = of_subject(seen.source, subject, running.selection, Options())
    _same_draft(made.old.cases, running)
    if not made.files or made.plan.refused is not None:
        return Verdict(_unchanged(made))
    if made.after.engines[0].outcome != "clean":
        # Half a repair could turn a draft that loads into one that does not, or the reverse.
        said = f"nothing is changed, because this would stay wrong: {wording.sentence(made.after)}"
        return Verdict(said + _left(made))
    require_harmless(made)
    repaired = made.new.cases[0].view
    said = f"{_fixed_modules(made)}. {_for_good(served, seen.draft, running)}"
    return Verdict(said, _stated(repaired), served.metadata, models=seen.models)


class _Seen(NamedTuple):
    """What is judged.

    Attributes:
        source: the files of the checkpoint, as they are in memory.
        subject: the checkpoint, or the two of them.
        served: whose metadata the draft is built by.
        models: those in memory that hold this metadata.
        draft: where the draft comes from, if it is built by the metadata of another checkpoint.
    """

    source: Source
    subject: Subject
    served: Served
    models: tuple[Model, ...]
    draft: Served | None = None


def _seen(target: Served, draft: Served, running: Running) -> _Seen:
    """Target and draft, by whose metadata the draft is built.

    Raises:
        UnknownError: both have a part in it, and do not say the same.
    """
    if targets.is_same(target.where, draft.where):
        own = _as_in_memory(target)
        subject = open_subject(own)
        if _reads_its_own(subject, running) and draft.metadata != target.metadata:
            raise UnknownError(
                "the draft reads its own copy of the configuration, which differs in memory from "
                "the target's",
                "leave quantization_config out of --hf-overrides",
            )
        return _Seen(own, subject, target, ("target", "draft"))
    source = _source(draft)
    amended = _Amended(source, draft)
    subject = open_subject(amended)
    if _reads_its_own(subject, running):
        return _Seen(amended, subject, draft, ("draft",))
    own = _as_in_memory(target)
    both = open_subject(own, draft=source)
    return _Seen(own, both, target, ("target",), draft)


def _reads_its_own(subject: Subject, running: Running) -> bool:
    """Whether the draft resolves the quantization configuration of its own artifact."""
    cases = analyze(subject, running.selection).cases
    return any(case.reads_its_own for case in cases)


def _opening(subject: Subject) -> Opening:
    return subject.openings[engine("vllm")]


def _same_draft(cases: Sequence[EngineCase], running: Running) -> None:
    """Refuses a draft of another kind than the tensors in the place of an MTP block are."""
    method = next((case.speculation for case in cases), running.speculation)
    if method != running.speculation:
        raise UnknownError(
            f"vLLM was told that the draft is {inert(running.speculation)}, but its tensors are "
            f"those of {method}",
            f'serve it with --speculative-config \'{{"method": "{method}", …}}\'',
        )


def _same_method(subject: Subject, served: Served) -> None:
    """Refuses a method that `--quantization` put in the place of the one in the metadata."""
    reading = subject.readings[engine("vllm")]
    unknown = isinstance(_opening(subject), Unsupported)
    if reading.view is None and served.method is not None and not unknown:
        raise UnknownError(
            f"vLLM quantizes with {inert(served.method)}, but the checkpoint has no such metadata",
            "leave --quantization out",
        )
    vllm = engine("vllm")
    if reading.view is not None and not vllm.reads_alike(reading.view.method, served.method or ""):
        raise UnknownError(
            f"the metadata is for {inert(reading.view.method)}, but vLLM was told to read it as "
            f"{inert(str(served.method))}",
            "leave --quantization out",
        )


def _stated(view: QuantView) -> Metadata:
    """The repaired metadata, and where it belongs in memory."""
    if view.file == CONFIG:
        return Metadata(view.pointer, view.raw)
    stated = engine("vllm").overriding(view)
    if stated is None:
        raise UnknownError(
            f"vLLM reads the metadata from {inert(view.file)}, whatever is in memory",
            "use `mtpfix rewrite --output DIR` and serve that folder",
        )
    return Metadata(TOP, stated)


# --- one line --------------------------------------------------------------------


def _unchanged(made: Repair) -> str:
    """Why nothing changes."""
    if made.plan.refused is not None:
        return f"refused: {inert(made.plan.refused, PROSE_LIMIT)}"
    grave = next((f for f in made.before.findings if f.severity == "error"), None)
    if made.before.method is None and grave is not None:
        return f"there is no metadata to fix: {inert(grave.message, PROSE_LIMIT)}"
    sign = wording.overall(made.before)
    if sign.mood == "bad" and made.repair_trunk_mends:
        return f"nothing is changed, and {hint(made)}: {wording.sentence(made.before)}"
    if sign.mood == "bad":
        return f"no metadata can fix this: {wording.sentence(made.before)}{_left(made)}"
    if sign.mood == "unsure" and {e.outcome for e in made.before.engines} != {"clean"}:
        return f"could not judge: {wording.sentence(made.before)}"
    return f"nothing to change: {wording.sentence(made.before)}"


def _fixed_modules(made: Repair) -> str:
    """How many modules are fixed, and by which schemes and entries."""
    better = _wrong(made.before.engines[0].modules) - _wrong(made.after.engines[0].modules)
    changes = [
        f"{wording.count(len(entries), 'entry', 'entries')} {verb} ({_named(entries)})"
        for entries, verb in ((made.plan.added, "added"), (made.plan.removed, "removed"))
        if entries
    ]
    if made.plan.schemes:
        given = inert("; ".join(made.plan.schemes), PROSE_LIMIT)
        changes.insert(0, f"{wording.count(len(made.plan.schemes), 'scheme')} given ({given})")
    return f"{wording.count(len(better), 'module')} fixed, {' and '.join(changes)}"


def _wrong(modules: Iterable[ModuleReport]) -> set[str]:
    """Parameter paths of the draft's modules that cannot take what is on disk."""
    draft = (m for m in modules if m.decision.module.part == "draft")
    return {m.decision.module.param for m in draft if m.agrees is False}


def _left(made: Repair) -> str:
    """What stays wrong, and why."""
    left = made.plan.unresolved
    if not left:
        return ""
    first = f"{inert(left[0].module) or 'one without a name'}: {inert(left[0].reason, PROSE_LIMIT)}"
    return f"; not fixed: {wording.count(len(left), 'module')} ({first})"


def _named(entries: tuple[str, ...]) -> str:
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(inert(entry) for entry in entries[:SHOWN]) + more


def _for_good(served: Served, draft: Served | None, running: Running) -> str:
    """The command that makes the same repair in the artifact."""
    command = ["mtpfix", "rewrite", served.given]
    command += [] if draft is None else ["--draft", draft.given]
    command += ["--vllm", running.release, "--platform", running.platform]
    command += ["--write"] if served.local else ["--push-to-hub", "--create-pr"]
    return f"To repair it for good: {inert(shlex.join(command), PROSE_LIMIT)}"


# --- what is in memory -----------------------------------------------------------


def _as_in_memory(served: Served) -> Source:
    """The artifact, with a `config.json` that says what vLLM has in memory."""
    return _Amended(_source(served), served)


def _source(served: Served) -> Source:
    """The files of an artifact."""
    if served.local:
        return LocalSource(served.name)
    targets.parse(f"hf://{served.name}")  # else it comes from somewhere that mtpfix cannot read
    from mtpfix.checkpoint.hub import HubSource  # noqa: PLC0415 - only for a repo

    return HubSource(served.name, served.revision, served.token, served.cache)


class _Amended(Wrapped):
    """A source whose `config.json` says what is in memory; all else is as it is."""

    def __init__(self, source: Source, served: Served) -> None:
        super().__init__(source)
        self._served = served

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes of one file; see `Source.read`."""
        raw = self._source.read(path, limit=limit)
        if path != CONFIG:
            return raw
        config = strict_json.loads(raw, CONFIG)
        beside = None
        if isinstance(config, dict) and BESIDE in self.list():
            beside = strict_json.loads(self._source.read(BESIDE, limit=CONFIG_LIMIT), BESIDE)
        if not isinstance(config, dict):
            return raw  # whoever reads it says so
        in_memory = amended(config, beside, self._served)
        return raw if in_memory == config else json.dumps(in_memory).encode()


def amended(config: Mapping[str, Json], beside: Json, served: Served) -> Mapping[str, Json]:
    """The `config.json` that says what is in memory.

    Args:
        config: as it is on disk.
        beside: what `hf_quant_config.json` holds, which vLLM takes where `config.json` has nothing.
        served: what is in memory.

    Raises:
        UnknownError: the files have metadata, and vLLM has none.
    """
    config = overridden(config, served.overrides)
    stated, found = served.metadata, in_force(config)
    if found is None and isinstance(beside, dict):
        found = Metadata(TOP, beside)
    if found == stated:
        return config
    if stated is None:
        raise UnknownError("vLLM has dropped the quantization metadata of the files", _REMEDY)
    if found is not None and found.pointer == stated.pointer:
        own = {key: stated.value[key] for key in stated.value if _kept(key, found.value)}
        if own == found.value:
            return config
    return _put(config, stated.pointer.strip("/").split("/"), stated.value)


def _kept(key: str, value: Mapping[str, Json]) -> bool:
    """Whether a key in memory counts: not one that vLLM itself has added."""
    return key in value or key not in _ADDED


def in_force(config: Mapping[str, Json]) -> Metadata | None:
    """The metadata that vLLM finds first in a configuration."""
    for pointer in engine("vllm").metadata_pointers:
        value: Json = config
        for key in pointer.strip("/").split("/"):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            return Metadata(pointer, value)
    return None


def overridden(config: Mapping[str, Json], overrides: Mapping[str, Json]) -> dict[str, Json]:
    """A configuration after `--hf-overrides`: what is nested is merged, metadata is replaced."""
    changed = dict(config)
    for key, value in overrides.items():
        nested = key.endswith("_config") and f"/{key}" not in engine("vllm").metadata_pointers
        changed[key] = _merged(changed.get(key), value) if nested else value
    return changed


def _merged(old: Json, new: Json) -> Json:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _put(config: Mapping[str, Json], keys: Sequence[str], value: Json) -> Mapping[str, Json]:
    """A configuration with another value below some keys."""
    first, *rest = keys
    return {**config, first: _put(config.get(first) or {}, rest, value) if rest else value}
