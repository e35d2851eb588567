"""torchao: every Linear, unless the list exempts it or it has no configuration by name. Pure.

Source: `TorchAOConfig.get_quant_method` of each release.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.components import Anywhere
from mtpfix.engines.vllm.methods.torchao.reader import by_name, kind
from mtpfix.model import Decision, Entry, Module, QuantView
from mtpfix.patterns import fits_whole

_BY_NAME = "ModuleFqnToConfig"


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    view, context = setting.view, setting.context
    exempt = Anywhere((*view.ignore, *_plain(view)))
    targets = tuple(entry for group in view.groups for entry in group.targets)
    named = kind(view.raw) == _BY_NAME

    def decide(module: Module) -> Decision:
        if module.kind != "linear":
            return plain(module)
        entry = exempt.first(module.name)
        if entry is not None:
            return plain(module, entry)
        if named:
            entry = _configured(module.name, targets)
            if entry is None or by_name(view.raw)[entry.text] is None:
                return plain(module, entry)
        return quantized(module, view, context, entry)

    return decide


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
