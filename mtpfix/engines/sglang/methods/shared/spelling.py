"""How entries for SGLang are written, so that they mean the same in all releases."""

from __future__ import annotations

from dataclasses import replace

from mtpfix.quant.spelling import COMPONENTS, patterns

PATHS = COMPONENTS
"""Dotted paths: a block is exempt by the path above it."""


def _experts(name: str) -> str:
    """The names of single experts are compared, and from 0.5.21 on that of their module."""
    return rf"re:^{_escaped(name)}(\..*)?$"


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


MARKED = replace(patterns(_experts, mark="re:"), name=lambda name: f"re:^{_escaped(name)}$")
"""Names behind `re:`: a plain one fits more than itself, before 0.5.17 and after it."""
