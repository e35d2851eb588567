"""fp8: every Linear and every expert, unless its name is in the list. Pure.

Source: `Fp8Config.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mtpfix.engines.vllm.methods.base import Decide, Rename, Setting, plain
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.skipped import Names, skipped
from mtpfix.engines.vllm.policy import Context
from mtpfix.model import Decision, Entry, Module, QuantView


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
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


COMPARES = "names are compared whole, without wildcards or patterns"


def exact(entry: Entry) -> bool:
    """Whether the entry fits no end of a name, and is not about experts, whose parent it fits."""
    return "experts" not in entry.text and entry.within is None


def listed(entries: Iterable[Entry], release: str) -> Names:
    """The entries, as they are compared with names."""
    return Names(entries)


def probes(module: Module) -> tuple[str, ...]:
    """Experts are asked about by their own name."""
    return (module.name,)


def renamed(entries: Iterable[Entry], rename: Rename) -> tuple[Entry, ...]:
    """Mappers see every entry."""
    return tuple(rename(entry) for entry in entries)


def traits(view: QuantView, context: Context) -> Hashable:
    """Platforms decide alike."""
    return ()
