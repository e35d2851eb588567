"""The rules of GPTQ's `dynamic`: the first that fits decides. Pure.

Source: `get_dynamic_override` and `override_config` in `quantization/utils/gptq_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtpfix.engines.policies.method import RaisesError
from mtpfix.model import Entry, Json
from mtpfix.patterns import bounded, fits_start
from mtpfix.quant.arguments import Grid, grid

SKIP, CHANGE = "-:", "+:"
_MARLIN = ((4, True), (8, True))
_GROUPS = (-1, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a pattern, and what it changes for the modules that it fits."""

    entry: Entry
    pattern: str
    value: Json

    @property
    def skips(self) -> bool:
        """Whether modules that it fits are not quantized; vLLM compares its value with False."""
        falsy = isinstance(self.value, bool | int | float) and self.value == 0
        return self.entry.text.startswith(SKIP) or falsy


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
            Rule(entry, _pattern(entry), values.get(entry.text))
            for entry in bounded(entries, lambda _: True)
        ]

    def first(self, name: str) -> Entry | None:
        """The entry of the rule that decides about `name`.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        rule = self.rule(name)
        return None if rule is None else rule.entry

    def rule(self, name: str) -> Rule | None:
        """The rule that decides about `name`.

        Raises:
            PatternError: a pattern before it is invalid, or takes too long.
        """
        number = len(self._rules)
        fitting = (r for r in self._rules if fits_start(r.entry, r.pattern, name, number))
        return next(fitting, None)


def _pattern(entry: Entry) -> str:
    """The key without the sign before it."""
    text = entry.text
    return text.removeprefix(SKIP) if text.startswith(SKIP) else text.removeprefix(CHANGE)


def check(rule: Rule, base: Mapping[str, Json], *, marlin: bool) -> None:
    """Sees whether vLLM can build a module with what a rule changes.

    Args:
        rule: the rule that decides about the module.
        base: the metadata.
        marlin: whether Marlin is to take the weights.

    Raises:
        RaisesError: it cannot.
    """
    if not isinstance(rule.value, Mapping):
        kind = type(rule.value).__name__
        message = f"AttributeError: {kind!r} object has no attribute 'get'"
        raise RaisesError(message, rule.entry)
    bits = _changed(rule.value, base, "bits", int)
    sym = _changed(rule.value, base, "sym", bool)
    size = _changed(rule.value, base, "group_size", int)
    if bits == 0:
        raise RaisesError("ZeroDivisionError: integer division or modulo by zero", rule.entry)
    if marlin and (bits, sym) not in _MARLIN:
        message = f"ValueError: Unsupported quantization config: bits={bits}, sym={sym}"
        raise RaisesError(message, rule.entry)
    if marlin and size not in _GROUPS:
        message = f"ValueError: Marlin does not support group_size = {size}."
        raise RaisesError(message, rule.entry)


def packed_by(rule: Rule | None, base: Mapping[str, Json]) -> Grid | None:
    """Return bits and group size of a module, after the rule that decides about it."""
    value = rule.value if rule is not None and isinstance(rule.value, Mapping) else {}
    return grid(*(_changed(value, base, key, int) for key in ("bits", "group_size")))


def _changed(value: Mapping[str, Json], base: Mapping[str, Json], key: str, kind: type) -> Json:
    """A setting after a rule has changed it; values of another type are passed over."""
    own = value.get(key, base.get(key))
    return own if isinstance(own, kind) else base.get(key)
