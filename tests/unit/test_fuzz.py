"""The seeds of the fuzzer, bugs that it found among them, and as many changed copies of each.

`python -m fuzz` does the same at length, led by coverage.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from fuzz import targets

SEEDS = Path(targets.__file__).parent / "seeds"
FILES = sorted(path for path in SEEDS.rglob("*") if path.parent != SEEDS)
COPIES = {"header": 200, "index": 100, "config": 4, "pattern": 30}
COPIES |= {"planner": 4, "sglang": 4, "graft": 40}


def changed(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one to three changes."""
    made = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randint(0, len(made))
        piece = dice.choice([b"", b'"', b"{", b"]", b"\\", b"9", b"\xff", b"null", made[:at]])
        made[at : at + dice.randint(0, 4)] = piece
    return bytes(made)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_seed_and_its_changed_copies_break_no_promise(path: Path) -> None:
    one, data = targets.TARGETS[path.parent.name], path.read_bytes()
    dice = random.Random(path.name)  # noqa: S311 - no secret
    one(data)
    for _ in range(COPIES[path.parent.name]):
        one(changed(data, dice))


def test_every_target_has_a_seed_that_is_read() -> None:
    read = {
        path.parent.name for path in FILES if targets.TARGETS[path.parent.name](path.read_bytes())
    }
    assert read == set(targets.TARGETS)


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "parse_header", lambda *_, **__: {})
    with pytest.raises(AssertionError, match="safetensors"):
        targets.header((SEEDS / "header" / "small").read_bytes())


KINDS = (None, [], {}, "x", -1, 10**18, True, [None], {"x": None}, [[1]])
"""What may stand in the place of any value."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there are values in a document, but for the document itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


CONFIGS = [path for path in FILES if path.parent.name == "config"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_value_of_another_type_breaks_no_promise(path: Path) -> None:
    dice = random.Random(path.name)  # noqa: S311 - no secret
    original = json.loads(path.read_bytes())
    for where in places(original):
        document = json.loads(path.read_bytes())
        holder = reduce(lambda inner, key: inner[key], where[:-1], document)
        holder[where[-1]] = dice.choice(KINDS)
        targets.config(json.dumps(document).encode())
