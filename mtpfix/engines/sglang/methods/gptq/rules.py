"""Which rules of GPTQ's `dynamic` skip a module, and what SGLang builds under others. Pure.

Source: `get_dynamic_override` and `override_config` in `quantization/utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies import dynamic_rules
from mtpfix.engines.policies.dynamic_rules import Rule, changed
from mtpfix.engines.policies.method import RaisesError
from mtpfix.model import Json

_PLAIN_BITS = (2, 3, 4, 8)
_WRONG_BITS = (
    "ValueError: Currently, only 2/3/4/8-bit weight quantization is supported for GPTQ, "
    "but got {bits} bits."
)


def skips(rule: Rule) -> bool:
    """Return whether modules that a rule fits are not quantized."""
    return rule.negative or rule.value is False


def check(rule: Rule, base: Mapping[str, Json], *, marlin: bool) -> None:
    """See whether SGLang can build a layer with what a rule changes.

    Raises:
        RaisesError: it cannot.
    """
    dynamic_rules.check(rule, base, marlin=marlin)
    bits = changed(rule, base, "bits", int)
    if not marlin and bits not in _PLAIN_BITS:
        raise RaisesError(_WRONG_BITS.format(bits=bits), rule.entry)
