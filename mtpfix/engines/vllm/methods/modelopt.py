"""ModelOpt: every Linear, every expert and from 0.23 every head, unless the list excludes it.

One module for `modelopt`, `modelopt_fp4` and `modelopt_mxfp8`: what they build is data.
Source: `ModelOptQuantConfigBase.get_quant_method` of each release. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mtpfix.engines.vllm.methods.base import (
    Decide,
    RaisesError,
    Rename,
    Setting,
    alike,
    own_name,
    plain,
)
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.modelopt_refusal import refusal
from mtpfix.engines.vllm.methods.wildcards import Excluded, spread
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Module
from mtpfix.quant.modelopt import LAYERS


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError, PatternError: the engine refuses the metadata as a whole.
    """
    exempts = excluded_by(setting)
    spared = tuple(rules("modelopt_spares", setting.context.release))

    def decide(module: Module) -> Decision:
        entry = exempts(module.name)
        if entry is not None:
            return plain(module, entry)
        if any(part in module.name for part in spared):
            return _spared(module)
        return quantized(module, setting.view, setting.context)

    return decide


def excluded_by(setting: Setting) -> Callable[[str], Entry | None]:
    """Says which entry excludes a name; it raises `ShardsDifferError` where that is not clear.

    Raises:
        RaisesError, PatternError: the engine refuses the list.
    """
    refused = refusal(setting.view, setting.context)
    if refused is not None:
        raise RaisesError(refused)
    excluded = Excluded(setting.view.ignore)
    return lambda name: excluded.exempts(name, setting.packed, setting.context.release)


def _spared(module: Module) -> Decision:
    """The vision tower gets the method of a plain Linear, whatever the layer is."""
    if module.kind == "experts":
        raise RaisesError("AssertionError: UnquantizedLinearMethod is not for fused experts")
    return plain(module)


COMPARES = "names are compared whole, as parts of names, and with the wildcards of a shell"
probes = own_name
traits = alike


def exact(entry: Entry) -> bool:
    """No entry is: it also fits every name that it is a part of."""
    return False


def listed(entries: Iterable[Entry], release: str) -> Excluded:
    """The entries, as they are compared with names.

    Raises:
        PatternError: one of them is no valid pattern.
    """
    return Excluded(entries)


def renamed(entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
    """Mappers see every entry, and the parts of one that ends in a bare `*`."""
    return tuple(rename(part) for entry in entries for part in _parts(entry))


def _parts(entry: Entry) -> Iterator[Entry]:
    """The parts of an entry; the name of a layer that has an algorithm is whole."""
    texts = spread(entry.text)
    if len(texts) == 1 or f"/{LAYERS}/" in entry.pointer:
        yield entry
    else:
        yield from (replace(entry, text=text, written=entry.spelling) for text in texts)
