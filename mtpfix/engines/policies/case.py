"""One release on one platform, judged by a policy: what is the same for every engine. Pure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context, Questions, Release, answer, first
from mtpfix.engines.policies.method import Method
from mtpfix.engines.policies.policy import Policy
from mtpfix.model import Decision, Entry, Grade, Module, Part, Plain, Platform, QuantView
from mtpfix.patterns import Listed
from mtpfix.quant.spelling import Spelling

PARTS: tuple[Part, ...] = ("draft", "trunk")


@dataclass(frozen=True)
class PolicyCase(EngineCase):
    """A checkpoint seen by one release of an engine: the modules that it would build, the disk."""

    policy: Policy[Any]
    context: Context
    inventory: Inventory
    shared_modules: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)
    """Modules and loose parameters by what they rest on: the cases of one configuration share
    them."""
    view: QuantView = field(default=UNQUANTIZED, compare=False, repr=False)

    @abstractmethod
    def rules_of(self, method: str) -> Method:
        """Return what the engine makes of a quantization method."""

    @cached_property
    def release(self) -> str:
        """The release of the engine."""
        return str(self.context.release)

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
        found: tuple[Module, ...] = self.shared_modules[key]
        return found

    @cached_property
    def plain(self) -> tuple[Plain, ...]:
        """Parameters of the draft that belong to none of its modules, such as norms."""
        return self._plain()

    def _plain(self) -> tuple[Plain, ...]:
        key = "plain", construction.modules_key(self.policy, self.context, "draft")
        if key not in self.shared_modules:
            self.shared_modules[key] = construction.plain(self.policy, self.context)
        found: tuple[Plain, ...] = self.shared_modules[key]
        return found

    # --- decisions -------------------------------------------------------------------

    @abstractmethod
    def decisions(self, view: QuantView, modules: Sequence[Module]) -> Iterable[Decision]:
        """Return what is built for `modules` under `view`, and why."""

    def decide(self, view: QuantView, modules: Sequence[Module]) -> Sequence[Decision]:
        """Return the same; of a whole target model many releases say it alike."""
        release = self.context.release
        if modules is not self.trunk or not isinstance(release, Release):
            return tuple(self.decisions(view, modules))
        key = self._built[0], self._built[2], self.grade, self._traits

        def found(context: Context) -> tuple[Decision, ...]:
            return tuple(replace(self, context=context).decisions(view, modules))

        decided: tuple[Decision, ...] = release.questions.once(view, key, self.context, found)
        return decided

    @property
    def _traits(self) -> Hashable:
        """What decisions rest on besides rows: values of the context that releases differ in."""
        return repr(self.context.fields["mtp_layers"])

    # --- what is judged alike --------------------------------------------------------

    def fingerprint(self, view: QuantView) -> Hashable:
        """Return what the verdict rests on: the modules, and what was asked of the release so far.

        What is asked later may tell cases apart that were alike: see `engines.alike`.
        """
        release = self.context.release
        if not isinstance(release, Release) or self.is_newer:
            return self.engine.name, self.release, self.platform, view.method
        return self.engine.name, view.method, self._built, self._answers(release.questions)

    @cached_property
    def _built(self) -> tuple[Hashable, ...]:
        """Return the method, and which modules and loose parameters there are, as numbers."""
        release = self.context.release
        assert isinstance(release, Release)  # noqa: S101 - asked by `fingerprint` alone
        found = (self.draft, self.trunk, self.plain)
        return self.context.method, *map(release.questions.number, found)

    def _answers(self, questions: Questions) -> int:
        """Return the answers to all that was asked of the releases of the target, as bits."""
        count, bits = self._answered
        if count < len(questions.asked):
            for number, question in enumerate(islice(questions.asked, count, None), count):
                bits |= answer(question, self.context) << number
            self._answered[:] = len(questions.asked), bits
        return bits

    @cached_property
    def _answered(self) -> list[int]:
        """How many questions are answered, and the answers."""
        return [0, 0]

    @cached_property
    def is_newer(self) -> bool:
        """Whether the release is newer than all that is known."""
        return self.engine.is_newer(self.release)

    def listed(self, view: QuantView, entries: Iterable[Entry]) -> Listed:
        """Return entries as the method compares them with names in this release."""
        return self.rules_of(view.method).listed(entries, self.context.release)

    def is_name(self, view: QuantView, entry: Entry) -> bool:
        """Return whether an entry can only fit the name that is spelled like it."""
        return self.rules_of(view.method).exact(entry)
