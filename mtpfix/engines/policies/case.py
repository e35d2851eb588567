"""One release on one platform, judged by a policy: what is the same for every engine. Pure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import Method
from mtpfix.engines.policies.policy import Policy
from mtpfix.model import Entry, Grade, Module, Part, Platform, QuantView
from mtpfix.patterns import Listed
from mtpfix.quant.spelling import Spelling

PARTS: tuple[Part, ...] = ("draft", "trunk")


@dataclass(frozen=True)
class PolicyCase(EngineCase):
    """A checkpoint seen by one release of an engine: the modules that it would build, the disk."""

    policy: Policy[Any]
    context: Context
    inventory: Inventory
    shared_modules: dict[Hashable, tuple[Module, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Modules by `construction.modules_key`, which the cases of one configuration share."""
    view: QuantView = field(default=UNQUANTIZED, compare=False, repr=False)

    @abstractmethod
    def rules_of(self, method: str) -> Method:
        """Return what the engine makes of a quantization method."""

    @cached_property
    def release(self) -> str:
        """The release of the engine."""
        return self.context.release

    @cached_property
    def platform(self) -> Platform:
        """The platform that it builds for."""
        return self.context.platform

    @cached_property
    def family(self) -> str:
        """Name of the policy."""
        return self.policy.family

    @cached_property
    def method(self) -> str:
        """The quantization method: some releases hand the metadata on to another."""
        return self.context.method

    @cached_property
    def grade(self) -> Grade:
        """The evidence for what the policy says."""
        return self.context.grade

    @cached_property
    def layers(self) -> int:
        """Layers of the target model."""
        return construction.counts(self.policy, self.context)[0]

    @cached_property
    def mtp_layers(self) -> int:
        """MTP layers that are declared, or taken for granted."""
        count: int = self.context.fields["mtp_layers"]
        return count

    @cached_property
    def draft_class(self) -> str | None:
        """The class of the draft model."""
        row = first(self.policy.record.draft_class, self.context)
        return None if row is None else row.value

    @cached_property
    def disk_roots(self) -> tuple[str, ...]:
        """Beginnings of the names of MTP tensors on disk."""
        return construction.disk_roots(self.policy, self.context)

    @cached_property
    def comparison(self) -> str:
        """How the method that is in force compares entries with names."""
        return self.rules_of(self.context.method).compares

    @cached_property
    def spelling(self) -> Spelling:
        """How entries of the method that is in force are written."""
        return self.rules_of(self.context.method).spelling

    @cached_property
    def draft(self) -> tuple[Module, ...]:
        """Modules of the draft, in construction order."""
        return self._modules("draft")

    @cached_property
    def trunk(self) -> tuple[Module, ...]:
        """Modules of the target, in construction order."""
        return self._modules("trunk")

    def _modules(self, part: Part) -> tuple[Module, ...]:
        key = construction.modules_key(self.policy, self.context, part)
        if key not in self.shared_modules:
            self.shared_modules[key] = construction.modules(self.policy, self.context, part)
        return self.shared_modules[key]

    def listed(self, view: QuantView, entries: Iterable[Entry]) -> Listed:
        """Return entries as the method compares them with names in this release."""
        return self.rules_of(view.method).listed(entries, self.context.release)

    def is_name(self, view: QuantView, entry: Entry) -> bool:
        """Return whether an entry can only fit the name that is spelled like it."""
        return self.rules_of(view.method).exact(entry)
