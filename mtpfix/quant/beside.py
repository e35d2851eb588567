"""What AWQ, GPTQ and auto-round quantizers write beside `config.json`, in the same words.

vLLM opens such a file only where `config.json` says nothing of quantization and the method comes
from the command line, and for drafts that look in another place first (Nemotron-H with the vision
wrapper); quantizers and other engines open it first. So it must say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtpfix.model import JsonFile, QuantView, Twin
from mtpfix.quant.location import entries, keys

FILES = ("quantize_config.json", "quant_config.json")


def twins(
    view: QuantView, configs: Mapping[str, JsonFile], names: Iterable[str]
) -> tuple[Twin, ...]:
    """Return what files beside the metadata say of the same modules.

    Args:
        view: the metadata.
        configs: the files of the checkpoint.
        names: the files that say the same.

    Raises:
        BrokenFileError: something else than such entries stands there.
    """
    return tuple(
        _twin(name, configs[name].value, view)
        for name in names
        if name in configs and isinstance(configs[name].value, Mapping)
    )


def _twin(name: str, stated: Mapping[str, object], view: QuantView) -> Twin:
    key = view.ignore_pointer.rpartition("/")[2]
    where, value = f"/{key}", stated.get(key)
    found = keys(name, where, value) if view.keyed else entries(name, where, value)
    null = value is None and (key in stated or view.keyed)
    stated_here = value if isinstance(value, Mapping) else None
    return Twin(name, where, found, null, stated=stated_here)
