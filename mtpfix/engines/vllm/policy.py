"""Loads what is known about vLLM: its releases, and one policy file per model family.

What is known of families sits in `mtpfix/data/vllm/`, of a quantization method in its package
in `methods/`. A policy row may be limited to
releases (`"releases": ">=0.24,<0.30"`), to platforms (`"platforms": ["cuda"]`), to
quantization methods (`"methods": ["fp8"]`, or all but those in `"except"`) and to
configurations (`"when": "q_lora_rank"`); the first row that fits, or all rows that fit,
are taken by `pick` and `fitting`. Nothing here judges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from mtpfix.engines import releases
from mtpfix.engines.releases import select_releases as select
from mtpfix.engines.releases import valid_platforms
from mtpfix.engines.vllm.expr import Value, evaluate
from mtpfix.errors import UnknownError
from mtpfix.model import PLATFORMS, Grade, Platform

Row = Mapping[str, Any]
"""One row of a policy file."""


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
    title: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    text: str
    """Key of the nested text configuration, or empty."""
    raw: Row

    def rows(self, key: str) -> tuple[Row, ...]:
        """The rows under `key`; empty where the policy says nothing."""
        return tuple(self.raw.get(key, ()))

    def pick(self, key: str, context: Context) -> Row | None:
        """The first row under `key` that fits `context`."""
        return next(fitting(self.rows(key), context), None)

    def reads_its_own(self, context: Context) -> bool:
        """Whether the draft resolves the metadata of its own checkpoint, not the target's."""
        return self.pick("own_config", context) is not None


# --- files -------------------------------------------------------------------


def _data(name: str) -> Any:
    path = resources.files("mtpfix") / "data" / "vllm" / name
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _index() -> Mapping[str, Row]:
    """Family -> architectures, model types: small, so that one policy is loaded at a time."""
    index: Mapping[str, Row] = _data("families.json")["families"]
    return index


@cache
def policy(family: str) -> Policy:
    """The policy of `family`.

    Raises:
        UnknownError: there is no such family.
    """
    head = _index().get(family)
    if head is None:
        known = ", ".join(sorted(_index()))
        raise UnknownError(f"unknown family {family!r}", f"known families: {known}")
    raw = _data(f"families/{family}.json")
    return Policy(
        family=family,
        title=raw["title"],
        architectures=tuple(head["architectures"]),
        model_types=tuple(head["model_types"]),
        text=raw.get("text", ""),
        raw=raw,
    )


def families() -> tuple[str, ...]:
    """Names of all families that have a policy, sorted."""
    return tuple(sorted(_index()))


def recognise(config: Mapping[str, Value]) -> str | None:
    """The family of a `config.json`, by architecture, or None if no policy knows it.

    vLLM resolves the target by `architectures`; `model_type` counts only where a
    configuration names no architecture.
    """
    named = config.get("architectures")
    architectures = [a for a in named if isinstance(a, str)] if isinstance(named, list) else []
    for family, head in _index().items():
        if set(architectures) & set(head["architectures"]):
            return family
    if architectures:
        return None
    model_type = config.get("model_type")
    return next((f for f, head in _index().items() if model_type in head["model_types"]), None)


def declares_mtp(config: Mapping[str, Value]) -> bool:
    """Return whether a `config.json`, of whatever family, says that the model has MTP layers."""
    nested = (config.get(key) for key in ("text_config", "mtp_config"))
    places = [config, *(value for value in nested if isinstance(value, Mapping))]
    keys: list[str] = _data("families.json")["mtp_keys"]
    return any(place.get(key) for place in places for key in keys)


@lru_cache(maxsize=1)
def undrafted() -> tuple[Row, ...]:
    """Return why there is no policy for architectures and model types that vLLM knows."""
    return tuple(_data("undrafted.json")["rows"])


def reason(config: Mapping[str, Value]) -> str | None:
    """Return why no policy knows the model of a `config.json`; None where that is not stated."""
    named = config.get("architectures")
    names = [*(named if isinstance(named, list) else ()), config.get("model_type")]
    for row in undrafted():
        if any(name in row["names"] for name in names) or set(row.get("keys", ())) & set(config):
            text: str = row["reason"]
            return text
    return None


@lru_cache(maxsize=1)
def drafts() -> tuple[Row, ...]:
    """Drafts that are not MTP."""
    return tuple(_data("drafts.json")["drafts"])


@lru_cache(maxsize=1)
def evidence() -> Row:
    """What is known by running vLLM: see `about` in the file."""
    data: Row = _data("evidence.json")
    return data


_UNQUANTIZED: Row = {"parameters": {}}
"""What is known of a checkpoint without metadata: nothing is quantized."""


@cache
def method(name: str) -> Row:
    """What is known about a quantization method; the empty name stands for no metadata.

    - `like`: another method, whose fields hold where this one has none of its own.
    - `reads`, `repair`: what is done with its metadata, in words; `unproved`: why no repair is
      loaded on a real vLLM, where there is a reason.
    - `unread`: whether vLLM goes by no list at all.
    - `classes`: the class that it builds for each kind of module that no entry exempts. Rows
      are tried in order; kinds without a row stay unquantized. `formats`: the row holds where
      the metadata has one of them; `expects`: the format on disk that is loaded, `{format}`
      that of the metadata; `error`: the exception instead of a class. From `get_quant_method`.
    - `activation_schemes`: the values of the key `activation_scheme`, without which vLLM refuses.
    - `refused`: where vLLM takes the method for no draft at all (`releases`, `platforms`), with
      the `error`, the `reason`, and the first good release or a `remedy`.
    - `parameters`: by format, those that must be on disk (`needed`), or stay uninitialised,
      and those that have a default or that only some configurations have (`more`); `packed`
      where `weight` holds several values in one; the format on disk (`stored`), if it has
      another name. From `create_weights`.
    - `algorithms`: those that a release reads, where the metadata names one.
    - `example`: the least metadata that quantizes every layer, for `mtpfix names`; left out where
      no entry has an effect.
    - `limits`: faults that no metadata can mend, whatever the family; rows as in the policy of
      a family, with `kinds` of modules, the format that is `expects`ed, the `width` that the
      columns of a weight must be a multiple of (in the target too), `online` for those that the
      engine quantizes itself, and `nameless` for those that it asks about by an empty name, whose
      first good release is found; `but`: families that are free of it.
    """
    if not name:
        return _UNQUANTIZED
    row = _of_method(name)
    return {**method(row["like"]), **row} if "like" in row else row


def _of_method(name: str) -> Row:
    """What the file of a quantization method holds; it stands in the package of the method."""
    for package in (resources.files(__package__) / "methods").iterdir():
        file = package / f"{name}.json"
        if file.is_file():
            row: Row = json.loads(file.read_text(encoding="utf-8"))
            return row
    raise UnknownError(f"unknown quantization method {name!r}", "see `mtpfix families`")


@lru_cache(maxsize=1)
def _blocks() -> Mapping[str, list[Row]]:
    blocks: Mapping[str, list[Row]] = _data("blocks.json")["blocks"]
    return blocks


def block(name: str) -> list[Row]:
    """The rows of a building block that several families share."""
    return _blocks()[name]


# --- releases ----------------------------------------------------------------


@lru_cache(maxsize=1)
def _releases() -> Row:
    data: Row = _data("releases.json")
    return data


def covered_releases() -> tuple[str, ...]:
    """The releases that policies speak about, oldest first, one a minor version."""
    return tuple(_releases()["covered"])


def select_releases(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return releases for what a user typed; see `engines.releases.select_releases`."""
    return select(wanted, covered_releases(), "vLLM")


def known_releases(policy: Policy, wanted: Iterable[str]) -> tuple[str, ...]:
    """`select_releases`, kept to those in which vLLM has the family.

    Raises:
        UnknownError: none is left.
    """
    scope = policy.raw.get("releases", ">=0")
    chosen = tuple(r for r in select_releases(wanted) if in_releases(scope, r))
    if not chosen:
        raise UnknownError(
            f"vLLM has no MTP draft for {policy.title} in the releases asked for",
            f"choose a release that fits {scope}",
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
    chosen = tuple(name for name in names if name in policy.raw.get("platforms", names))
    if not chosen:
        raise UnknownError(
            f"vLLM has no MTP draft for {policy.title} on {', '.join(names)}",
            f"choose one of {', '.join(policy.raw['platforms'])}",
            code="MTP903",
        )
    return chosen


def has_draft(policy: Policy, release: str, platform: Platform) -> bool:
    """Whether vLLM has an MTP draft for the family in this release, on this platform."""
    on = platform in policy.raw.get("platforms", PLATFORMS)
    return on and in_releases(policy.raw.get("releases", ">=0"), release)


def is_newer(release: str) -> bool:
    """Return whether a release is newer than all that is known: the newest rules are assumed."""
    return releases.is_newer(release, covered_releases())


# --- choosing rows -----------------------------------------------------------


@lru_cache(maxsize=4096)
def in_releases(specifier: str, release: str) -> bool:
    """Whether `release` is one that `specifier` speaks of; patch versions do not count."""
    major, minor = Version(release).release[:2]
    return Version(f"{major}.{minor}") in SpecifierSet(specifier)


def fits(row: Row, context: Context) -> bool:
    """Whether a policy row speaks about this release, platform, method and configuration."""
    if "releases" in row and not in_releases(row["releases"], context.release):
        return False
    if "platforms" in row and context.platform not in row["platforms"]:
        return False
    if "methods" in row and context.method not in row["methods"]:
        return False
    if context.method in row.get("except", ()):
        return False
    return "when" not in row or bool(evaluate(row["when"], context.fields))


def fitting(rows: Iterable[Row], context: Context) -> Iterator[Row]:
    """The rows that fit, in order."""
    return (row for row in rows if fits(row, context))


def grade(policy: Policy, context: Context) -> Grade:
    """The evidence for a family under one method, in one release, on one platform.

    Recordings are made of what CUDA builds; the rest is read in the sources, and what
    holds for the newest release is assumed for those after it.
    """
    if is_newer(context.release):
        return "assumed"
    row = policy.pick("grades", context)
    if row is not None:
        value: Grade = row["value"]
        return value
    recorded = evidence()["recorded"].get(context.method, {}).get(policy.family, ())
    minors = {Version(release).release[:2] for release in recorded}
    known = context.platform == "cuda" and Version(context.release).release[:2] in minors
    return "run" if known else "read"


_BRACES = re.compile(r"\{([^{}]*)\}")


def filled(template: str, context: Context) -> str:
    """`template` with each `{expression}` replaced by its value."""
    return _BRACES.sub(lambda found: str(evaluate(found[1], context.fields)), template)


def rules(key: str, release: str) -> Any:
    """A rule of the engine itself, such as `no_target`, as it is in `release`."""
    for row in _releases()["rules"][key]:
        if in_releases(row.get("releases", ">=0"), release):
            return row["value"]
    raise UnknownError(f"no rule {key!r} for vLLM {release}", "see `mtpfix families`")
