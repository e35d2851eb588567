"""How an entry is spelled, by quantization method: each in its most robust form. Pure.

A form that reaches everything below a prefix ends at a dot, so that layer 4 is never taken
for layer 43. Forms hold for every covered release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

Spell = Callable[[str], str]
"""From a name, or a prefix that ends in a dot, to an entry."""


@dataclass(frozen=True, slots=True)
class Form:
    """The spellings of one method.

    Attributes:
        name: for one module, by the name that the engine asks about.
        experts: for all weights of routed experts, by the name of their module.
        block: for everything below a prefix; None where the method has no such entry.
        unmapped: for one module, in a spelling that no name mapper touches; None where
            there is none.
        mark: what patterns begin with; None where there are none, or none that can be told.
        unmapped_block: the same for a block, where `block` is touched.
        anywhere: an entry fits every name that holds it, at any place.
    """

    name: Spell
    experts: Spell
    block: Spell | None = None
    unmapped: Spell | None = None
    mark: str | None = None
    unmapped_block: Spell | None = None
    anywhere: bool = False


def form(method: str) -> Form:
    """The spellings of a method."""
    return _FORMS[method]


def _as_it_is(name: str) -> str:
    return name


def _below(name: str) -> str:
    return rf"re:^{re.escape(name)}\..*"


def _set_apart(name: str) -> str:
    """A wildcard that fits the name alone, and that does not begin as the name does."""
    return f"[{name[0]}]{name[1:]}" if name else name


_NAMES = Form(name=_as_it_is, experts=_as_it_is)
_COMPONENTS = replace(_NAMES, block=lambda root: root.removesuffix("."))
_MODELOPT = replace(
    _NAMES,
    block=lambda root: f"{root}*",
    unmapped=_set_apart,
    unmapped_block=lambda root: f"{_set_apart(root)}*",
)

_FORMS: Mapping[str, Form] = {
    "bitsandbytes": _COMPONENTS,
    "awq": replace(_NAMES, block=_as_it_is, anywhere=True),
    "compressed-tensors": Form(
        name=lambda name: name or "re:^$",
        experts=_below,
        block=lambda root: f"re:^{re.escape(root)}.*",
        unmapped=lambda name: f"re:^{re.escape(name)}$",
        mark="re:",
    ),
    "deepseek_v4_fp8": _NAMES,
    "experts_int8": _NAMES,
    "fbgemm_fp8": _NAMES,
    "fp8": _NAMES,
    "fp_quant": _NAMES,
    "gptq": Form(
        name=lambda name: f"-:^{re.escape(name)}$",
        experts=lambda name: f"-:^{re.escape(name)}$",
        block=lambda root: f"-:^{re.escape(root)}.*",
        mark="-:",
    ),
    "humming": replace(_NAMES, block=_as_it_is),
    "gpt_oss_mxfp4": _NAMES,
    "moe_wna16": _NAMES,
    "mxfp4": _NAMES,
    "mxfp8": _MODELOPT,
    "modelopt": _MODELOPT,
    "modelopt_fp4": _MODELOPT,
    "modelopt_mxfp8": _MODELOPT,
    "modelopt_mixed": _MODELOPT,
    "auto-round": Form(
        name=lambda name: name or "^$",
        experts=lambda name: rf"^{re.escape(name)}(\..*)?$",
        block=lambda root: f"^{re.escape(root)}.*",
        unmapped=lambda name: f"^{re.escape(name)}$",
    ),
    "online": _NAMES,
    "torchao": _COMPONENTS,
    "quark": Form(
        name=lambda name: name or "re:^$",
        experts=lambda name: rf"re:^{re.escape(name)}(\..*)?$",
        block=lambda root: f"re:^{re.escape(root)}.*",
        unmapped=lambda name: f"re:^{re.escape(name)}$",
        mark="re:",
    ),
}
