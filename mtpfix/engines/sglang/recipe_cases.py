"""The cases of a checkpoint that does not exist yet, by its `config.json` alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtpfix.engines.policies import construction, imagined
from mtpfix.engines.sglang import metadata, policy
from mtpfix.engines.sglang.case import Case
from mtpfix.engines.sglang.context import context_of
from mtpfix.engines.sglang.reader import unknown_draft, unknown_family
from mtpfix.model import Json, Platform, Tensor
from mtpfix.quant import Location


def cases(
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    written: Mapping[str, Json],
    layer: Mapping[str, Tensor],
) -> tuple[Case, ...]:
    """Return the cases of the checkpoint; see `Engine.imagined`."""
    title = policy.index().unjudged_draft(config, ())
    if title is not None:
        raise unknown_draft(title)
    family = policy.index().recognise(config)
    if family is None:
        raise unknown_family(config)
    known = policy.policy(family)
    model_type = str(config.get("model_type"))
    view = metadata.read(Location("config.json", "/quantization_config", written, model_type), {})
    contexts = [
        context_of(known, config, release, platform, view)
        for release in policy.known_releases(known, releases)
        for platform in policy.known_platforms(platforms)
    ]
    for context in contexts:
        construction.counts(known, context)
    block = imagined.inventory(known, contexts[-1], layer)
    return tuple(Case(known, context, block, view=view) for context in contexts)
