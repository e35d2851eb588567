"""The cases of a checkpoint that does not exist yet, by its `config.json` alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtpfix.engines.policies import construction, imagined
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.case import Case
from mtpfix.errors import UnknownError
from mtpfix.model import Json, Platform, QuantView, Tensor
from mtpfix.quant import Location
from mtpfix.quant.recipes import PLAIN


def cases(
    config: Mapping[str, Json],
    releases: Sequence[str],
    platforms: Sequence[Platform],
    written: Mapping[str, Json],
    layer: Mapping[str, Tensor],
) -> tuple[Case, ...]:
    """Return the cases of the checkpoint; see `Engine.imagined`."""
    model_type = str(config.get("model_type"))
    view = metadata.read(Location("config.json", "/quantization_config", written, model_type))
    return under(view, config, releases, platforms, layer)


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
    for context in contexts:
        construction.counts(known, context)
    block = imagined.inventory(known, contexts[-1], layer)
    return tuple(Case(known, context, block, view=view) for context in contexts)
