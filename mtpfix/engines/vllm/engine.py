"""vLLM behind the interface of an engine."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mtpfix.engines.base import Engine, EngineCase, HeaderList
from mtpfix.engines.opening import Analyzable, Reading
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Questions, Release
from mtpfix.engines.vllm import metadata, policy, reader
from mtpfix.engines.vllm.case import Case
from mtpfix.engines.vllm.methods.gptq.reader import BLOCKS
from mtpfix.engines.vllm.methods.shared.headers import EXEMPTS, reads_headers
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.separate_draft import refuse_copy, refuse_pair
from mtpfix.model import Json, JsonFile, Listing, Platform, QuantView
from mtpfix.quant.beside import FILES as BESIDE
from mtpfix.quant.recipes import Recipe

if TYPE_CHECKING:
    from mtpfix.engines.coverage import Covered, Dialect
    from mtpfix.engines.verification import Verification

_BESIDE = (
    "vLLM reads {file} only with `--quantization`: move its content into config.json, as "
    "quantization_config with a quant_method"
)
_ABSENT = "FileNotFoundError: Weight files referenced in index but missing: {…}"
_ABSENT_SINCE = "0.26.0"
"""Older releases read the files that are there."""


class Vllm(Engine):
    """vLLM: its knowledge is in `data/vllm`."""

    name = "vllm"
    title = "vLLM"
    releases = policy.covered_releases()
    metadata_pointers = metadata.PLACES
    mtp_keys = policy.mtp_keys()

    def read(
        self, found: Listing, config: Mapping[str, Json], *, own_draft: bool = True
    ) -> Reading:
        """Return what vLLM reads in the files of a checkpoint; see `Engine.read`."""
        return reader.read(found, config, own_draft=own_draft)

    def metadata(self, configs: Mapping[str, JsonFile]) -> QuantView | None:
        """Return the quantization metadata that vLLM finds first."""
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
        known = cast(Policy, subject.family)
        found: list[Case] = []
        shared: dict[Hashable, Any] = {}
        questions = Questions()
        places = policy.known_platforms(known, platforms)
        for release in policy.known_releases(known, releases):
            for platform in places:
                noting = Release(release, questions)
                found.append(reader.case(subject, noting, platform, shared))
                if not by_names:
                    construction.counts(known, found[-1].context)
        if not by_names:
            refuse_copy(subject, found)
            refuse_pair(subject, found)
        return tuple(found)

    def header_list(self, view: QuantView) -> HeaderList | None:
        """Return the list that AWQ and GPTQ take from tensor headers."""
        if not reads_headers(view):
            return None
        if view.method == EXEMPTS:
            return HeaderList("unquantized", view.ignore_pointer.rpartition("/")[2])
        return HeaderList("quantized", BLOCKS)

    def overriding(self, view: QuantView) -> Mapping[str, Json] | None:
        """Return what `--hf-overrides` must say, so that vLLM reads what `view` says."""
        return metadata.overriding(view)

    def method_error(self, method: str, release: str) -> str | None:
        """Return what a release raises that has no quantization method of this name, or None."""
        if not policy.lacks_method(method, release):
            return None
        return f"ValidationError: …Unknown quantization method: {method:.60}."

    def absent_file_error(self, release: str) -> str | None:
        """Return what vLLM raises where an index names a file that is not there."""
        from packaging.version import Version  # noqa: PLC0415 - for a broken index alone

        return _ABSENT if Version(release) >= Version(_ABSENT_SINCE) else None

    def reads_alike(self, method: str, other: str) -> bool:
        """Return whether one class of vLLM reads the metadata of both methods."""
        return metadata.akin(method, other)

    def unquantized_note(self, files: Iterable[str]) -> str | None:
        """Return why a metadata file beside `config.json` does not count."""
        beside = next((name for name in BESIDE if name in files), None)
        return None if beside is None else _BESIDE.format(file=beside)

    def imagined(
        self,
        config: Mapping[str, Json],
        releases: Sequence[str],
        platforms: Sequence[Platform],
        recipe: Recipe,
    ) -> tuple[EngineCase, ...]:
        """Return the cases of a checkpoint that is not quantized yet."""
        from mtpfix.engines.vllm import recipe_cases  # noqa: PLC0415 - for `names` alone

        return recipe_cases.cases(config, releases, platforms, recipe)

    def coverage(self) -> tuple[Covered, ...]:
        """Return every family that has a policy."""
        from mtpfix.engines.vllm import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.coverage()

    def dialects(self) -> tuple[Dialect, ...]:
        """Return every quantization method that is judged."""
        from mtpfix.engines.vllm import coverage  # noqa: PLC0415 - for `families` alone

        return coverage.dialects()

    def verify(self, subject: Analyzable, *, python: str | None, timeout: float) -> Verification:
        """Ask the vLLM of an interpreter what it builds, module by module."""
        from mtpfix.engines.vllm import verify  # noqa: PLC0415 - for `verify` alone

        return verify.verify(subject, python=python, timeout=timeout)


ENGINE = Vllm()
