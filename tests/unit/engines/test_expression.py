"""The expression language of the policies: every node, and values that strangers wrote."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.engines.policies.expression import ExprError, Expression, Template


def evaluate(source: str, fields: Any) -> Any:
    """The value of an expression."""
    return Expression(source).value(fields)


@pytest.mark.parametrize(
    ("source", "fields", "value"),
    [
        ("3", {}, 3),
        ("'a'", {}, "a"),
        ("None", {}, None),
        ("True", {}, True),
        ("layers", {"layers": 61}, 61),
        ("[1, n]", {"n": 2}, [1, 2]),
        ("(1, n)", {"n": 2}, [1, 2]),
        ("a and b", {"a": 1, "b": 2}, 2),
        ("a and b", {"a": 0, "b": 2}, 0),
        ("a or b", {"a": 0, "b": 2}, 2),
        ("a or b", {"a": 1, "b": 2}, 1),
        ("not a", {"a": 0}, True),
        ("-a", {"a": 4}, -4),
        ("a + 2", {"a": 3}, 5),
        ("a - 2", {"a": 3}, 1),
        ("a * 2", {"a": 3}, 6),
        ("a % 2", {"a": 3}, 1),
        ("a // 2", {"a": 7}, 3),
        ("a == 1", {"a": 1}, True),
        ("a != 1", {"a": 1}, False),
        ("a < 2", {"a": 1}, True),
        ("a <= 1", {"a": 1}, True),
        ("a > 2", {"a": 1}, False),
        ("a >= 1", {"a": 1}, True),
        ("1 < a < 3", {"a": 2}, True),
        ("1 < a < 3", {"a": 3}, False),
        ("a in b", {"a": 1, "b": [1, 2]}, True),
        ("a not in b", {"a": 1, "b": [1, 2]}, False),
        ("a is None", {"a": None}, True),
        ("a is not None", {"a": 0}, True),
        ("1 if a else 2", {"a": True}, 1),
        ("1 if a else 2", {"a": False}, 2),
        ("a['depth']", {"a": {"depth": 27}}, 27),
        ("a[0]", {"a": [5]}, 5),
        ("len(a)", {"a": [1, 2]}, 2),
        ("max(a, 0)", {"a": -1}, 0),
        ("min(a, 0)", {"a": -1}, -1),
        ("default(a, 1)", {"a": None}, 1),
        ("default(a, 1)", {"a": 0}, 0),
        ("ints(a)", {"a": "3, 4,5"}, [3, 4, 5]),
        ("ints(a)", {"a": [3]}, [3]),
        ("ints(a)", {"a": ""}, []),
        ("at(a, 1)", {"a": [4, 5]}, 5),
        ("at(a, 2)", {"a": [4, 5]}, None),
        ("at(a, 2, 7)", {"a": [4, 5]}, 7),
        ("at(a, 0, 7)", {"a": None}, 7),
    ],
)
def test_a_node_has_the_value_that_python_gives_it(source: str, fields: Any, value: Any) -> None:
    assert evaluate(source, fields) == value


def test_an_absent_field_is_none() -> None:
    assert evaluate("nothing", {}) is None


def test_nothing_is_in_an_absent_list() -> None:
    assert evaluate("1 in nothing", {}) is False


def test_a_branch_that_is_not_taken_is_not_evaluated() -> None:
    assert evaluate("1 if True else 1 // 0", {}) == 1


def test_and_stops_at_the_first_false_value() -> None:
    assert evaluate("a is not None and a > 3", {}) is False


def test_at_does_not_count_from_the_end() -> None:
    assert evaluate("at(a, -1, 9)", {"a": [1, 2]}) == 9


@pytest.mark.parametrize(
    "source",
    [
        "lambda: 1",
        "a.b",
        "[x for x in a]",
        "{1: 2}",
        "f'{a}'",
        "__import__('os')",
        "open('x')",
        "a.append(1)",
        "(len)(*a)",
        "a := 1",
        "2 ** 9",
        "1 << 9",
        "~a",
        "1 / 2",
        "a if",
        "",
        "lne(a)",
        "len(a, key=1)",
        "1 if True else lambda: 1",
        "True or a.b",
    ],
)
def test_what_is_not_of_the_language_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(source))):
        Expression(source)


@pytest.mark.parametrize(
    ("source", "fields", "text"),
    [
        ("", {}, ""),
        ("model.", {}, "model."),
        ("{i}", {"i": 3}, "3"),
        ("a.{i + 1}.{b}", {"i": 3, "b": "c"}, "a.4.c"),
        ("{i}{i}.", {"i": 0}, "00."),
        ("{'x.' if a else ''}y", {"a": 0}, "y"),
        ("{absent}", {}, "None"),
    ],
)
def test_a_template_is_filled(source: str, fields: Any, text: str) -> None:
    assert Template(source).filled(fields) == text


def test_a_template_with_a_wrong_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="policy language"):
        Template("a.{i.b}.")


def test_a_template_that_does_not_fit_the_values_is_an_error_of_its_own_kind() -> None:
    with pytest.raises(ExprError, match=r"i \+ 1"):
        Template("a.{i + 1}.").filled({"i": "3"})


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("a + 1", {"a": "61"}),
        ("a + 1", {"a": True}),
        ("a + 1", {"a": 1.5}),
        ("a + 1", {"a": None}),
        ("a + 1", {"a": [1]}),
        ("a + 1", {"a": {"b": 1}}),
        ("a + 1", {"a": 1 << 41}),
        ("a * b", {"a": 1 << 30, "b": 1 << 30}),
        ("-a", {"a": "1"}),
        ("a < 1", {"a": "x"}),
        ("a < 1", {"a": None}),
        ("a // b", {"a": 1, "b": 0}),
        ("a % b", {"a": 1, "b": 0}),
        ("a[3]", {"a": [1]}),
        ("a['x']", {"a": {}}),
        ("a['x']", {"a": [1]}),
        ("a['x']", {"a": None}),
        ("len(a)", {"a": 3}),
        ("max(a, 0)", {"a": "x"}),
        ("ints(a)", {"a": "3;4"}),
        ("ints(a)", {"a": 3}),
        ("ints(a)", {"a": "9" * 5000}),
        ("1 in a", {"a": 5}),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_of_its_own_kind(source: str, fields: Any) -> None:
    with pytest.raises(ExprError):
        evaluate(source, fields)


def test_the_error_shows_the_expression() -> None:
    with pytest.raises(ExprError, match="num_hidden_layers"):
        evaluate("num_hidden_layers + 1", {"num_hidden_layers": "61"})


def test_a_deeply_nested_value_is_only_looked_at() -> None:
    value: Any = []
    for _ in range(50_000):
        value = [value]
    assert evaluate("a is not None", {"a": value}) is True


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_SOURCES = (
    "n_routed_experts is not None and layer >= first and layer % freq == 0",
    "at(a, layer, 1) == 4",
    "default(a, 0) > 0 and layer not in b",
    "layer in ints(a) if a is not None else layer >= 1",
    "default(a, 2 * b) // 2",
    "a['depth']",
)


@given(
    st.sampled_from(_SOURCES),
    st.dictionaries(
        st.sampled_from(["n_routed_experts", "layer", "first", "freq", "a", "b"]), _VALUES
    ),
)
def test_no_value_brings_another_exception_out(source: str, fields: dict[str, Any]) -> None:
    with suppress(ExprError):
        evaluate(source, fields)


@pytest.mark.parametrize(
    ("values", "told"), [([1, 2], True), ([1, 2, 3], False), ([], False), (None, False), (2, False)]
)
def test_short_tells_a_list_that_ends_too_early(values: object, told: bool) -> None:
    assert evaluate("short(values, 3)", {"values": values}) is told


def test_tail_is_what_a_list_has_from_a_place_on() -> None:
    assert evaluate("tail(values, 2)", {"values": ["a", "b", "c"]}) == ["c"]
    assert evaluate("tail(values, 2)", {"values": None}) == []
    assert evaluate("tail(values, 9)", {"values": ["a"]}) == []
