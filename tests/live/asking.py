"""What a folder is to an engine, for tests that ask a running one themselves."""

from __future__ import annotations

from pathlib import Path

from mtpfix.checkpoint.source import LocalSource
from mtpfix.engines.opening import Analyzable
from mtpfix.engines.registry import engine
from mtpfix.subject import open_subject


def subject_of(folder: str | Path, name: str = "vllm") -> Analyzable:
    """Return a folder as an engine takes it.

    Raises:
        UnknownError: mtpfix does not know the family, or there is no metadata.
    """
    (opening,) = open_subject(LocalSource(folder), [engine(name)]).openings.values()
    return opening.require()
