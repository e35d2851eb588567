"""The folder that an installed engine is asked about: the target itself, or what it needs of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtpfix.model import Listing


@contextmanager
def folder_of(found: Listing) -> Iterator[Path]:
    """Yield the folder itself, or one with the metadata files of a repo.

    An engine that is asked is offline and builds without weights, so it needs no more than these.
    """
    if found.target.kind == "local":
        yield Path(found.target.name)
        return
    with tempfile.TemporaryDirectory(prefix="mtpfix-") as made:
        for name, file in found.configs.items():
            (Path(made) / Path(name).name).write_bytes(file.raw)
        yield Path(made)
