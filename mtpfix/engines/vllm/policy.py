"""Loads what is known about vLLM: its releases, and one policy file per model family.

What is known of families sits in `mtpfix/data/vllm/`, of a quantization method in its package in
`methods/`; both are parsed into the records of `records/`. Their rows may be limited to releases,
platforms, quantization methods and configurations (`records.condition`); the first row that fits,
or all rows that fit, are taken by `first` and `fitting`. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeVar

import msgspec
from packaging.version import Version

from mtpfix.engines import releases
from mtpfix.engines.releases import select_releases as select
from mtpfix.engines.releases import valid_platforms
from mtpfix.engines.vllm.expression import Value
from mtpfix.engines.vllm.records.condition import EVERY, Condition, specifier
from mtpfix.engines.vllm.records.engine import (
    Engine,
    Evidence,
    OtherDraftRow,
    OtherDrafts,
    Undrafted,
    UndraftedRow,
)
from mtpfix.engines.vllm.records.family import Family, Head, Index
from mtpfix.engines.vllm.records.files import content, parse, read
from mtpfix.engines.vllm.records.method import Method, Schemes
from mtpfix.engines.vllm.records.module import Blocks, ModuleRow
from mtpfix.errors import UnknownError
from mtpfix.model import PLATFORMS, Grade, Platform

_Row = TypeVar("_Row", bound=Condition)


@dataclass(frozen=True, slots=True)
class Context:
    """For what a policy is asked: a release, a platform and a configuration."""

    release: str
    platform: Platform
    fields: Mapping[str, Value]
    """Fields of the (text) configuration, with the engine's defaults filled in."""
    grade: Grade = "run"
    """The evidence for what the policy says of this release and platform."""
    method: str = "compressed-tensors"
    """The quantization method that is in force."""

    def with_fields(self, **fields: Value) -> Context:
        """The same context with more fields, such as `layer`."""
        return replace(self, fields={**self.fields, **fields})


@dataclass(frozen=True, slots=True)
class Policy:
    """What is known about one model family."""

    family: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    record: Family
    """What its file says."""

    @property
    def title(self) -> str:
        """Name of the family, for readers."""
        return self.record.title

    @property
    def text(self) -> str:
        """Key of the nested text configuration; empty: its fields stand at the top."""
        return self.record.text

    @property
    def kin(self) -> str:
        """The family whose MTP block is the same, but for the beginnings of names; or empty."""
        return self.record.kin

    def reads_its_own(self, context: Context) -> bool:
        """Whether the draft resolves the metadata of its own checkpoint, not the target's."""
        return first(self.record.own_config, context) is not None


# --- files -------------------------------------------------------------------


@lru_cache(maxsize=1)
def _index() -> Index:
    return read("families.json", Index)


def _heads() -> Mapping[str, Head]:
    return _index().families


@cache
def policy(family: str) -> Policy:
    """The policy of `family`.

    Raises:
        UnknownError: there is no such family.
    """
    head = _heads().get(family)
    if head is None:
        known = ", ".join(sorted(_heads()))
        raise UnknownError(f"unknown family {family!r}", f"known families: {known}")
    record = read(f"families/{family}/policy.json", Family)
    return Policy(family, head.architectures, head.model_types, record)


def families() -> tuple[str, ...]:
    """Names of all families that have a policy, sorted."""
    return tuple(sorted(_heads()))


def recognise(config: Mapping[str, Value]) -> str | None:
    """The family of a `config.json`, by architecture, or None if no policy knows it.

    vLLM resolves the target by `architectures`; `model_type` counts only where a
    configuration names no architecture.
    """
    named = config.get("architectures")
    architectures = [a for a in named if isinstance(a, str)] if isinstance(named, list) else []
    for family, head in _heads().items():
        if set(architectures) & set(head.architectures):
            return family
    if architectures:
        return None
    model_type = config.get("model_type")
    return next((f for f, head in _heads().items() if model_type in head.model_types), None)


def declares_mtp(config: Mapping[str, Value]) -> bool:
    """Return whether a `config.json`, of whatever family, says that the model has MTP layers."""
    nested = (config.get(key) for key in ("text_config", "mtp_config"))
    places = [config, *(value for value in nested if isinstance(value, Mapping))]
    return any(place.get(key) for place in places for key in _index().mtp_keys)


@lru_cache(maxsize=1)
def mtp_keys() -> tuple[str, ...]:
    """Keys of `config.json` that declare MTP layers, in whatever family."""
    return _index().mtp_keys


def undrafted() -> tuple[UndraftedRow, ...]:
    """Return why there is no policy for architectures and model types that vLLM knows."""
    return read("undrafted.json", Undrafted).rows


def reason(config: Mapping[str, Value]) -> str | None:
    """Return why no policy knows the model of a `config.json`; None where that is not stated."""
    named = config.get("architectures")
    names = [*(named if isinstance(named, list) else ()), config.get("model_type")]
    for row in undrafted():
        if any(name in row.names for name in names) or set(row.keys) & set(config):
            return row.reason
    return None


@lru_cache(maxsize=1)
def drafts() -> tuple[OtherDraftRow, ...]:
    """Drafts that are not MTP."""
    return read("drafts.json", OtherDrafts).drafts


@lru_cache(maxsize=1)
def evidence() -> Evidence:
    """What is known by running vLLM."""
    return read("evidence.json", Evidence)


_UNQUANTIZED = Method()
"""What is known of a checkpoint without metadata: nothing is quantized."""


@cache
def method(name: str) -> Method:
    """What is known about a quantization method; the empty name stands for no metadata."""
    if not name:
        return _UNQUANTIZED
    file = f"methods/{name}.json"
    own = read(file, Method)
    if not own.like:
        return own
    stated = parse(content(file), dict[str, msgspec.Raw], file).keys() - {"$schema"}
    return msgspec.structs.replace(method(own.like), **{key: getattr(own, key) for key in stated})


@lru_cache(maxsize=1)
def schemes() -> Schemes:
    """The schemes of compressed-tensors."""
    return read("methods/schemes.json", Schemes)


@lru_cache(maxsize=1)
def _blocks() -> Mapping[str, tuple[ModuleRow, ...]]:
    return read("blocks.json", Blocks).blocks


def block(name: str) -> tuple[ModuleRow, ...]:
    """The rows of a building block that several families share."""
    return _blocks()[name]


# --- releases ----------------------------------------------------------------


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return read("releases.json", Engine)


def covered_releases() -> tuple[str, ...]:
    """The releases that policies speak about, oldest first, one a minor version."""
    return _engine().covered


def select_releases(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return releases for what a user typed; see `engines.releases.select_releases`."""
    return select(wanted, covered_releases(), "vLLM")


def known_releases(policy: Policy, wanted: Iterable[str]) -> tuple[str, ...]:
    """`select_releases`, kept to those in which vLLM has the family.

    Raises:
        UnknownError: none is left.
    """
    scope = policy.record.releases
    chosen = tuple(r for r in select_releases(wanted) if in_releases(scope, r))
    if not chosen:
        raise UnknownError(
            f"vLLM has no MTP draft for {policy.title} in the selected releases",
            f"choose a release that matches {scope}",
            code="MTP903",
        )
    return chosen


def known_platforms(policy: Policy, wanted: Iterable[Platform]) -> tuple[Platform, ...]:
    """The wanted platforms on which vLLM has a draft for the family.

    Raises:
        UsageError: a name is that of no platform.
        UnknownError: there is none on any of them.
    """
    names = valid_platforms(wanted)
    drafted = policy.record.platforms or PLATFORMS
    chosen = tuple(name for name in names if name in drafted)
    if not chosen:
        raise UnknownError(
            f"vLLM has no MTP draft for {policy.title} on {', '.join(names)}",
            f"choose one of {', '.join(drafted)}",
            code="MTP903",
        )
    return chosen


def has_draft(policy: Policy, release: str, platform: Platform) -> bool:
    """Whether vLLM has an MTP draft for the family in this release, on this platform."""
    on = platform in (policy.record.platforms or PLATFORMS)
    return on and in_releases(policy.record.releases, release)


def is_newer(release: str) -> bool:
    """Return whether a release is newer than all that is known: the newest rules are assumed."""
    return releases.is_newer(release, covered_releases())


# --- choosing rows -----------------------------------------------------------


@lru_cache(maxsize=4096)
def in_releases(releases: str, release: str) -> bool:
    """Whether `release` is one that a specifier speaks of; patch versions do not count."""
    major, minor = Version(release).release[:2]
    return Version(f"{major}.{minor}") in specifier(releases)


def fits(row: Condition, context: Context) -> bool:
    """Whether a policy row speaks about this release, platform, method and configuration."""
    if row.releases is not EVERY and not in_releases(row.releases, context.release):
        return False
    if row.platforms is not None and context.platform not in row.platforms:
        return False
    if row.methods is not None and context.method not in row.methods:
        return False
    if context.method in row.except_:
        return False
    return row.when is None or bool(row.when.value(context.fields))


def fitting(rows: Iterable[_Row], context: Context) -> Iterator[_Row]:
    """The rows that fit, in order."""
    return (row for row in rows if fits(row, context))


def first(rows: Iterable[_Row], context: Context) -> _Row | None:
    """The first row that fits, or None."""
    return next(fitting(rows, context), None)


def grade(policy: Policy, context: Context) -> Grade:
    """The evidence for a family under one method, in one release, on one platform.

    Recordings are made of what CUDA builds; the rest is read in the sources, and what
    holds for the newest release is assumed for those after it.
    """
    if is_newer(context.release):
        return "assumed"
    row = first(policy.record.grades, context)
    if row is not None:
        return row.value
    recorded = evidence().recorded.get(context.method, {}).get(policy.family, ())
    minors = {Version(release).release[:2] for release in recorded}
    known = context.platform == "cuda" and Version(context.release).release[:2] in minors
    return "run" if known else "read"


def rules(key: str, release: str) -> Any:
    """A rule of the engine itself, such as `no_target`, as it is in `release`."""
    for row in getattr(_engine().rules, key):
        if in_releases(row.releases, release):
            return row.value
    raise UnknownError(f"no rule {key!r} for vLLM {release}", "see `mtpfix families`")
