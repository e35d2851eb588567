"""The small expression language of the policy files.

A policy says under which configuration a module exists, for example
`layer >= first_k_dense_replace and layer % moe_layer_freq == 0`. Expressions
are a subset of Python: names (configuration fields; an absent field is None),
literals, arithmetic, comparisons, boolean operators, subscripts, conditional
expressions and the calls in `_FUNCTIONS`. Anything else is refused where the
policy is loaded. The values come from files that strangers wrote.
"""

from __future__ import annotations

import ast
import itertools
import keyword
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mtpfix.errors import UnknownError

Value = Any


class ExprError(UnknownError):
    """The expression cannot be evaluated on this configuration."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"config.json does not fit the family ({message})",
            "compare these fields with the original model's config.json",
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


Fields = Mapping[str, Value]
"""Fields of a configuration by name; an absent one is None."""

_Node = Callable[[Fields], Value]
"""What a part of an expression comes to under a configuration."""


class Expression:
    """One expression, parsed.

    Args:
        source: its text.

    Raises:
        ValueError: the text is not of the language.
    """

    __slots__ = ("_value", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._value = _compiled(source)

    def __repr__(self) -> str:
        return repr(self.source)

    def __str__(self) -> str:
        return self.source

    @property
    def fields(self) -> list[str]:
        """The fields of the configuration that it reads."""
        words = re.findall(r"[A-Za-z_]\w*", self.source)
        known = (*_FUNCTIONS, *keyword.kwlist)
        return [word for word in dict.fromkeys(words) if word not in known]

    def value(self, fields: Fields) -> Value:
        """Return what the expression comes to.

        Raises:
            ExprError: it does not fit the values, for example a number where the
                configuration holds a string.
        """
        try:
            return self._value(fields)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ExprError(f"{self.source!r}: {error}") from error


_BRACES = re.compile(r"\{([^{}]*)\}")


class Template:
    """Text in which each `{expression}` stands for its value.

    Args:
        source: the text.

    Raises:
        ValueError: an expression is not of the language, or a brace is missing.
    """

    __slots__ = ("_between", "_values", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._between, expressions = (parts := _BRACES.split(source))[::2], parts[1::2]
        self._values = [Expression(each) for each in expressions]
        if any(brace in text for text in self._between for brace in "{}"):
            raise ValueError(f"a brace is missing in {source!r}")

    def __repr__(self) -> str:
        return repr(self.source)

    def filled(self, fields: Fields) -> str:
        """Return the text with the values put in.

        Raises:
            ExprError: an expression does not fit the values.
        """
        if not self._values:
            return self.source
        values = (str(each.value(fields)) for each in self._values)
        return "".join(itertools.chain(*zip(self._between, (*values, ""), strict=True)))


@lru_cache(maxsize=4096)
def _compiled(source: str) -> _Node:
    try:
        return _node(ast.parse(source, mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{source!r}: {error.msg}") from error
    except ValueError as error:
        raise ValueError(f"{source!r}: {error}") from error


def _node(node: ast.expr) -> _Node:  # noqa: C901, PLR0911
    match node:
        case ast.Constant(value=value):
            return lambda _: value
        case ast.Name(id=name):
            return lambda fields: fields.get(name)
        case ast.List() | ast.Tuple():
            items = [_node(item) for item in node.elts]
            return lambda fields: [item(fields) for item in items]
        case ast.BoolOp():
            return _junction([_node(each) for each in node.values], isinstance(node.op, ast.Or))
        case ast.UnaryOp(op=ast.Not()):
            denied = _node(node.operand)
            return lambda fields: not denied(fields)
        case ast.UnaryOp(op=ast.USub()):
            turned = _node(node.operand)
            return lambda fields: -_number(turned(fields))
        case ast.BinOp() if type(node.op) in _BINARY:
            operate, left, right = _BINARY[type(node.op)], _node(node.left), _node(node.right)
            return lambda fields: _number(operate(_number(left(fields)), _number(right(fields))))
        case ast.Compare():
            return _comparison(node)
        case ast.IfExp():
            test, then, other = _node(node.test), _node(node.body), _node(node.orelse)
            return lambda fields: then(fields) if test(fields) else other(fields)
        case ast.Subscript():
            container, key = _node(node.value), _node(node.slice)
            return lambda fields: container(fields)[key(fields)]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            function, given = _FUNCTIONS[name], [_node(argument) for argument in node.args]
            return lambda fields: function(*(argument(fields) for argument in given))
        case _:
            raise ValueError(f"{ast.unparse(node)} is not part of the policy language")


def _junction(nodes: list[_Node], end: bool) -> _Node:
    """Return `or` of some nodes where `end` is true, else `and`: the first value that decides."""

    def value(fields: Fields) -> Value:
        found: Value = None
        for node in nodes:
            found = node(fields)
            if bool(found) is end:
                break
        return found

    return value


def _comparison(node: ast.Compare) -> _Node:
    first = _node(node.left)
    sides = [
        (_COMPARE[type(test)], _node(side))
        for test, side in zip(node.ops, node.comparators, strict=True)
    ]

    def value(fields: Fields) -> bool:
        left = first(fields)
        for holds, side in sides:
            right = side(fields)
            if not holds(left, right):
                return False
            left = right
        return True

    return value


def _number(value: Value) -> int:
    """A number that arithmetic may use: whole, and no larger than any real count."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    if abs(value) > _LARGEST:
        raise ValueError("a number is larger than any real model's")
    return value
