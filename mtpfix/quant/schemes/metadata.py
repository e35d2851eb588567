"""The files that state quantization metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mtpfix.checkpoint.document import value_at
from mtpfix.model import Json, JsonFile, QuantView
from mtpfix.quant.location import escape


class Metadata(NamedTuple):
    """One file that states the metadata: where they stand in it, and what they say."""

    file: str
    pointer: str
    value: Mapping[str, Json]

    def at(self, key: str) -> str:
        """Return the pointer of what a key says."""
        return f"{self.pointer}/{escape(key)}"


def own(view: QuantView) -> Metadata:
    """Return the metadata that engines read, where its entries stand or would stand."""
    pointer = view.ignore_pointer.rpartition("/")[0]
    value = value_at(view.raw, pointer.removeprefix(view.pointer))
    return Metadata(view.file, pointer, value if isinstance(value, Mapping) else {})


def stated(view: QuantView, configs: Mapping[str, JsonFile]) -> Iterator[Metadata]:
    """Yield the metadata of all files that state it, that which engines read first.

    Args:
        view: the metadata.
        configs: the files, by name.
    """
    yield own(view)
    for twin in view.twins:
        pointer = twin.pointer.rpartition("/")[0]
        value = value_at(configs[twin.file].value, pointer)
        if isinstance(value, Mapping):
            yield Metadata(twin.file, pointer, value)
