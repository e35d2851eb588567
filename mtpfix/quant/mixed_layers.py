"""ModelOpt metadata with an algorithm for each layer, where they had one for all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtpfix.model import Edit, Json, JsonFile, QuantView
from mtpfix.quant.location import escape

METHODS = frozenset({"modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"})
_ALGORITHM, _LAYERS, _MIXED = "quant_algo", "quantized_layers", "MIXED_PRECISION"
_BLOCK = {"quant_algo": "FP8_PB_WO"}
"""Weights in FP8, a scale for 128 x 128 of them; activations are quantized while serving."""


def with_mixed_layers(
    view: QuantView, configs: Mapping[str, JsonFile], trunk: Iterable[str], block: Iterable[str]
) -> tuple[Edit, ...]:
    """Return the edits that give some modules block FP8, and keep what all others have.

    Args:
        view: the metadata, of ModelOpt.
        configs: the files that state it, by name.
        trunk: modules of the target model that are quantized, as on disk.
        block: what the engine asks about for the modules that are FP8.
    """
    names, ours = tuple(block), tuple(trunk)
    places = [(view.file, view.ignore_pointer), *((t.file, t.pointer) for t in view.twins)]
    return tuple(
        edit
        for file, pointer in places
        for edit in _edits(file, pointer.rpartition("/")[0], configs[file].value, ours, names)
    )


def _edits(
    file: str, place: str, value: Json, trunk: Iterable[str], block: Iterable[str]
) -> Iterator[Edit]:
    """Yield the edits of one file, in which the metadata stand at a place."""
    stated = value
    for key in place.split("/")[1:]:
        stated = stated.get(key, {})
    new = dict.fromkeys(block, _BLOCK)
    if str(stated.get(_ALGORITHM, "")).upper() == _MIXED:
        known = stated.get(_LAYERS) or {}
        for name in new:
            if name not in known:
                yield Edit(file, f"{place}/{_LAYERS}/{escape(name)}", "add", _BLOCK)
        return
    row = {key: stated[key] for key in (_ALGORITHM, "group_size") if key in stated}
    yield Edit(file, f"{place}/{_ALGORITHM}", "add", _MIXED)
    yield Edit(file, f"{place}/{_LAYERS}", "add", {**dict.fromkeys(trunk, row), **new})
