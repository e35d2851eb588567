"""Which rules of GPTQ's `dynamic` skip a module, and what vLLM builds under others. Pure.

Source: `get_dynamic_override` and `override_config` in `quantization/utils/gptq_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtpfix.engines.policies import dynamic_rules
from mtpfix.engines.policies.dynamic_rules import Rule, changed
from mtpfix.engines.policies.marlin import GROUPS
from mtpfix.engines.policies.method import RaisesError
from mtpfix.model import Json


def skips(rule: Rule) -> bool:
    """Return whether modules that a rule fits are not quantized.

    vLLM compares its value with False, which 0 is equal to.
    """
    falsy = isinstance(rule.value, bool | int | float) and rule.value == 0
    return rule.negative or falsy


def check(rule: Rule, base: Mapping[str, Json], *, marlin: bool) -> None:
    """See whether vLLM can build a module with what a rule changes.

    Args:
        rule: the rule that decides about the module.
        base: the metadata.
        marlin: whether Marlin is to take the weights.

    Raises:
        RaisesError: it cannot.
    """
    dynamic_rules.check(rule, base, marlin=marlin)
    size = changed(rule, base, "group_size", int)
    if marlin and size not in GROUPS:
        message = f"ValueError: Marlin does not support group_size = {size}."
        raise RaisesError(message, rule.entry)
