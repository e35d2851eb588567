"""Names before calibrating: what vLLM will call the MTP block of a configuration.

Weights are not needed: the block is taken as it would be if it stayed
unquantized beside a trunk of which every Linear is quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix import quant
from mtpfix.checkpoint.inventory import Inventory, written_out
from mtpfix.engines.vllm import methods, names, policy
from mtpfix.engines.vllm.judge import Case
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import RefusedError, UnknownError, UsageError
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
from mtpfix.patterns import budget
from mtpfix.quant import Place
from mtpfix.repair.plan import Options, Plan, plan
from mtpfix.selection import Selection

DEFAULT = "compressed-tensors"
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
        method: the quantization method that the entries are for.
        key: where they stand in its metadata, keys joined by dots.
        value: what each of them is the key of; None: they are a list.
        decisive: the releases that must be right, labelled as in `groups`.
        unserved: the releases in which the entries leave a module wrong, labelled so.
        exit_code: 0 where the entries are right for all that decides, 1 where they are not,
            3 where a release that decides is only assumed.
    """

    family: str
    groups: tuple[tuple[tuple[str, ...], tuple[Named, ...]], ...]
    entries: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    method: str = DEFAULT
    key: str = "ignore"
    value: Json = None
    decisive: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()
    exit_code: int = 0


@budget.shared()
def advise(
    config: Mapping[str, Json],
    selection: Selection,
    *,
    options: Options,
    method: str = DEFAULT,
) -> Names:
    """The names and entries for one `config.json`.

    Raises:
        UsageError: no entry of the method has an effect.
        UnknownError: the family or a release is not covered, or the configuration
            declares no MTP layer.
    """
    view = _view(method, config)
    family = policy.recognise(config)
    if family is None:
        raise UnknownError(
            f"no policy for architectures {config.get('architectures')!r:.120}",
            "see `mtpfix families` for what is covered",
        )
    known = policy.policy(family)
    places = policy.known_platforms(known, selection.planned.platforms)
    releases = policy.known_releases(known, selection.planned.releases)
    cases = _cases(known, config, releases, places, view.method)
    if not cases[0].draft or not cases[0].context.fields["mtp_layers"]:
        raise UnknownError(
            f"{known.title}: config.json declares no MTP layers, so there is nothing to name",
            "restore the MTP layer count of the original model first",
        )
    made = plan(cases, view, options)
    newer = dict.fromkeys(c.context.release for c in cases if policy.is_newer(c.context.release))
    deciding = selection.deciding(cases)
    unserved = _unserved(cases, made)
    return Names(
        family=family,
        groups=tuple(_groups(cases)),
        entries=tuple(entry for entry in made.added if entry not in made.defaults),
        assumed=tuple(newer),
        method=method,
        key=view.ignore_pointer.removeprefix(f"{view.pointer}/").replace("/", "."),
        value=view.stub if view.keyed else None,
        decisive=tuple(_labelled(deciding, cases)),
        unserved=tuple(_labelled(unserved, cases)),
        exit_code=_exit_code(deciding, unserved),
    )


def _unserved(cases: Iterable[Case], made: Plan) -> list[Case]:
    """Return the cases in which a module of the draft stays wrong under the entries."""
    return [
        case
        for case in cases
        if any(report.agrees is False for report in case.judged(made.view, case.draft))
    ]


def _exit_code(deciding: Sequence[Case], unserved: Sequence[Case]) -> int:
    if any(case in unserved for case in deciding):
        return RefusedError.exit_code
    assumed = any(policy.is_newer(case.context.release) for case in deciding)
    return UnknownError.exit_code if assumed else 0


def _cases(
    known: Policy,
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    method: str,
) -> list[Case]:
    contexts = [names.context(known, config, r, p, method) for r in releases for p in platforms]
    for context in contexts:
        names.counts(known, context)
    inventory = Inventory(_imagined(known, contexts[-1]))
    return [Case(known, context, inventory) for context in contexts]


def _imagined(known: Policy, context: policy.Context) -> Checkpoint:
    """A checkpoint with a quantized trunk and an unquantized block, as headers only."""
    header: dict[str, Tensor] = {}
    for module in names.modules(known, context, "trunk"):
        plain = module.kind in ("lm_head", "embedding")  # no recipe quantizes them
        for name in written_out(module):
            header[f"{name}.weight"] = Tensor("BF16" if plain else "F8_E4M3", (1, 1), 0, 0)
            if not plain:
                header[f"{name}.weight_scale"] = Tensor("BF16", (1, 1), 0, 0)
    for module in names.modules(known, context, "draft"):
        for name in written_out(module):
            if f"{name}.weight" not in header:
                header[f"{name}.weight"] = Tensor("BF16", (1, 1), 0, 0)
    shards = dict.fromkeys(header, _SHARD)
    listing = Listing(Target("local", ""), (_SHARD,), {}, shards, "headers")
    return Checkpoint(listing, {_SHARD: header})


def _view(method: str, config: Mapping[str, Json]) -> QuantView:
    """The least metadata of a method that quantizes every layer.

    Raises:
        UsageError: no entry of the method has an effect, or there is no such method.
    """
    example = policy.method(method).example if method in methods.names() else None
    if example is None:
        able = ", ".join(n for n in methods.names() if policy.method(n).example is not None)
        raise UsageError(f"no entries can be named for {method!r:.60}", f"give one of: {able}")
    model_type = str(config.get("model_type"))
    return quant.read(Place("config.json", "/quantization_config", example, model_type))


def _groups(cases: Sequence[Case]) -> Iterable[tuple[tuple[str, ...], tuple[Named, ...]]]:
    """Releases that name the draft alike; the platform is said only where platforms differ."""
    places: dict[tuple[Named, ...], dict[str, list[Platform]]] = {}
    for case in cases:
        named = tuple(
            Named(replace(module, grade="run"), case.asked(module))
            for module in case.draft
            if module.members
        )
        releases = places.setdefault(named, {})
        releases.setdefault(case.context.release, []).append(case.context.platform)
    number = len({case.context.platform for case in cases})
    for named, releases in places.items():
        labels = [_labels(release, on, number) for release, on in releases.items()]
        yield tuple(label for group in labels for label in group), named


def _labelled(chosen: Iterable[Case], cases: Sequence[Case]) -> Iterable[str]:
    """Return the labels of some cases; the platform is said where not all of them are meant."""
    releases: dict[str, list[Platform]] = {}
    for case in chosen:
        releases.setdefault(case.context.release, []).append(case.context.platform)
    number = len({case.context.platform for case in cases})
    for release, on in releases.items():
        yield from _labels(release, on, number)


def _labels(release: str, on: Sequence[Platform], number: int) -> list[str]:
    return [release] if len(on) == number else [f"{release} ({platform})" for platform in on]
