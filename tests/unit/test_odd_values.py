"""Every value of a configuration replaced by odd ones, in turn: an error of ours, or an answer.

The fuzzers change bytes; few of their inputs are JSON of another shape at one place. Each place is
tried with a few of the values, drawn at random; `MTPFIX_ODD=all` tries all of them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuzz import targets

SEEDS = Path(__file__).parents[2] / "fuzz" / "seeds"
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    10**19,
    "",
    "1" * 5000,
    "re:",
    "\u202e*[",
    [],
    {},
    [[]],
    [None],
    {"": {}},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document; of long lists the first item."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    inner = list(enumerate(value))[:1] if isinstance(value, list) else inner
    for key, each in inner:
        yield from places(each, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The document with another value at a place."""
    if not path:
        return new
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = put(value[key], tuple(rest), new)
    return copy


@pytest.mark.parametrize("target", ["config", "sglang"])
@pytest.mark.parametrize("seed", ["auto-round", "ct", "gptq", "modelopt-mixed", "quark"])
def test_an_odd_value_is_told_in_one_line(target: str, seed: str) -> None:
    (first, *_) = sorted(SEEDS.joinpath(target).glob(f"{seed}*")) or sorted(
        SEEDS.joinpath(target).glob("compressed*")
    )
    document = json.loads(first.read_bytes())
    chance = random.Random(seed)  # noqa: S311 - the same in each run
    few = len(ODD) if os.environ.get("MTPFIX_ODD") == "all" else 3
    for path in places(document):
        for odd in chance.sample(ODD, few):
            targets.TARGETS[target](json.dumps(put(document, path, odd)).encode())
