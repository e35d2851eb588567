"""The rules of GPTQ's `dynamic`: the first that fits decides. Pure.

Source: `get_dynamic_override` and `override_config` in `quantization/utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mtpfix.engines.policies.method import RaisesError
from mtpfix.engines.sglang.methods.shared.marlin import SYMMETRIC
from mtpfix.model import Entry, Json
from mtpfix.patterns import bounded, fits_start
from mtpfix.quant.arguments import Grid, grid

SKIP, CHANGE = "-:", "+:"
_PLAIN_BITS = (2, 3, 4, 8)
_WRONG_BITS = (
    "ValueError: Currently, only 2/3/4/8-bit weight quantization is supported for GPTQ, "
    "but got {bits} bits."
)


class Rule(NamedTuple):
    """One rule: a pattern, and what it changes for the modules that it fits."""

    entry: Entry
    pattern: str
    value: Json

    @property
    def skips(self) -> bool:
        """Whether modules that it fits are not quantized."""
        return self.entry.text.startswith(SKIP) or self.value is False


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
        """Return the key of the rule that decides about `name`.

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
    return text.removeprefix(SKIP) if text.startswith(SKIP) else text.removeprefix(CHANGE)


def check(rule: Rule, base: Mapping[str, Json], *, marlin: bool) -> None:
    """See whether SGLang can build a layer with what a rule changes.

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
    if not marlin and bits not in _PLAIN_BITS:
        raise RaisesError(_WRONG_BITS.format(bits=bits), rule.entry)


def packing(rule: Rule | None, base: Mapping[str, Json]) -> Grid | None:
    """Return bits and group size of a layer, after the rule that decides about it."""
    return grid(*(changed(rule, base, key, int) for key in ("bits", "group_size")))


def changed(rule: Rule | None, base: Mapping[str, Json], key: str, kind: type) -> Json:
    """Return a setting after a rule has changed it; values of another type are passed over."""
    value = rule.value if rule is not None and isinstance(rule.value, Mapping) else {}
    own = value.get(key, base.get(key))
    return own if isinstance(own, kind) else base.get(key)
