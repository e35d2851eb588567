"""Where a repair goes: nowhere, into the folder, into a new folder, or to the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mtpfix.changes.repair import Purpose, Repair
from mtpfix.errors import RefusedError
from mtpfix.model import Finding
from mtpfix.targets import Reference


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a repair on the Hub.

    Attributes:
        repo: `org/name`.
        branch: where it went, or would go; empty: nothing was to change.
        commit: hash of the new commit; empty: none was made.
        url: page of the pull request, or of the commit.
    """

    repo: str
    branch: str = ""
    commit: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A repair, and what became of it.

    Attributes:
        repair: the repair.
        written: whether the files of the folder were edited.
        output: the new folder, or None.
        backup: whether the old bytes are kept beside files that were edited.
        pushed: what became of it on the Hub; None where it was not to be pushed.
        refused: why nothing was written, or None.
        hashes: tensor -> SHA-256 of its bytes in the new shard; empty: nothing was fetched.
        values: what is doubtful about the values of the tensors (MTP5xx), where they passed.
    """

    repair: Repair
    written: bool = False
    output: Path | None = None
    backup: bool = True
    pushed: Pushed | None = None
    refused: RefusedError | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    values: tuple[Finding, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether something would change and nothing was written."""
        done = self.written or self.output is not None
        pushed = self.pushed is not None and bool(self.pushed.commit)
        return bool(self.repair.changes) and not done and not pushed

    @property
    def exit_code(self) -> int:
        """1 if something is yet to be written or refused; else what `check` would say."""
        if self.pending or self.refused is not None:
            return RefusedError.exit_code
        return self.repair.exit_code


class Delivery(Protocol):
    """A place that repairs are brought to."""

    def prepare(self, target: Reference, purpose: Purpose) -> Reference:
        """Get ready before the target is read; return what is to be read.

        What a killed run has left there is put right first.

        Args:
            target: what the user points at.
            purpose: the kind of repair that will come.

        Raises:
            UsageError: the target cannot be brought there.
        """

    def deliver(self, repair: Repair) -> Delivered:
        """Bring a repair there, all of it or nothing.

        Raises:
            RefusedError: it may not be written.
            ConflictError: a file, or the branch, changed since it was read.
            WriteError: something could not be written; what was there is untouched.
        """


@dataclass(frozen=True, slots=True)
class Show:
    """Nowhere: the repair is shown."""

    def prepare(self, target: Reference, purpose: Purpose) -> Reference:
        """Return the target: nothing is written."""
        del purpose
        return target

    def deliver(self, repair: Repair) -> Delivered:
        """Return the repair, and why it could not be written."""
        return Delivered(repair, refused=repair.refusal)
