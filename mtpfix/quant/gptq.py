"""GPTQ: what `modules_in_block_to_quantize` says, but for the `-:` rules of `dynamic`.

Read as `AutoGPTQConfig.from_config` reads it, and `GPTQMarlinConfig` before 0.22
(vLLM, `model_executor/layers/quantization/auto_gptq.py`, `gptq_marlin.py`).
"""

from __future__ import annotations

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Group, QuantView
from mtpfix.quant.place import Place, entries, keys

METHOD = "gptq"
METHODS = ("gptq", "gptq_marlin", "auto_gptq")
"""Names that vLLM takes for it."""
RULES = "dynamic"
BLOCKS = "modules_in_block_to_quantize"


def read(place: Place) -> QuantView:
    """Reads the metadata; what is to be quantized becomes the targets of one group.

    Raises:
        BrokenFileError: the rules are no object, or the list holds something else than
            strings and lists of strings.
    """
    where = place.at(RULES)
    rules = keys(place.file, where, place.value.get(RULES))
    return QuantView(
        method=METHOD,
        file=place.file,
        pointer=place.pointer,
        ignore=rules,
        ignore_pointer=where,
        groups=(Group("", _blocks(place), None, None),),
        format="gptq" if _is_marlin(place) else "gptq-plain",
        files=(f"{place.file}#{place.pointer}",),
        raw=place.value,
        keyed=True,
        stub={},
        foremost=not all(rule.text.startswith("-:") for rule in rules),
        null=RULES in place.value and place.value[RULES] is None,
    )


def _blocks(place: Place) -> tuple[Entry, ...]:
    """The names to quantize: a list of them, or of a list for each step of the quantizer."""
    where, value = place.at(BLOCKS), place.value.get(BLOCKS)
    if not isinstance(value, list) or not any(isinstance(part, list) for part in value):
        return entries(place.file, where, value)
    if not all(isinstance(part, list) for part in value):
        raise BrokenFileError(
            f"{place.file}: {where} holds names beside lists of names",
            "write one flat list of names",
        )
    lists = (entries(place.file, f"{where}/{i}", part) for i, part in enumerate(value))
    return tuple(entry for part in lists for entry in part)


def _is_marlin(place: Place) -> bool:
    """Whether the weights are such as Marlin takes: what vLLM builds since 0.22."""
    return place.value.get("bits") in (4, 8) and place.value.get("sym") is True
