"""Why a module stays wrong under the best plan, in words for the user. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mtpfix.engines import registry
from mtpfix.engines.base import Engine, EngineCase
from mtpfix.model import Module, ModuleReport, State

TRUNK_HELPS = "--repair-trunk fixes more: it also corrects what is said of the target model"
VAIN = "its entry is left out, since other modules of the draft stay wrong"
"""Why an entry is not written that would be right for a module."""


def reason(report: ModuleReport, engine: str, shared: str | None = None) -> str:
    """Return why a module stays wrong.

    Args:
        report: the module.
        engine: who builds it.
        shared: a module of the target model that every entry which fixes this one would change,
            and for whom.
    """
    if report.limit is not None:
        good = report.limit.good_from
        return report.limit.reason + (f"; fixed in {engine} {good}" if good else "")
    if report.disk.state is State.MIXED:
        return "some of its members are quantized on disk and others are not"
    if report.decision.built == "error":
        return report.decision.error or f"{engine} raises an exception while it builds the module"
    if shared is not None:
        return (
            f"every entry that matches it also matches {shared}; quantize that too, or store the "
            "checkpoint with a method whose entries can be anchored"
        )
    return "nothing that the metadata can say gives it the scheme that is on disk"


def later(engine: str, release: str) -> str:
    """Return the remedy for a module that is right from a later release on."""
    return f"serve with {engine} {release} or newer"


def not_in_one_list(engine: Engine, why: str, remedy: str | None) -> tuple[str, str]:
    """Return why a list that is made for another engine leaves a module wrong, and a remedy.

    Args:
        engine: who builds the module.
        why: what keeps an entry from fixing it.
        remedy: what helps with its releases, or None.
    """
    apart = f"`mtpfix override --engine {engine.name}` says what {engine.title} needs instead"
    return f"{engine.title} cannot be served by the same list: {why}", remedy or apart


def nameless(case: EngineCase, module: Module, *, servable: bool) -> tuple[str, str]:
    """Return why a module stays wrong that a release asks about by an empty name, and a remedy.

    Args:
        case: the release.
        module: the module.
        servable: whether the method has an entry that fits the empty name and no other.
    """
    newer, engine = case.named_from(module), case.engine.title
    remedies = [] if newer is None else [later(engine, newer)]
    if servable:
        why = "mtpfix writes an entry for the empty name only if you choose the release"
        remedies.append(f"choose the release with `--{case.engine.name}`")
    else:
        why = "only an empty entry would match, which other readers apply to every module"
    remedies = remedies or ["quantize the module"]
    return f"{engine} asks about it under an empty name here, and {why}", ", or ".join(remedies)


class Helps(Protocol):
    """What is known of repairs that would fix more than one that was made."""

    @property
    def repair_trunk_helps(self) -> bool:
        """Whether `--repair-trunk` would."""

    @property
    def alone_helps(self) -> str:
        """The engine for which a plan for it alone would; or empty."""

    @property
    def renames_help(self) -> bool:
        """Whether `--rename-tensors` would."""


def helping(made: Helps) -> Iterator[str]:
    """Yield what would fix more, and at what cost."""
    if made.repair_trunk_helps:
        yield TRUNK_HELPS
    if made.alone_helps:
        title = registry.engine(made.alone_helps).title
        yield (
            f"--engine {made.alone_helps} fixes more: it plans for {title} alone, and no other "
            "engine is served then"
        )
    if made.renames_help:
        yield "--rename-tensors fixes more: it gives scales of the MTP block other names"
