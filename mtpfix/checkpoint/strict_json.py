"""Strict JSON and printable names: the two guards that every file of a repo passes."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

import msgspec

from mtpfix.checkpoint.document import TOKEN
from mtpfix.errors import BrokenFileError
from mtpfix.model import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MAX_DEPTH = 64
"""Levels of nesting that a file may have; real metadata stays below ten."""

MAX_DIGITS = 20
"""Digits of the longest whole number that is read; 2**64 has twenty."""

_SHOWN = 120
_BOM = "\ufeff"
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
Pairs = list[tuple[str, Json]]


class _FaultError(ValueError):
    """Raised inside the JSON parser, which knows that something is wrong but not where."""


def shown(name: str) -> str:
    """`name` quoted for a one-line message: no raw control characters, about 120 at most."""
    # Cut first: the escapes of a hostile name of megabytes are never built.
    text = repr(name if len(name) <= 2 * _SHOWN else f"{name[:_SHOWN]}{name[-_SHOWN:]}")
    return text if len(text) <= _SHOWN else f"{text[:84]}...{text[-33:]}"


def unique(pairs: Pairs) -> dict[str, Json]:
    """One JSON object as a dict; a key that stands twice is a fault."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _FaultError
    return table


def loads(raw: bytes, file: str, *, hook: Callable[[Pairs], Json] = unique) -> Json:
    """Parses a JSON file that nobody vouches for.

    Args:
        raw: UTF-8 text.
        file: path inside the repo, for messages.
        hook: makes the value of each object, and must call `unique`.

    Returns:
        The value as `json.loads` gives it.

    Raises:
        BrokenFileError: not UTF-8, a byte order mark, not JSON, a key twice in one object, NaN
            or an infinite or endless number, half of a surrogate pair, or nested too deep.
    """
    text = _decode(raw, file)
    # Pairs take twice the time, and the index of a large model has 30 MB. Without escapes, quotes
    # stand only around strings: what the value lacks of them was a key that stood twice.
    plain = hook is unique and "\\" not in text
    try:
        value = _parsed(text, None if plain else hook)
        strings, levels = _census(value)
        if plain and 2 * strings != text.count('"'):
            value = _parsed(text, hook)
    except RecursionError:
        raise _broken(file, "is nested too deep") from None
    except json.JSONDecodeError as error:
        raise _broken(file, f"is not JSON: {error.msg}", error.lineno, error.colno) from None
    except _FaultError:
        raise _located(raw, file) from None
    if _HALF_PAIR.search(raw) and _find_fault(raw):
        raise _located(raw, file)
    if levels > MAX_DEPTH:
        raise _broken(file, f"is nested more than {MAX_DEPTH} levels deep")
    return value


def quick_table(raw: bytes, key: str, file: str) -> dict[str, str] | None:
    """Return the strings of one object in a JSON file, as `loads` would, in a fifth of the time.

    The index of a large model has 280,000 of them.

    Args:
        raw: the file: an object that holds the other, under `key`.
        key: the key.
        file: path inside the repo, for messages.

    Returns:
        The object; None where it is not certain that `loads` would return the same.

    Raises:
        BrokenFileError: what stands beside it is not as `loads` asks.
    """
    if b"\\" in raw:
        return None
    try:
        parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        table = msgspec.json.decode(parts.pop(key), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        return None
    beside = [bytes(part) for part in parts.values()]
    # Without escapes, quotes stand only around strings: what lacks of them was a key that stood
    # twice.
    quotes = 2 * (len(parts) + 1) + 4 * len(table) + sum(part.count(b'"') for part in beside)
    if raw.count(b'"') != quotes:
        return None
    for part in beside:
        loads(part, file)
    return table


def part_of(raw: bytes, key: str, file: str) -> Json:
    """Return one value of an object, as `loads` would, without the others; None: it is not there.

    Args:
        raw: the file, an object.
        key: the key.
        file: path inside the repo, for messages.
    """
    part = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get(key)
    return None if part is None else loads(bytes(part), file)


def _parsed(text: str, hook: Callable[[Pairs], Json] | None) -> Json:
    return json.loads(
        text,
        object_pairs_hook=hook,
        parse_int=_whole,
        parse_float=_finite,
        parse_constant=_constant,
    )


def _census(value: Json) -> tuple[int, int]:
    """How many strings a value holds, keys among them, and on how many levels; stops too deep."""
    strings, levels, level = int(type(value) is str), 0, [value]
    while level and levels <= MAX_DEPTH:
        inner: list[Json] = []
        for node in level:
            if type(node) is dict:
                strings += len(node)
                children: Collection[Json] = node.values()
            elif type(node) is list:
                children = node
            else:
                continue
            types = list(map(type, children))
            strings += types.count(str)
            if dict in types or list in types:
                inner += [child for child in children if type(child) in (dict, list)]
        level = inner
        levels += bool(level)
    return strings, levels


def _decode(raw: bytes, file: str) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _broken(file, "is not UTF-8 text", line) from None
    if text.startswith(_BOM):
        raise BrokenFileError(
            f"{shown(file)}: begins with a byte order mark, which no engine can read",
            "Save it as UTF-8 without one.",
        )
    return text


def _broken(file: str, what: str, line: int = 0, column: int = 0) -> BrokenFileError:
    place = (f", line {line}" if line else "") + (f", column {column}" if column else "")
    return BrokenFileError(
        f"{shown(file)}{place}: {what}", "Restore the file from the repo that it came from."
    )


def _whole(digits: str) -> int:
    # int() takes quadratic time; some Python 3.10 releases set no limit of their own.
    if len(digits) > MAX_DIGITS + 1:
        raise _FaultError
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _FaultError
    return number


def _constant(_: str) -> NoReturn:
    raise _FaultError


def _located(raw: bytes, file: str) -> BrokenFileError:
    what, position = _find_fault(raw) or ("holds a value that is not allowed", 0)
    return _broken(file, what, raw.count(b"\n", 0, position) + 1)


def _find_fault(raw: bytes) -> tuple[str, int] | None:
    """The first fault of a text, and the offset where it stands.

    Slow and exact: it runs only when the parser gave up, or where a surrogate might be halved.
    The syntax is right up to the fault; what comes behind it, the parser has not seen.
    """
    seen: list[set[str]] = []
    for token in TOKEN.finditer(raw):
        kind, word = token.lastgroup, token.group()
        if kind == "open":
            seen.append(set())
        elif kind == "close" and seen:
            seen.pop()
        elif kind in ("text", "key"):
            key = _unescaped(token["text"])
            if key is None:
                return "holds half of a surrogate pair", token.start()
            if kind == "key" and seen:
                if key in seen[-1]:
                    return f"has the key {shown(key)} twice in one object", token.start()
                seen[-1].add(key)
        elif kind == "constant":
            return f"holds {word.decode()}, which is not JSON", token.start()
        elif kind == "number" and (len(word) > MAX_DIGITS + 1 or not math.isfinite(float(word))):
            number = shown(word.decode())
            return f"holds the number {number}, which is out of range", token.start()
    return None


def _unescaped(literal: bytes) -> str | None:
    """The text that a string literal of JSON stands for; None where it is no Unicode text."""
    if b"\\" not in literal:
        return literal[1:-1].decode()
    try:
        text: str = json.loads(literal, strict=False)
    except ValueError:  # behind the fault
        return literal.decode()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return text
