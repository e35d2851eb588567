"""The rules of GPTQ's `dynamic`: the first that fits decides. Pure.

vLLM and SGLang follow them alike (`get_dynamic_override` and `override_config`); which of them
skip a module, and which kernels take what they change, is each engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtpfix.engines.policies.marlin import SYMMETRIC
from mtpfix.engines.policies.method import RaisesError
from mtpfix.model import Entry, Json
from mtpfix.patterns import bounded, fits_start
from mtpfix.quant.arguments import Grid, grid
from mtpfix.quant.readers.gptq import CHANGE, SKIP


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a pattern, and what it changes for the modules that it fits."""

    entry: Entry
    pattern: str
    value: Json

    @property
    def negative(self) -> bool:
        """Whether its key says that modules that it fits are not quantized."""
        return self.entry.text.startswith(SKIP)


class Rules:
    """Rules in the order of the object.

    Args:
        entries: the keys.
        values: key -> what it changes.

    Raises:
        PatternError: there are too many of them.
    """

    def __init__(self, entries: Iterable[Entry], values: Mapping[str, Json]) -> None:
        self._rules = [
            Rule(entry, _pattern(entry.text), values.get(entry.text))
            for entry in bounded(entries, lambda _: True)
        ]

    def first(self, name: str) -> Entry | None:
        """Return the key of the rule that decides about `name`; None: none fits.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        rule = self.rule(name)
        return None if rule is None else rule.entry

    def rule(self, name: str) -> Rule | None:
        """Return the rule that decides about `name`; None: none fits.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        number = len(self._rules)
        fitting = (r for r in self._rules if fits_start(r.entry, r.pattern, name, number))
        return next(fitting, None)


def _pattern(text: str) -> str:
    """Return a key without the sign before it."""
    return text.removeprefix(SKIP) if text.startswith(SKIP) else text.removeprefix(CHANGE)


def check(rule: Rule, base: Mapping[str, Json], *, marlin: bool) -> None:
    """See whether an engine can build a layer with the bits that a rule leaves it.

    Args:
        rule: the rule that decides about the layer.
        base: the metadata.
        marlin: whether Marlin is to take the weights.

    Raises:
        RaisesError: it cannot.
    """
    if not isinstance(rule.value, Mapping):
        kind = type(rule.value).__name__
        raise RaisesError(f"AttributeError: {kind!r} object has no attribute 'get'", rule.entry)
    bits, sym = changed(rule, base, "bits", int), changed(rule, base, "sym", bool)
    if bits == 0:
        raise RaisesError("ZeroDivisionError: integer division or modulo by zero", rule.entry)
    if marlin and (bits, sym) not in SYMMETRIC:
        message = f"ValueError: Unsupported quantization config: bits={bits}, sym={sym}"
        raise RaisesError(message, rule.entry)


def packing(rule: Rule | None, base: Mapping[str, Json]) -> Grid | None:
    """Return bits and group size of a layer, after the rule that decides about it."""
    return grid(*(changed(rule, base, key, int) for key in ("bits", "group_size")))


def changed(rule: Rule | None, base: Mapping[str, Json], key: str, kind: type) -> Json:
    """Return a setting after a rule has changed it; values of another type are passed over."""
    value = rule.value if rule is not None and isinstance(rule.value, Mapping) else {}
    own = value.get(key, base.get(key))
    return own if isinstance(own, kind) else base.get(key)
