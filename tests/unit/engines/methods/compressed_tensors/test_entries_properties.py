"""The matchers, on any list and any name: what holds whatever strangers write."""

from __future__ import annotations

from collections.abc import Sequence

import regex
from hypothesis import assume, given
from hypothesis import strategies as st

from mtpfix.engines.vllm.methods.compressed_tensors.entries import (
    Packed,
    ShardsDifferError,
    ignored,
    target,
)
from mtpfix.model import Entry
from mtpfix.patterns import Entries, PatternError

PACKED: Packed = {
    "qkv_proj": ["q_proj", "k_proj", "v_proj"],
    "gate_up_proj": ["gate_proj", "up_proj"],
}
RELEASES = st.sampled_from(["0.20.2", "0.26.0", "0.29.0", "0.30.0", "0.33.0"])
"""Both sides of each change of the rules."""

SHARDS = [shard for shards in PACKED.values() for shard in shards]
parts = st.sampled_from(
    ["model", "layers", "1", "11", "mtp", "self_attn", "fc", "", *PACKED, *SHARDS]
)
names = st.lists(parts, min_size=1, max_size=4).map(".".join)
plain = names.filter(lambda name: name.rpartition(".")[2] not in PACKED)
fused = st.tuples(names, st.sampled_from(list(PACKED))).map(".".join)

atoms = st.sampled_from(
    [*".^$mq1", "_proj", "layers", r"\.", r"\d", r"\b", "[^q]", r"\p{Ll}", "[[:digit:]]", "(?!q)"]
) | st.sampled_from([".*", "(?<=l)", "(?i:M)", r"\X", "(?:mtp){e<=1}"])
bodies = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from("*+?")).map(lambda two: f"(?:{two[0]}){two[1]}")
        | st.tuples(inner, st.sampled_from(["*+", "{1,2}", "+?"])).map(
            lambda two: f"(?>{two[0]}){two[1]}"
        )
    ),
    max_leaves=6,
)
literals = names | st.text(max_size=6).filter(lambda text: not text.startswith("re:"))
entries = literals | bodies.map("re:{}".format) | names.map(lambda n: f"re:{regex.escape(n)}$")
lists = st.lists(entries, max_size=5)


def listed(texts: Sequence[str]) -> Entries:
    return Entries(Entry(text, "config.json", f"/{i}") for i, text in enumerate(texts))


def hits(text: str, name: str) -> bool:
    """Whether one entry hits one name, as the `regex` module itself says."""
    if text.startswith("re:"):
        return regex.match(text.removeprefix("re:"), name) is not None
    return text == name


def answer(name: str, texts: Sequence[str], release: str) -> str:
    """What becomes of a module: `exempt`, `not`, or `raises` where its shards differ."""
    try:
        found = ignored(name, listed(texts), PACKED, release)
    except ShardsDifferError:
        return "raises"
    except PatternError:
        assume(False)  # too slow: tested elsewhere
    return "not" if found is None else "exempt"


@given(plain, lists, lists, RELEASES)
def test_the_first_entry_that_regex_finds_is_the_one(
    name: str, before: list[str], after: list[str], release: str
) -> None:
    texts = [*before, name, *after]
    found = ignored(name, listed(texts), PACKED, release)
    first = next(i for i, text in enumerate(texts) if hits(text, name))
    assert found is not None
    assert found.pointer == f"/{first}"


@given(plain, lists, RELEASES)
def test_what_no_entry_hits_is_not_exempt(name: str, texts: list[str], release: str) -> None:
    hit = any(hits(text, name) for text in texts)
    assert (ignored(name, listed(texts), PACKED, release) is not None) is hit


@given(names | fused, lists, RELEASES, st.data())
def test_the_order_of_the_list_exempts_nothing(
    name: str, texts: list[str], release: str, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(texts))
    assert answer(name, shuffled, release) == answer(name, texts, release)


@given(names | fused, lists, entries, RELEASES)
def test_an_entry_that_hits_neither_name_nor_shard_changes_nothing(
    name: str, texts: list[str], more: str, release: str
) -> None:
    last = name.rpartition(".")[2]
    shards = [name.replace(last, shard) for shard in PACKED.get(last, [])]
    assume(not any(hits(more, asked) for asked in (name, *shards)))
    assert answer(name, [*texts, more], release) == answer(name, texts, release)


@given(fused, lists, RELEASES)
def test_the_exact_name_is_always_enough(name: str, texts: list[str], release: str) -> None:
    assert answer(name, [*texts, name], release) == "exempt"


@given(fused, st.sets(st.integers(0, 2)), RELEASES)
def test_all_shards_or_none(name: str, chosen: set[int], release: str) -> None:
    last = name.rpartition(".")[2]
    shards = [name.replace(last, shard) for shard in PACKED[last]]
    texts = [shard for number, shard in enumerate(shards) if number in chosen]
    wanted = "not" if not texts else "exempt" if len(texts) == len(shards) else "raises"
    assert answer(name, texts, release) == wanted


@given(plain, st.lists(literals, max_size=5), RELEASES)
def test_an_escaped_name_is_the_name(name: str, texts: list[str], release: str) -> None:
    patterns = [rf"re:{regex.escape(text)}\Z" for text in texts]
    assert answer(name, patterns, release) == answer(name, texts, release)


@given(names | fused, st.sampled_from(["QKVParallelLinear", "ParallelLMHead"]), lists, RELEASES)
def test_a_target_hits_the_name_its_first_shard_or_its_class(
    name: str, cls: str, texts: list[str], release: str
) -> None:
    found = target(name, cls, listed(texts), PACKED, release)
    if found is not None:
        ends = [key for key in PACKED if name.endswith(key)]
        shards = [name.replace(key, PACKED[key][0]) for key in ends]
        by_class = not found.text.startswith("re:") and found.text.lower() in cls.lower()
        assert by_class or any(hits(found.text, asked) for asked in (name, cls, *shards))
