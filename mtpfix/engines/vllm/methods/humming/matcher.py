"""humming: every Linear and expert that no part of a name and no `-:` rule exempts. Pure.

Source: `HummingConfig.get_quant_method` and `is_layer_skipped` of each release. What is plain
on disk is loaded all the same: its linear layers fall back to plain ones, and experts are
quantized while they are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.vllm.methods.humming.reader import RULES
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Module, QuantView
from mtpfix.patterns import bounded, fits_start, is_pattern
from mtpfix.quant.location import keys

_HEAD = "lm_head"
"""A part of names that is always exempt."""


class Parts:
    """Entries that are parts of names, or patterns from the release that knows them."""

    def __init__(self, entries: Iterable[Entry], release: str) -> None:
        self._entries = tuple(entries)
        known: bool = rules("humming_patterns", release)
        patterns = (entry for entry in self._entries if known and is_pattern(entry))
        self._patterns = bounded(patterns, is_pattern)

    def first(self, name: str) -> Entry | None:
        """The first entry that fits `name`."""
        return next((entry for entry in self._entries if self._fits(entry, name)), None)

    def _fits(self, entry: Entry, name: str) -> bool:
        if self._patterns and is_pattern(entry):
            body = entry.text.removeprefix("re:")
            return fits_start(entry, body, name, len(self._patterns))
        return entry.text in name


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    view, context = setting.view, setting.context
    exempt, minus = Parts(view.ignore, context.release), tuple(_minus(view))

    def decide(module: Module) -> Decision:
        if module.kind not in ("linear", "experts"):
            return plain(module)
        entry = exempt.first(module.name)
        if entry is not None or _HEAD in module.name:
            return plain(module, entry)
        name, number = module.name, len(minus)
        rule = next((r for r in minus if fits_start(r, r.text[2:], name, number)), None)
        if rule is not None:
            return plain(module, rule)
        return quantized(replace(module, lenient=True), view, context)

    return decide


def _minus(view: QuantView) -> Iterable[Entry]:
    """The rules that exempt what they fit."""
    rules_of = keys(view.file, f"{view.pointer}/{RULES}", view.raw.get(RULES))
    return (rule for rule in rules_of if rule.text.startswith("-"))
