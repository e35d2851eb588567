"""torchao: every Linear, unless the list spares it or it has no configuration by name. Pure.

Source: `TorchAOConfig.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.vllm.methods.base import (
    Decide,
    RaisesError,
    Setting,
    alike,
    own_name,
    plain,
    unmapped,
)
from mtpfix.engines.vllm.methods.built import quantized
from mtpfix.engines.vllm.methods.components import Anywhere
from mtpfix.model import Decision, Entry, Module, QuantView
from mtpfix.patterns import fits_whole
from mtpfix.quant.torchao import by_name, kind

_BY_NAME = "ModuleFqnToConfig"


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        RaisesError: the engine refuses the metadata as a whole.
    """
    view, context = setting.view, setting.context
    _read(view)
    spared = Anywhere((*view.ignore, *_plain(view)))
    targets = tuple(entry for group in view.groups for entry in group.targets)
    named = kind(view.raw) == _BY_NAME

    def decide(module: Module) -> Decision:
        if module.kind != "linear":
            return plain(module)
        entry = spared.first(module.name)
        if entry is not None:
            return plain(module, entry)
        if named:
            entry = _configured(module.name, targets)
            if entry is None or by_name(view.raw)[entry.text] is None:
                return plain(module, entry)
        return quantized(module, view, context, entry)

    return decide


def _read(view: QuantView) -> None:
    """Raises what `from_config` does.

    Raises:
        RaisesError: there is no configuration, or more than the default one.
    """
    kinds = view.raw.get("quant_type")
    if kinds is None:
        raise RaisesError("AssertionError: quant_type must be specified")
    if list(kinds) != ["default"]:
        raise RaisesError("AssertionError: Expected only one key 'default' in quant_type")


def _plain(view: QuantView) -> Iterable[Entry]:
    """The names that have no configuration: they count as entries of the list too."""
    configured = by_name(view.raw)
    targets = (entry for group in view.groups for entry in group.targets)
    return (entry for entry in targets if configured[entry.text] is None)


def _configured(name: str, targets: Iterable[Entry]) -> Entry | None:
    """The name or pattern that has a configuration for `name`, else the default one.

    Raises:
        PatternError: a pattern before it is no valid one, or takes too long.
    """
    known = {entry.text: entry for entry in targets}
    if name in known:
        return known[name]
    patterns = [entry for text, entry in known.items() if text.startswith("re:")]
    number = len(patterns)
    found = next((entry for entry in patterns if fits_whole(entry, name, number)), None)
    return found or known.get("_default")


COMPARES = "an entry is one or several components of a name, whole and in their order"
probes = own_name
renamed = unmapped
traits = alike


def exact(entry: Entry) -> bool:
    """Never: any entry may be a part of another name."""
    return False


def listed(entries: Iterable[Entry], release: str) -> Anywhere:
    """The entries, as they are compared with names."""
    return Anywhere(entries)
