"""SGLang behind the interface of an engine."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from mtpfix.engines.base import Engine, EngineCase
from mtpfix.engines.opening import Analyzable, Reading
from mtpfix.engines.policies import construction
from mtpfix.engines.sglang import metadata, policy, reader
from mtpfix.engines.sglang.case import Case, context_of
from mtpfix.engines.sglang.policy import Policy
from mtpfix.model import Json, JsonFile, Listing, Module, Platform, QuantView

if TYPE_CHECKING:
    from mtpfix.engines.coverage import Covered, Dialect


class Sglang(Engine):
    """SGLang."""

    name = "sglang"
    title = "SGLang"
    depth = policy.DEPTH
    releases = policy.covered_releases()
    mtp_keys = policy.index().mtp_keys

    def read(
        self,
        found: Listing,
        config: Mapping[str, Json],
        *,
        own_draft: bool = True,  # noqa: ARG002 - a draft is read by itself in any case
    ) -> Reading:
        """Return what SGLang reads in the files of a checkpoint."""
        return reader.read(found, config)

    def metadata(self, configs: Mapping[str, JsonFile]) -> QuantView | None:
        """Return the quantization metadata that SGLang finds; None: there is none."""
        place = metadata.find(configs)
        return None if place is None else metadata.read(place, configs)

    def cases(
        self,
        subject: Analyzable,
        releases: Sequence[str],
        platforms: Sequence[Platform],
        *,
        by_names: bool = False,
    ) -> tuple[EngineCase, ...]:
        """Return one case for each release and platform; see `Engine.cases`."""
        known = cast("Policy", subject.family)
        shared: dict[Hashable, tuple[Module, ...]] = {}
        found: list[Case] = []
        places = policy.known_platforms(platforms)
        for release in policy.known_releases(known, releases):
            for platform in places:
                case = _case(subject, known, release, platform, shared)
                if not by_names:
                    construction.counts(known, case.context)
                found.append(case)
        return tuple(found)

    def coverage(self) -> tuple[Covered, ...]:
        """Return every family that has a policy."""
        from mtpfix.engines.sglang import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.coverage()

    def dialects(self) -> tuple[Dialect, ...]:
        """Return every quantization method that is judged."""
        from mtpfix.engines.sglang import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.dialects()


def _case(
    subject: Analyzable,
    known: Policy,
    release: str,
    platform: Platform,
    shared: dict[Hashable, tuple[Module, ...]],
) -> Case:
    files = subject.files
    context = context_of(known, files.config, release, platform, subject.view)
    context = construction.drafting(known, context, files.block.listing.shards)
    beside = None if files.draft is None else files.draft.inventory
    return Case(known, context, files.inventory, beside, shared, subject.view)


ENGINE = Sglang()
