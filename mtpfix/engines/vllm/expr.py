"""The small expression language of the policy files.

A policy says under which configuration a module exists, for example
`layer >= first_k_dense_replace and layer % moe_layer_freq == 0`. Expressions
are a subset of Python: names (configuration fields; an absent field is None),
literals, arithmetic, comparisons, boolean operators, subscripts, conditional
expressions and the calls in `_FUNCTIONS`. Nothing else is evaluated, since the
values come from files that strangers wrote.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mtpfix.errors import UnknownError

Value = Any


class ExprError(UnknownError):
    """The expression cannot be evaluated on this configuration."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"config.json does not fit what is known of the family ({message})",
            "check the fields that it names against the original model's config.json",
        )


_LARGEST = 1 << 40
"""No count or size in a configuration is larger; keeps arithmetic bounded."""


def _ints_of(text: Value) -> list[int]:
    """Numbers of a comma-separated string (`moe_layers_enum`); a list stays as it is."""
    if text is None or text == "":
        return []
    if isinstance(text, str):
        return [int(part) for part in text.split(",") if part.strip()]
    return list(text)


def _at(values: Value, index: Value, default: Value = None) -> Value:
    """`values[index]`, or `default` where the list is absent or ends before it."""
    if not isinstance(values, list) or not isinstance(index, int):
        return default
    return values[index] if 0 <= index < len(values) else default


def _short(values: Value, count: int) -> bool:
    """Return whether a list with one value a layer ends before all `count` layers have one."""
    return isinstance(values, list) and 0 < len(values) < count


def _tail(values: Value, start: int) -> list[Value]:
    """What a list has from `start` on; nothing where there is no list."""
    return values[start:] if isinstance(values, list) and start >= 0 else []


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "at": _at,
    "ints": _ints_of,
    "len": len,
    "short": _short,
    "tail": _tail,
    "max": max,
    "min": min,
    "default": lambda value, fallback: fallback if value is None else value,
    "get": lambda value, key: value.get(key) if isinstance(value, Mapping) else None,
    "lower": lambda value: value.lower() if isinstance(value, str) else None,
    "upper": lambda value: value.upper() if isinstance(value, str) else None,
}

_BINARY: Mapping[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}

_COMPARE: Mapping[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, values: item in (values or ()),
    ast.NotIn: lambda item, values: item not in (values or ()),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def evaluate(source: str, fields: Mapping[str, Value]) -> Value:
    """Evaluates `source` over configuration fields.

    Args:
        source: an expression of the policy language.
        fields: values by name; absent names are None.

    Raises:
        ExprError: the expression does not fit the values, for example a number
            where the configuration holds a string.
    """
    try:
        return _value(_parse(source), fields)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ExprError(f"{source!r}: {error}") from error


@lru_cache(maxsize=4096)
def _parse(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _value(node: ast.expr, fields: Mapping[str, Value]) -> Value:  # noqa: C901, PLR0911, PLR0912
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return fields.get(node.id)
        case ast.List() | ast.Tuple():
            return [_value(item, fields) for item in node.elts]
        case ast.BoolOp(op=ast.And()):
            return _all(node.values, fields)
        case ast.BoolOp():
            return _any(node.values, fields)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, fields)
        case ast.UnaryOp(op=ast.USub()):
            return -_number(_value(node.operand, fields))
        case ast.BinOp():
            left, right = (_number(_value(side, fields)) for side in (node.left, node.right))
            return _number(_BINARY[type(node.op)](left, right))
        case ast.Compare():
            return _compare(node, fields)
        case ast.IfExp():
            return _value(node.body if _value(node.test, fields) else node.orelse, fields)
        case ast.Subscript():
            return _value(node.value, fields)[_value(node.slice, fields)]
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name](*(_value(argument, fields) for argument in node.args))
        case _:
            raise ValueError(f"{type(node).__name__} is not part of the policy language")


def _all(nodes: list[ast.expr], fields: Mapping[str, Value]) -> Value:
    value: Value = True
    for node in nodes:
        value = _value(node, fields)
        if not value:
            break
    return value


def _any(nodes: list[ast.expr], fields: Mapping[str, Value]) -> Value:
    value: Value = False
    for node in nodes:
        value = _value(node, fields)
        if value:
            break
    return value


def _compare(node: ast.Compare, fields: Mapping[str, Value]) -> bool:
    left = _value(node.left, fields)
    for test, side in zip(node.ops, node.comparators, strict=True):
        right = _value(side, fields)
        if not _COMPARE[type(test)](left, right):
            return False
        left = right
    return True


def _number(value: Value) -> int:
    """A number that arithmetic may use: whole, and no larger than any real count."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    if abs(value) > _LARGEST:
        raise ValueError("a number is larger than any real model's")
    return value
