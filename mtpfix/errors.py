"""Errors that end a run, each with its exit code and a remedy to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_LONGEST = 3000
"""Characters of the longest message."""
FULL_INSTALL = "pip install 'mtpfix[full]'"
"""What brings the packages that a light install lacks."""


class MtpfixError(Exception):
    """Base of every error that mtpfix raises on purpose.

    Attributes:
        message: one line, safe to print, that says what is wrong.
        remedy: one line that says what to do about it, or empty.
    """

    exit_code: int = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = _safe(message)
        self.remedy = _safe(remedy)
        super().__init__(self.message)

    def of(self, whose: str) -> Self:
        """Put a word in front that says which checkpoint the error is about; return the error."""
        self.message = _safe(f"{whose}: {self.message}")
        self.args = (self.message,)
        return self


def _safe(text: str) -> str:
    """One line to print, whatever names from a file are in it."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 4 :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class UsageError(MtpfixError):
    """The command line or the arguments of a call make no sense."""


class FactsError(UsageError):
    """The facts that the user brought (`MTPFIX_FACTS`) cannot be read, or are none."""


class TargetError(MtpfixError):
    """The target, or a file of it, cannot be read."""


class BrokenFileError(TargetError):
    """A file was read, and what it holds is malformed or hostile."""


class WriteError(MtpfixError):
    """The repaired file could not be written; the old one is untouched."""


class MissingPackageError(MtpfixError):
    """A package is needed that only the full install brings.

    Attributes:
        package: its name on PyPI.
    """

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(f"{package} is not installed: {purpose}", FULL_INSTALL)
        self.package = package


class UnknownError(MtpfixError):
    """mtpfix does not know enough to judge.

    Attributes:
        code: the finding code that says so in a report (MTP9xx).
    """

    exit_code = 3

    def __init__(self, message: str, remedy: str = "", *, code: str = "MTP904") -> None:
        super().__init__(message, remedy)
        self.code = code


class ConflictError(MtpfixError):
    """The file or branch moved since it was read."""

    exit_code = 4


class RefusedError(MtpfixError):
    """Every repair does harm or leaves the checkpoint as broken as it is; nothing was written.

    Attributes:
        repair: the `mtpfix.Repair` that was refused, with both reports; None where none was made.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "", *, repair: Any = None) -> None:
        super().__init__(message, remedy)
        self.repair = repair


class GateError(MtpfixError):
    """A checkpoint does not pass: something is wrong with it, or could not be judged.

    Attributes:
        report: the `mtpfix.Report` that says so; its exit code is that of the error.
    """

    def __init__(self, message: str, remedy: str = "", *, report: Any) -> None:
        super().__init__(message, remedy)
        self.report = report
        self.exit_code = report.exit_code


class InternalError(MtpfixError):
    """mtpfix failed where nobody foresaw it: nothing is said of the target."""

    exit_code = 5

    def __init__(self, error: Exception) -> None:
        """Say what kind of exception it was: what it says may hold anything."""
        super().__init__(
            f"internal error: {type(error).__name__}",
            "please report it; with MTPFIX_DEBUG=1 and this target alone there is a traceback",
        )


class OverrideError(MtpfixError):
    """There is a repair, and no `--hf-overrides` that would bring it to the draft."""

    exit_code = 3
