"""Methods that vLLM takes for no draft (`refused` in their data): nothing is decided. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.vllm.methods.base import Decide, Setting, alike, plain, unmapped
from mtpfix.engines.vllm.methods.skipped import Names
from mtpfix.model import Entry, Module


def decider(setting: Setting) -> Decide:
    """Never reached where the method is refused."""
    return plain


COMPARES = "no list has a say: vLLM takes the method for no draft"
renamed = unmapped
traits = alike


def exact(entry: Entry) -> bool:
    """Whether the entry is no pattern: none is."""
    return True


def listed(entries: Iterable[Entry], release: str) -> Names:
    """No entry is read, so none fits."""
    return Names(())


def probes(module: Module) -> tuple[str, ...]:
    """No name is compared."""
    return ()
