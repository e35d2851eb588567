"""The cases of a checkpoint that does not exist yet, by its `config.json` alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from mtpfix.engines.policies import imagined
from mtpfix.engines.sglang import metadata, policy
from mtpfix.engines.sglang.case import Case
from mtpfix.engines.sglang.context import context_of
from mtpfix.engines.sglang.reader import unknown_draft, unknown_family
from mtpfix.model import Json, Platform
from mtpfix.quant.recipes import Recipe


def cases(
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    recipe: Recipe,
) -> tuple[Case, ...]:
    """Return the cases of the checkpoint; see `Engine.imagined`."""
    title = policy.index().unjudged_draft(config, ())
    if title is not None:
        raise unknown_draft(title)
    family = policy.index().recognise(config)
    if family is None:
        raise unknown_family(config)
    known = policy.policy(family)
    view = metadata.read(recipe.place, {})
    contexts = [
        context_of(known, config, release, platform, view)
        for release in policy.known_releases(known, releases)
        for platform in policy.known_platforms(platforms)
    ]
    return imagined.cases(known, contexts, recipe.layer, partial(Case, known, view=view))
