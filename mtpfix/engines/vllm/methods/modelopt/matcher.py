"""ModelOpt: every Linear, every expert and from 0.23 every head, unless the list excludes it.

One module for `modelopt`, `modelopt_fp4` and `modelopt_mxfp8`: what they build is data.
Source: `ModelOptQuantConfigBase.get_quant_method` of each release. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mtpfix.engines.policies.method import Decide, RaisesError, Setting, plain
from mtpfix.engines.vllm.methods.modelopt.wildcards import Excluded, spread
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Module
from mtpfix.quant.readers.modelopt import LAYERS


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        PatternError: a wildcard of the list is no valid pattern.
    """
    exempts = excluded_by(setting)
    exempt = tuple(rules("modelopt_spares", setting.context.release))

    def decide(module: Module) -> Decision:
        entry = exempts(module.name)
        if entry is not None:
            return plain(module, entry)
        if any(part in module.name for part in exempt):
            return _unquantized(module)
        return quantized(module, setting.view, setting.context)

    return decide


def excluded_by(setting: Setting) -> Callable[[str], Entry | None]:
    """Says which entry excludes a name; it raises `ShardsDifferError` where that is not clear.

    Raises:
        PatternError: a wildcard of the list is no valid pattern.
    """
    excluded = Excluded(setting.view.ignore)
    return lambda name: excluded.exempts(name, setting.packed, setting.context.release)


def _unquantized(module: Module) -> Decision:
    """The vision tower gets the method of a plain Linear, whatever the layer is."""
    if module.kind == "experts":
        raise RaisesError("AssertionError: UnquantizedLinearMethod is not for fused experts")
    return plain(module)


def parts(entry: Entry) -> Iterator[Entry]:
    """The parts of an entry; the name of a layer that has an algorithm is whole."""
    texts = spread(entry.text)
    if len(texts) == 1 or f"/{LAYERS}/" in entry.pointer:
        yield entry
    else:
        yield from (replace(entry, text=text, written=entry.spelling) for text in texts)
