"""What is known about one model family, and what an engine knows whatever the family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.family import Family
from mtpfix.engines.policies.module import ModuleRow
from mtpfix.model import Grade, Kind

Known_co = TypeVar("Known_co", bound=Family, covariant=True)


@dataclass(frozen=True, slots=True)
class Policy(Generic[Known_co]):
    """What is known about one model family.

    Attributes:
        family: its name.
        architectures: those that are of it.
        model_types: the same where a configuration names no architecture.
        record: what its file says.
        knowledge: what the engine's other files say that its modules rest on.
    """

    family: str
    architectures: tuple[str, ...]
    model_types: tuple[str, ...]
    record: Known_co
    knowledge: Knowledge

    @property
    def title(self) -> str:
        """Name of the family, for readers."""
        return self.record.title

    @property
    def text(self) -> str:
        """Key of the nested text configuration; empty: its fields stand at the top."""
        return self.record.text

    @property
    def kin(self) -> str:
        """The family whose MTP block is the same, but for the beginnings of names; or empty."""
        return self.record.kin


class Knowledge(ABC):
    """What an engine knows whatever the family."""

    depth: int
    """How many numbers of a version tell its releases apart."""

    @property
    @abstractmethod
    def newest(self) -> str:
        """The newest release that is known."""

    @abstractmethod
    def block(self, name: str) -> tuple[ModuleRow, ...]:
        """Return the rows of a building block that several families share."""

    @abstractmethod
    def class_of(self, kind: Kind, release: str) -> str:
        """Return the class of a module whose row names none."""

    @abstractmethod
    def grade(self, policy: Policy[Any], context: Context) -> Grade:
        """Return the evidence for a family under one method, in one release, on one platform."""

    def method(self, policy: Policy[Any], context: Context) -> str:  # noqa: ARG002
        """Return the method that is in force: a release may hand metadata on to another."""
        return context.method
