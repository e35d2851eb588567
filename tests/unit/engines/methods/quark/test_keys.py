"""Keys by name: the first that fits, found without trying each."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.engines.vllm.methods.quark.keys import Keys
from tests.unit.engines.small import at_most

NAMES = st.text(alphabet="ab.", max_size=6)
TEXTS = st.lists(st.text(alphabet="ab.*?[]!", max_size=7), max_size=6)


def tried_one_by_one(texts: list[str], name: str) -> int | None:
    """Do as vLLM does."""
    for number, text in enumerate(texts):
        if fnmatchcase(name, text) if "*" in text else name in text:
            return number
    return None


@given(TEXTS, NAMES)
def test_the_first_key_that_fits_is_found(texts: list[str], name: str) -> None:
    assert Keys(texts).first(name) == tried_one_by_one(texts, name)


@pytest.mark.parametrize(
    ("texts", "name", "number"),
    [
        ([], "", None),
        (["*"], "", 0),
        (["a"], "", 0),
        (["x.a", "a"], "a", 0),
        (["ab", "ba"], "bb", None),
        (["b*", "a*", "ab"], "ab", 1),
        (["ab", "a*"], "ab", 0),
        (["[a]*"], "ab", 0),
    ],
)
def test_plain_keys_contain_a_name_and_others_match_it(
    texts: list[str], name: str, number: int | None
) -> None:
    assert Keys(texts).first(name) == number


def test_many_keys_cost_little() -> None:
    texts = [f"model.layers.{number}.mlp.*" for number in range(10_000)]
    texts += [f"model.layers.{number}.self_attn.o_proj" for number in range(10_000)]
    keys = Keys([*texts, "*a" * 200, "*b*b*b*b*b*b*c"])
    with at_most(2):
        for number in range(1000):
            assert keys.first(f"model.layers.{number}.mlp.down_proj") == number
            assert keys.first(f"mtp.{number}.{'b' * 50}") is None
