"""Loads what is known about vLLM: its releases, and one policy file per model family.

What is known of families sits in `mtpfix/data/vllm/`, of a quantization method in its package in
`methods/`; both are parsed into the records of `records/`. Their rows may be limited to releases,
platforms, quantization methods and configurations (`records.condition`); the first row that fits,
or all rows that fit, are taken by `first` and `fitting`. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

import msgspec
from packaging.version import Version

from mtpfix.engines import releases
from mtpfix.engines.policies import policy as policies
from mtpfix.engines.policies.context import MINOR, Context, first, in_releases
from mtpfix.engines.policies.expression import Value
from mtpfix.engines.policies.family import Head, Index
from mtpfix.engines.policies.files import PolicyFiles, parse
from mtpfix.engines.policies.module import Blocks, ModuleRow
from mtpfix.engines.releases import select_releases as select
from mtpfix.engines.releases import valid_platforms
from mtpfix.engines.vllm.records.engine import (
    Engine,
    Evidence,
    OtherDraftRow,
    OtherDrafts,
    UndeclaredBlock,
    UndeclaredBlocks,
    Undrafted,
    UndraftedRow,
)
from mtpfix.engines.vllm.records.family import Family
from mtpfix.engines.vllm.records.method import Method, Schemes
from mtpfix.errors import UnknownError
from mtpfix.model import Grade, Kind, Platform

PLATFORMS: tuple[Platform, ...] = ("cuda", "rocm", "xpu", "cpu")
"""The platforms that rows speak of: what vLLM builds hangs on no GPU's compute capability."""


class Policy(policies.Policy[Family]):
    """What is known about one model family."""

    __slots__ = ()

    @property
    def speculation(self) -> str:
        """What `--speculative-config` calls the method of the draft."""
        return self.record.speculation

    def serving(self, context: Context) -> tuple[str, ...]:
        """Return how to serve a draft that is not MTP, in sentences; none where it is."""
        row = next((row for row in drafts() if row.method == self.speculation), None)
        if row is None:
            return ()
        said = (
            f"the draft of this checkpoint is {row.title}, not MTP: serve it with "
            f'`--speculative-config \'{{"method": "{row.method}", …}}\'`; with the method `mtp` '
            "vLLM builds another draft, which does not take these tensors"
        )
        beside = first(self.record.serving, context)
        return (said,) if beside is None else (said, beside.value)

    def reads_its_own(self, context: Context) -> bool:
        """Return whether the draft resolves the metadata of its own checkpoint."""
        return first(self.record.own_config, context) is not None


FILES = PolicyFiles("vllm")
"""What is known of vLLM."""


# --- files -------------------------------------------------------------------


@lru_cache(maxsize=1)
def index() -> Index:
    """The families that vLLM drafts and a policy speaks of."""
    return FILES.read("families.json", Index)


def _heads() -> Mapping[str, Head]:
    return index().families


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
    return Policy(family, head.architectures, head.model_types, _record(family), KNOWLEDGE)


@cache
def _record(family: str) -> Family:
    """The record of a family, with what it shares with another of the same target model."""
    file = f"families/{family}/policy.json"
    own = FILES.read(file, Family)
    return _completed(file, own, _record(own.like)) if own.like else own


_Known = TypeVar("_Known", Family, Method)


def _completed(file: str, own: _Known, other: _Known) -> _Known:
    """Return a record with the fields of another where its file states none."""
    stated = parse(FILES.content(file), dict[str, msgspec.Raw], file).keys() - {"$schema"}
    return msgspec.structs.replace(other, **{key: getattr(own, key) for key in stated})


def families() -> tuple[str, ...]:
    """Names of all families that have a policy, sorted."""
    return tuple(sorted(_heads()))


def recognise(config: Mapping[str, Value], tensors: Iterable[str] = ()) -> str | None:
    """The family of a `config.json`, or None if no policy knows it; see `Index.recognise`."""
    return index().recognise(config, tensors)


@lru_cache(maxsize=1)
def mtp_keys() -> tuple[str, ...]:
    """Keys of `config.json` that declare MTP layers, in whatever family."""
    return index().mtp_keys


def undrafted() -> tuple[UndraftedRow, ...]:
    """Return why there is no policy for architectures and model types that vLLM knows."""
    return FILES.read("undrafted.json", Undrafted).rows


def reason(config: Mapping[str, Value]) -> str | None:
    """Return why no policy knows the model of a `config.json`; None where that is not stated."""
    named = config.get("architectures")
    names = [*(named if isinstance(named, list) else ()), config.get("model_type")]
    for row in undrafted():
        if any(name in row.names for name in names) or set(row.keys) & set(config):
            return row.reason
    return None


def undeclared_block(family: str, release: str) -> UndeclaredBlock | None:
    """Return what the target model makes of an MTP block that is not declared; None: unknown."""
    rows = FILES.read("undeclared.json", UndeclaredBlocks).rows
    held = (r for r in rows if family in r.families and in_releases(r.releases, release))
    return next(held, None)


@lru_cache(maxsize=1)
def drafts() -> tuple[OtherDraftRow, ...]:
    """Drafts that are not MTP."""
    return FILES.read("drafts.json", OtherDrafts).drafts


@lru_cache(maxsize=1)
def evidence() -> Evidence:
    """What is known by running vLLM."""
    return FILES.read("evidence.json", Evidence)


_UNQUANTIZED = Method()
"""What is known of a checkpoint without metadata: nothing is quantized."""


@cache
def method(name: str) -> Method:
    """What is known about a quantization method; the empty name stands for no metadata."""
    if not name:
        return _UNQUANTIZED
    file = f"methods/{name}.json"
    own = FILES.read(file, Method)
    return _completed(file, own, method(own.like)) if own.like else own


@lru_cache(maxsize=1)
def schemes() -> Schemes:
    """The schemes of compressed-tensors."""
    return FILES.read("methods/schemes.json", Schemes)


@lru_cache(maxsize=1)
def _blocks() -> Mapping[str, tuple[ModuleRow, ...]]:
    return FILES.read("blocks.json", Blocks).blocks


# --- releases ----------------------------------------------------------------


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return FILES.read("releases.json", Engine)


def covered_releases() -> tuple[str, ...]:
    """The releases that policies speak about, oldest first, one a minor version."""
    return _engine().covered


def lacks_method(method: str, release: str) -> bool:
    """Return whether a release is known to have no quantization method of this name."""
    named = _engine().methods.get(method)
    return not is_newer(release) and (named is None or not in_releases(named, release))


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
    names = tuple(dict.fromkeys(_known(name) for name in valid_platforms(wanted)))
    drafted = policy.record.platforms or PLATFORMS
    chosen = tuple(name for name in names if name in drafted)
    if not chosen:
        raise UnknownError(
            f"vLLM has no MTP draft for {policy.title} on {', '.join(names)}",
            f"choose one of {', '.join(drafted)}",
            code="MTP903",
        )
    return chosen


def _known(platform: Platform) -> Platform:
    """Return a platform as rows name it."""
    return "cuda" if platform == "cuda:10.0" else platform


def has_draft(policy: Policy, release: str, platform: Platform) -> bool:
    """Whether vLLM has an MTP draft for the family in this release, on this platform."""
    on = platform in (policy.record.platforms or PLATFORMS)
    return on and in_releases(policy.record.releases, release)


def is_newer(release: str) -> bool:
    """Return whether a release is newer than all that is known: the newest rules are assumed."""
    return releases.is_newer(release, covered_releases())


# --- evidence, and the engine's own rules --------------------------------------------


def grade(policy: policies.Policy[Any], context: Context) -> Grade:
    """The evidence for a family under one method, in one release, on one platform.

    Recordings are made of what CUDA builds; the rest is read in the sources, and what
    holds for the newest release is assumed for those after it.
    """
    if is_newer(context.release):
        return "assumed"
    said: Family = policy.record
    row = first(said.grades, context)
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


_CLASS_OF_KIND: Mapping[Kind, str] = {
    "lm_head": "ParallelLMHead",
    "embedding": "VocabParallelEmbedding",
}


class Knowledge(policies.Knowledge):
    """What is known of vLLM whatever the family."""

    depth = MINOR

    @property
    def newest(self) -> str:
        """The newest release that is known."""
        return covered_releases()[-1]

    def block(self, name: str) -> tuple[ModuleRow, ...]:
        """Return the rows of a building block that several families share."""
        return _blocks()[name]

    def class_of(self, kind: Kind, release: str) -> str:
        """Return the class of a module whose row names none."""
        if kind == "experts":
            name: str = rules("experts_class", release)
            return name
        return _CLASS_OF_KIND.get(kind, "")

    def grade(self, policy: policies.Policy[Any], context: Context) -> Grade:
        """Return the evidence for a family under one method, in one release, on one platform."""
        return grade(policy, context)

    def method(self, policy: policies.Policy[Any], context: Context) -> str:
        """Return the method that is in force: a release may hand metadata on to another."""
        known: Family = policy.record
        row = first(known.rereads, context)
        return context.method if row is None else row.method


KNOWLEDGE = Knowledge()
