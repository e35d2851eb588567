"""compressed-tensors: `config_groups` with targets, and the list `ignore`.

Read as `CompressedTensorsConfig.from_config` reads it
(vLLM, `model_executor/layers/quantization/compressed_tensors/compressed_tensors.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mtpfix.errors import BrokenFileError
from mtpfix.model import Edit, Entry, Group, Json, QuantView

METHOD = "compressed-tensors"
_REMEDY = "see the compressed-tensors format for what stands here"


def read(file: str, pointer: str, value: Mapping[str, Json]) -> QuantView:
    """Reads the metadata at `pointer` of `file`.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    ignore = value.get("ignore")
    where = f"{pointer}/ignore"
    return QuantView(
        method=METHOD,
        file=file,
        pointer=pointer,
        ignore=_entries(file, where, [] if ignore is None else ignore),
        ignore_pointer=where,
        groups=tuple(_groups(file, f"{pointer}/config_groups", value.get("config_groups"))),
        format=_text(file, f"{pointer}/format", value.get("format")),
        files=(f"{file}#{pointer}",),
        raw=value,
    )


def _entries(file: str, pointer: str, value: Json) -> tuple[Entry, ...]:
    if not isinstance(value, list):
        raise BrokenFileError(f"{file}: {pointer} is not a list", _REMEDY)
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise BrokenFileError(f"{file}: {pointer}/{index} is not a string", _REMEDY)
    return tuple(Entry(text, file, f"{pointer}/{index}") for index, text in enumerate(value))


def _groups(file: str, pointer: str, value: Json) -> Iterable[Group]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise BrokenFileError(f"{file}: {pointer} is not an object", _REMEDY)
    for name, group in value.items():
        here = f"{pointer}/{escape(name)}"
        if not isinstance(group, Mapping):
            raise BrokenFileError(f"{file}: {here} is not an object", _REMEDY)
        targets = _entries(file, f"{here}/targets", group.get("targets"))
        # Attention groups only carry KV-cache scales; vLLM leaves them out.
        if len(targets) == 1 and targets[0].text.endswith("Attention"):
            continue
        yield Group(
            name=name,
            targets=targets,
            weights=_scheme(file, f"{here}/weights", group.get("weights")),
            input_activations=_scheme(
                file, f"{here}/input_activations", group.get("input_activations")
            ),
            output_activations=_scheme(
                file, f"{here}/output_activations", group.get("output_activations")
            ),
            format=_text(file, f"{here}/format", group.get("format")),
        )


def _scheme(file: str, pointer: str, value: Json) -> Mapping[str, Json] | None:
    if value is not None and not isinstance(value, Mapping):
        raise BrokenFileError(f"{file}: {pointer} is not an object", _REMEDY)
    return value


def _text(file: str, pointer: str, value: Json) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BrokenFileError(f"{file}: {pointer} is not a string", _REMEDY)
    return value


def escape(key: str) -> str:
    """A key as a token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def edit(view: QuantView, remove: Iterable[int], add: Iterable[str]) -> tuple[Edit, ...]:
    """Edits that take entries out of `ignore` by index, and append others."""
    remove, add = tuple(remove), tuple(add)
    if not remove and not add:
        return ()
    if "ignore" in view.raw and view.raw["ignore"] is None:  # `null` is no list to append to
        return (Edit(view.file, view.ignore_pointer, "replace", list(add)),)
    gone = tuple(
        Edit(view.file, f"{view.ignore_pointer}/{index}", "remove") for index in sorted(set(remove))
    )
    new = tuple(Edit(view.file, f"{view.ignore_pointer}/-", "add", text) for text in add)
    return gone + new


def changed(view: QuantView, remove: Iterable[int], add: Iterable[str]) -> QuantView:
    """The view with entries taken out of `ignore` by index, and others appended."""
    gone = set(remove)
    texts = [entry.text for index, entry in enumerate(view.ignore) if index not in gone]
    texts += add
    entries = _entries(view.file, view.ignore_pointer, texts)
    return replace(view, ignore=entries, raw={**view.raw, "ignore": texts})
