"""What a folder is to vLLM, for tests that ask a running one themselves."""

from __future__ import annotations

from pathlib import Path

from mtpfix.checkpoint.source import LocalSource
from mtpfix.engines.opening import Analyzable
from mtpfix.subject import open_subject


def subject_of(folder: str | Path) -> Analyzable:
    """Return a folder as vLLM takes it.

    Raises:
        UnknownError: mtpfix does not know the family, or there is no metadata.
    """
    (opening,) = open_subject(LocalSource(folder)).openings.values()
    return opening.require()
