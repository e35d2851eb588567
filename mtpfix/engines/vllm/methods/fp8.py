"""fp8: every Linear and every expert, unless its name is in the list. Pure.

Source: `Fp8Config.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.methods.base import (
    INVALID,
    Decide,
    RaisesError,
    Setting,
    alike,
    mapped,
    own_name,
    plain,
)
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.skipped import Names, skipped
from mtpfix.model import Decision, Entry, Json, Module, QuantView

_NO_SCHEME = (
    f"{INVALID}Cannot find any of ['activation_scheme'] in the model's quantization config."
)
_NO_BLOCK = (
    f"{INVALID}The quantization block size of weight must have 2 dimensions, "
    "but got {length} dimensions"
)
_NOT_DYNAMIC = (
    f"{INVALID}The block-wise quantization only supports dynamic activation scheme for now, "
    "but got {scheme} activation scheme."
)


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError: the engine refuses the metadata as a whole.
    """
    refused = _refusal(setting.view)
    if refused is not None:
        raise RaisesError(refused)
    names = Names(setting.view.ignore)
    release = setting.context.release

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = skipped(module.name, names, setting.packed, release)
        if entry is not None:
            return plain(module, entry)
        return quantized(module, setting.view, setting.context)

    return decide


def _refusal(view: QuantView) -> str | None:
    """The exception that reading the metadata ends in, or None."""
    known = policy.method(view.method).activation_schemes
    if known is None:  # a method that has no such key
        return None
    if "activation_scheme" not in view.raw:
        return _NO_SCHEME
    scheme = view.raw["activation_scheme"]
    if scheme not in known:
        return f"{INVALID}Unsupported activation scheme {scheme}"
    return _refused_block(view.raw.get("weight_block_size"), scheme)


def _refused_block(size: Json, scheme: str) -> str | None:
    """The exception that the size of blocks ends in, or None."""
    if size is None:
        return None
    if not isinstance(size, list):
        return f"TypeError: object of type {type(size).__name__!r} has no len()"
    if len(size) != 2:  # noqa: PLR2004 - rows and columns
        return _NO_BLOCK.format(length=len(size))
    return None if scheme == "dynamic" else _NOT_DYNAMIC.format(scheme=scheme)


COMPARES = "names are compared whole, without wildcards or patterns"
probes = own_name
renamed = mapped
traits = alike


def exact(entry: Entry) -> bool:
    """Whether the entry fits no end of a name, and is not about experts, whose parent it fits."""
    return "experts" not in entry.text and entry.within is None


def listed(entries: Iterable[Entry], release: str) -> Names:
    """The entries, as they are compared with names."""
    return Names(entries)
