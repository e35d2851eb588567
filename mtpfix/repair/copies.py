"""A copy of the metadata in the text configuration: made where it lacks, and kept the same. Pure.

Of a model with a vision tower some readers go by the one, and some by the other: vLLM's draft of
Nemotron-H by the copy, its target model by the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mtpfix.checkpoint.document import value_at
from mtpfix.model import Edit, JsonFile, QuantView

COPY = "/text_config/quantization_config"


def copy(view: QuantView, configs: Mapping[str, JsonFile]) -> Edit | None:
    """Return the edit that makes a copy; None: there is one, or no text configuration for it.

    Args:
        view: the metadata.
        configs: the files that state them, by name.
    """
    file = configs.get(view.file)
    if file is None or value_at(file.value, view.pointer) != view.raw:
        return None
    above, _, key = COPY.rpartition("/")
    text = value_at(file.value, above)
    if not isinstance(text, Mapping) or key in text:
        return None
    return Edit(view.file, COPY, "add", dict(view.raw))


def mirrored(
    edits: Iterable[Edit], view: QuantView, configs: Mapping[str, JsonFile]
) -> tuple[Edit, ...]:
    """Return edits of the metadata, each made in an equal copy too.

    Args:
        edits: of any files.
        view: the metadata as they are.
        configs: the files that state them, by name.
    """
    made = tuple(edits)
    file = configs.get(view.file)
    if file is None or view.pointer == COPY or value_at(file.value, COPY) != view.raw:
        return made
    return (*made, *_again(made, view))


def _again(edits: Iterable[Edit], view: QuantView) -> Iterator[Edit]:
    for edit in edits:
        if edit.file == view.file and f"{edit.pointer}/".startswith(f"{view.pointer}/"):
            yield replace(edit, pointer=COPY + edit.pointer.removeprefix(view.pointer))
