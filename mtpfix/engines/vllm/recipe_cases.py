"""The cases of a checkpoint that does not exist yet, by its `config.json` alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from mtpfix.engines.policies import construction, imagined
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.case import Case
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Platform, QuantView, Tensor
from mtpfix.quant.recipes import PLAIN, Recipe


def cases(
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    recipe: Recipe,
) -> tuple[Case, ...]:
    """Return the cases of the checkpoint; see `Engine.imagined`."""
    return under(metadata.read(recipe.place), config, releases, platforms, recipe.layer)


def under(
    view: QuantView,
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    layer: Mapping[str, Tensor] = PLAIN,
) -> tuple[Case, ...]:
    """Return the same under given metadata.

    Args:
        view: the metadata.
        config: `config.json`.
        releases: releases of vLLM.
        platforms: platforms that it builds for.
        layer: the tensors of each layer of the block, by suffix.

    Raises:
        UnknownError: the family or a release is not covered, or no MTP layer is declared.
    """
    family = policy.recognise(config)
    if family is None:
        raise UnknownError(
            f"no policy for architectures {config.get('architectures')!r:.120}",
            "see `mtpfix families` for what is covered",
        )
    known = policy.policy(family)
    on = policy.known_platforms(known, platforms)
    contexts = [
        construction.context(known, config, release, platform, view.method)
        for release in policy.known_releases(known, releases)
        for platform in on
    ]
    return imagined.cases(known, contexts, layer, partial(Case, known, view=view))
