"""SGLang behind the interface of an engine."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mtpfix.engines.base import DraftFlags, Engine, EngineCase
from mtpfix.engines.opening import UNQUANTIZED, Analyzable, Draft, Family, Reading
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Questions, Release
from mtpfix.engines.sglang import exempting, metadata, policy, reader
from mtpfix.engines.sglang.case import Case
from mtpfix.engines.sglang.context import context_of
from mtpfix.engines.sglang.policy import Policy
from mtpfix.model import Json, JsonFile, Listing, Platform, QuantView
from mtpfix.quant.recipes import Recipe

if TYPE_CHECKING:
    from mtpfix.engines.coverage import Covered, Dialect
    from mtpfix.engines.verification import Verification


class Sglang(Engine):
    """SGLang."""

    name = "sglang"
    title = "SGLang"
    depth = policy.DEPTH
    releases = policy.covered_releases()
    mtp_keys = policy.index().mtp_keys
    takes_draft_folder = True

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
        places = policy.known_platforms(platforms)
        shared: dict[Platform, dict[Hashable, Any]] = {each: {} for each in places}
        questions = Questions()
        found: list[Case] = []
        for release in policy.known_releases(known, releases):
            for platform in places:
                noting = Release(release, questions)
                case = _case(subject, known, noting, platform, shared[platform])
                if not by_names:
                    construction.counts(known, case.context)
                found.append(case)
        return tuple(found)

    def method_error(self, method: str, release: str) -> str | None:
        """Return what a release raises that has no quantization method of this name, or None."""
        if not policy.lacks_method(method, release):
            return None
        return f"ValueError: Unknown quantization method: {method:.60}. Must be one of …"

    def imagined(
        self,
        config: Mapping[str, Json],
        releases: Sequence[str],
        platforms: Sequence[Platform],
        recipe: Recipe,
    ) -> tuple[EngineCase, ...]:
        """Return the cases of a checkpoint that is not quantized yet."""
        from mtpfix.engines.sglang import recipe_cases  # noqa: PLC0415 - for `names` alone

        return recipe_cases.cases(config, releases, platforms, recipe)

    def coverage(self) -> tuple[Covered, ...]:
        """Return every family that has a policy."""
        from mtpfix.engines.sglang import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.coverage()

    def dialects(self) -> tuple[Dialect, ...]:
        """Return every quantization method that is judged."""
        from mtpfix.engines.sglang import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.dialects()

    def draft_flags(self, folder: str, family: Family) -> DraftFlags:
        """Return how SGLang is told of a draft folder.

        A draft whose folder has no metadata inherits the method that is given for the target;
        `unquant` keeps it from that, and does nothing where none is given.
        """
        told = cast("Policy", family).record.flags
        return DraftFlags(
            " ".join((*told, f"--speculative-draft-model-path {folder}")),
            "--quantization",
            "--speculative-draft-model-quantization unquant",
        )

    def environment(self, cases: Sequence[EngineCase]) -> Mapping[str, str]:
        """Return the variable by which fp8 spares the draft, where it spares nothing else."""
        return exempting.environment(cases)

    def verify(self, subject: Analyzable, *, python: str | None, timeout: float) -> Verification:
        """Ask the installed SGLang what it builds; see `Engine.verify`."""
        from mtpfix.engines.sglang.verify import verify  # noqa: PLC0415 - rare

        return verify(subject, python=python, timeout=timeout)


def _case(
    subject: Analyzable,
    known: Policy,
    release: str,
    platform: Platform,
    shared: dict[Hashable, Any],
) -> Case:
    files, draft = subject.files, subject.files.draft
    found = files.checkpoint
    context = context_of(known, files.config, release, platform, subject.view, checkpoint=found)
    context = construction.drafting(known, context, files.block.listing.shards)
    apart = None if draft is None else _apart(draft, known, release, platform)
    return Case(
        known,
        context,
        files.inventory,
        apart=apart,
        shared_modules=shared,
        view=subject.view,
    )


def _apart(draft: Draft, known: Policy, release: str, platform: Platform) -> Case:
    """Return the case of the checkpoint that the draft is loaded from: it goes by that alone."""
    view = draft.reading.view or UNQUANTIZED
    found = draft.checkpoint
    context = context_of(known, draft.config, release, platform, view, checkpoint=found)
    context = construction.drafting(known, context, draft.checkpoint.listing.shards)
    return Case(known, context, draft.inventory, view=view, by_itself=True)


ENGINE = Sglang()
