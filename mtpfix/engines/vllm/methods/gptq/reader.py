"""GPTQ: what `modules_in_block_to_quantize` says, but for the `-:` rules of `dynamic`.

Read as `AutoGPTQConfig.from_config` reads it, and `GPTQMarlinConfig` before 0.22
(vLLM, `model_executor/layers/quantization/auto_gptq.py`, `gptq_marlin.py`).
"""

from __future__ import annotations

from dataclasses import replace

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Group, QuantView
from mtpfix.quant.location import Location, entries
from mtpfix.quant.readers import gptq

BLOCKS = "modules_in_block_to_quantize"


def read(location: Location) -> QuantView:
    """Return what metadata says; what is to be quantized becomes the targets of one group.

    Raises:
        BrokenFileError: the rules are no object, or the list holds something else than
            strings and lists of strings.
    """
    return replace(
        gptq.read(location),
        groups=(Group("", _blocks(location), None, None),),
        format="gptq" if _is_marlin(location) else "gptq-plain",
    )


def _blocks(location: Location) -> tuple[Entry, ...]:
    """The names to quantize: a list of them, or of a list for each step of the quantizer."""
    where, value = location.at(BLOCKS), location.value.get(BLOCKS)
    if not isinstance(value, list) or not any(isinstance(part, list) for part in value):
        return entries(location.file, where, value)
    if not all(isinstance(part, list) for part in value):
        raise BrokenFileError(
            f"{location.file}: {where} holds names beside lists of names",
            "write one flat list of names",
        )
    lists = (entries(location.file, f"{where}/{i}", part) for i, part in enumerate(value))
    return tuple(entry for part in lists for entry in part)


def _is_marlin(location: Location) -> bool:
    """Whether the weights are such as Marlin takes: what vLLM builds since 0.22."""
    return location.value.get("bits") in (4, 8) and location.value.get("sym") is True
