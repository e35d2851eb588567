"""The public calls are documented and typed, whole."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest

import mtpfix

CALLS = {
    name: found for name in mtpfix.__all__ if inspect.isfunction(found := getattr(mtpfix, name))
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_what_it_takes_and_raises(name: str) -> None:
    call: Callable[..., Any] = CALLS[name]
    told = inspect.getdoc(call) or ""
    assert all(f"    {parameter}: " in told for parameter in inspect.signature(call).parameters)
    assert "\nRaises:\n" in told
    hints = typing.get_type_hints(call)
    assert set(hints) == {*inspect.signature(call).parameters, "return"}


def test_what_a_call_returns_is_public() -> None:
    returned = {typing.get_type_hints(call)["return"].__name__ for call in CALLS.values()}
    returned -= {"Callable", "Iterator"}  # what a gate is made of
    assert returned <= set(mtpfix.__all__)
