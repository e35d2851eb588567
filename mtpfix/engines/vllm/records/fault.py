"""Records of the faults that no metadata can fix."""

from typing import Literal

from mtpfix.engines.policies.condition import Condition
from mtpfix.model import Consequence, Grade, Kind, State

Phase = Literal["config", "build", "load", "forward"]


class Fault(Condition, frozen=True, kw_only=True):
    """Base of rows about what is wrong with a release."""

    grade: Grade
    """The evidence for the row: `run` (vLLM was run), `read` (in its sources) or `assumed`."""
    reason: str
    """What is wrong, in a sentence for users."""
    error: str | None = None
    """The exception, as `Type: message`, where there is one."""
    good_from: str | None = None
    """The first release without the fault; null: none is known."""
    remedy: str | None = None
    """What to do, where it is another thing than to take a newer release."""


class LimitRow(Fault, frozen=True, kw_only=True):
    """A fault of modules, chosen by how they are named, stored and built."""

    outcome: Consequence
    """What becomes of the load."""
    phase: Phase = "load"
    """When the exception is raised."""
    modules: tuple[str, ...] = ("",)
    """Ends of the names of the modules that have the fault; left out: all of the draft."""
    kinds: tuple[Kind, ...] | None = None
    """The kinds of modules that have it; left out: all."""
    schemes: tuple[str, ...] | None = None
    """The classes that have it; left out: all."""
    expects: tuple[str, ...] | None = None
    """The formats on disk that the built module loads; left out: all."""
    disk: State | None = None
    """How the modules are stored; left out: in any way."""
    stored: tuple[str, ...] | None = None
    """Ends of the names on disk, one of which a module has."""
    formats: tuple[str, ...] | None = None
    """Formats on disk, one of which a module has."""
    passes: tuple[str, ...] | None = None
    """The fault shows only where a tensor does not fit whose name has another end than these."""
    width: int | None = None
    """Only weights have the fault whose number of columns is no multiple of it; in the target
    model too."""
    height: int | None = None
    """Only modules have the fault whose parts do not end where a block of so many rows does: an
    expert's gate, or any part of a fused layer but the last; in the target model too."""
    total_height: int | None = None
    """Only layers have the fault whose rows, of all parts, are no multiple of it; in the target
    model too."""
    placed: bool = False
    """With `height`: whether only modules have it for whose scales there is a row each, which
    covers other rows of weights than they are of."""
    online: bool = False
    """Whether only modules have it that vLLM quantizes itself while it loads plain weights."""
    nameless: bool = False
    """Whether only modules have it that vLLM asks about by an empty name; the first release
    that asks by a name is then found."""
    but: tuple[str, ...] = ()
    """Families that are free of it."""


class RequiresRow(Condition, frozen=True, kw_only=True):
    """A key of the quantization metadata that the model class reads without asking."""

    grade: Grade
    """The evidence for the row: `run` (vLLM was run), `read` (in its sources) or `assumed`."""
    key: str
    """The key."""
    error: str
    """The exception where the key is missing."""
    good_from: str
    """The first release that does without the key."""
    remedy: str
    """What to do."""
