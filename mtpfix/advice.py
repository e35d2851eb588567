"""Names before calibrating: what vLLM will call the MTP block of a configuration.

Weights are not needed: the block is taken as it would be if it stayed
unquantized beside a trunk of which every Linear is quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix import quant
from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.engines.vllm import methods as vllm_methods
from mtpfix.engines.vllm import names, policy
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.policy import Context, Policy
from mtpfix.engines.vllm.predict import asked_names, packed_mapping
from mtpfix.errors import RefusedError, UnknownError
from mtpfix.model import (
    Checkpoint,
    Json,
    Listing,
    Module,
    Platform,
    QuantView,
    Target,
    Tensor,
)
from mtpfix.repair.plan import Options, plan

_SHARD = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Named:
    """One module of the draft.

    Attributes:
        module: as it is constructed.
        asked: every name that the matcher may compare, the fused one first.
    """

    module: Module
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """Construction-time names of a draft, and the entries for a recipe.

    Attributes:
        family: name of the policy.
        groups: releases that name the draft alike (`0.32.0`, or `0.32.0 (rocm)` where
            platforms part), and its modules.
        entries: ignore entries that exempt the whole block in all selected releases.
        assumed: the selected releases that are newer than all that is known.
        key: the key that the entries belong under.
        stub: the value of each entry, where they are keys of an object; else None.
        left: modules that no entry exempts, each with the reason.
    """

    family: str
    groups: tuple[tuple[tuple[str, ...], tuple[Named, ...]], ...]
    entries: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    key: str = "ignore"
    stub: Json = None
    left: tuple[str, ...] = ()


MAIN = "compressed-tensors"
"""The method that entries are for unless another is asked for."""


def methods() -> tuple[str, ...]:
    """The quantization methods that entries can be advised for."""
    return tuple(name for name in vllm_methods.names() if "plain" in policy.method(name))


def advise(
    config: Mapping[str, Json],
    *,
    vllm: Iterable[str],
    platforms: Sequence[Platform],
    options: Options,
    method: str = MAIN,
) -> Names:
    """The names and entries for one `config.json`.

    Args:
        config: the configuration of the model.
        vllm: releases that the entries must be right for.
        platforms: platforms that they must be right for.
        options: how entries are spelled.
        method: the quantization method that the model will be stored under, one of `methods`.

    Raises:
        RefusedError: every list would do harm in one of the releases.
        UnknownError: the family or a release is not covered, or the configuration
            declares no MTP layer.
    """
    family = policy.recognise(config)
    if family is None:
        raise UnknownError(
            f"no policy for architectures {config.get('architectures')!r:.120}",
            "see `mtpfix families` for what is covered",
        )
    known = policy.policy(family)
    places = policy.known_platforms(known, platforms)
    releases = policy.known_releases(known, vllm)
    contexts = [names.context(known, config, r, p, method) for r in releases for p in places]
    cases = _cases(known, contexts)
    if not cases[0].draft or not cases[0].context.fields["mtp_layers"]:
        raise UnknownError(
            f"{known.title}: config.json declares no MTP layers, so there is nothing to name",
            "restore the MTP layer count of the original model first",
        )
    view = _view(method)
    made = plan(cases, view, options)
    if made.refused is not None:
        raise RefusedError(made.refused, "choose fewer releases with --vllm, or another --method")
    newer = dict.fromkeys(c.context.release for c in cases if policy.is_newer(c.context.release))
    return Names(
        family=family,
        groups=tuple(_groups(cases)),
        entries=made.added,
        assumed=tuple(newer),
        key=view.ignore_pointer.rpartition("/")[2],
        stub=view.stub,
        left=tuple(
            f"`{u.module}` on vLLM {', '.join(u.releases)}: {u.reason}" for u in made.unresolved
        ),
    )


def _cases(known: Policy, contexts: Sequence[Context]) -> list[Case]:
    for context in contexts:
        names.counts(known, context)
    inventory = Inventory(_imagined(known, contexts[-1]))
    return [Case(known, context, inventory) for context in contexts]


def _imagined(known: Policy, context: Context) -> Checkpoint:
    """A checkpoint with a quantized trunk and an unquantized block, as headers only."""
    header: dict[str, Tensor] = {}
    for module in names.modules(known, context, "trunk"):
        for name in written_out(module):
            header[f"{name}.weight"] = Tensor("F8_E4M3", (1, 1), 0, 0)
            header[f"{name}.weight_scale"] = Tensor("BF16", (1, 1), 0, 0)
    for module in names.modules(known, context, "draft"):
        for name in written_out(module):
            if f"{name}.weight" not in header:
                header[f"{name}.weight"] = Tensor("BF16", (1, 1), 0, 0)
    shards = dict.fromkeys(header, _SHARD)
    listing = Listing(Target("local", ""), (_SHARD,), {}, shards, "headers")
    return Checkpoint(listing, {_SHARD: header})


def _view(method: str) -> QuantView:
    """Metadata of a method that quantizes every Linear and names no exception."""
    pointer = "/quantization_config"
    return quant.read(quant.Place("config.json", pointer, policy.method(method)["plain"]))


def _groups(cases: Sequence[Case]) -> Iterable[tuple[tuple[str, ...], tuple[Named, ...]]]:
    """Releases that name the draft alike; the platform is said only where platforms differ."""
    places: dict[tuple[Named, ...], dict[str, list[Platform]]] = {}
    for case in cases:
        packed = packed_mapping(case.policy, case.context, "draft")
        named = tuple(
            Named(replace(module, grade="run"), asked_names(module, packed, case.context.method))
            for module in case.draft
            if module.members
        )
        releases = places.setdefault(named, {})
        releases.setdefault(case.context.release, []).append(case.context.platform)
    number = len({case.context.platform for case in cases})
    for named, releases in places.items():
        labels = [_labels(release, on, number) for release, on in releases.items()]
        yield tuple(label for group in labels for label in group), named


def _labels(release: str, on: Sequence[Platform], number: int) -> list[str]:
    return [release] if len(on) == number else [f"{release} ({platform})" for platform in on]
