"""The matchers: each quirk that a release has, and patterns that take too long."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.engines.vllm.case import report
from mtpfix.engines.vllm.methods.compressed_tensors.entries import (
    Packed,
    ShardsDifferError,
    ignored,
    target,
)
from mtpfix.model import Entry
from mtpfix.patterns import Entries, PatternError
from mtpfix.patterns.entries import MOST
from tests.unit.engines.small import (
    DEEPSEEK,
    GLM,
    at_most,
    case,
    view_of,
    with_list,
)

QKV: Packed = {
    "qkv_proj": ["q_proj", "k_proj", "v_proj"],
    "gate_up_proj": ["gate_proj", "up_proj"],
}
ATTN = "model.layers.61.self_attn"
HANGS = "re:(?:.{1,20}){1,20}[!?]"
"""Needs hours for a name of 40 letters."""


def entries(*texts: str) -> Entries:
    return Entries(Entry(text, "config.json", f"/{i}") for i, text in enumerate(texts))


def hit(name: str, *texts: str, packed: Packed = QKV, release: str = "0.33.0") -> str | None:
    found = ignored(name, entries(*texts), packed, release)
    return None if found is None else found.text


def by_target(
    name: str, cls: str, *texts: str, packed: Packed = QKV, release: str = "0.33.0"
) -> str | None:
    found = target(name, cls, entries(*texts), packed, release)
    return None if found is None else found.text


# --- one entry against one name ----------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "hits"),
    [
        ("re:model.layers.4.*", "model.layers.43.mlp.down_proj", True),
        (r"re:model\.layers\.4\..*", "model.layers.43.mlp.down_proj", False),
        ("mtp*", "mtp.fc", False),
        ("mtp", "mtp.fc", False),
        ("re:^mtp.*", "mtp.fc", True),
        ("re:.*mtp.*", "mtp.fc", True),
        ("re:^mtp.*", "language_model.mtp.fc", False),
        ("re:.*mtp.*", "language_model.mtp.fc", True),
        ("re:.*mtp.*", "model.layers.43.mtp_block.attn.wo_a", True),
        (r"re:.*mtp\..*", "model.layers.43.mtp_block.attn.wo_a", False),
        ("re:fc", "mtp.fc", False),
        ("re:mtp", "mtp.fc", True),
        ("re:mtp$", "mtp.fc", False),
        ("model.layers.61", f"{ATTN}.o_proj", False),
        (f"{ATTN}.o_proj", f"{ATTN}.o_proj", True),
        (f"{ATTN}.O_PROJ", f"{ATTN}.o_proj", False),
        (f"{ATTN}.o_proj.weight", f"{ATTN}.o_proj", False),
        ("*.o_proj", f"{ATTN}.o_proj", False),
        ("re:^$", "", True),
        ("", "", True),
        ("", "mtp.fc", False),
        ("re:", "mtp.fc", True),
        ("RE:.*", "mtp.fc", False),
        (" re:.*", "mtp.fc", False),
        ("re:(?i)MTP", "mtp.fc", True),
        ("re:[[:alpha:]]+", "mtp.fc", True),
        (r"re:\p{Ll}+\.fc", "mtp.fc", True),
        ("re:(?>m+)tp", "mtp.fc", True),
    ],
)
@pytest.mark.parametrize("release", ["0.20.2", "0.29.0", "0.33.0"])
def test_an_entry_hits_a_name(entry: str, name: str, hits: bool, release: str) -> None:
    assert (hit(name, entry, release=release) is not None) is hits


def test_the_first_entry_of_the_list_decides() -> None:
    assert hit("mtp.fc", "re:.*fc", "mtp.fc") == "re:.*fc"
    assert hit("mtp.fc", "mtp.fc", "re:.*fc") == "mtp.fc"
    assert hit("mtp.fc", "re:no", "mtp.fc", "re:.*fc") == "mtp.fc"


def test_of_equal_entries_the_first_decides() -> None:
    found = ignored("mtp.fc", entries("mtp.fc", "mtp.fc"), {}, "0.33.0")
    assert found is not None
    assert found.pointer == "/0"


# --- fused layers ------------------------------------------------------------


@pytest.mark.parametrize("release", ["0.20.2", "0.29.0", "0.30.0", "0.33.0"])
def test_all_shards_exempt_the_fused_layer(release: str) -> None:
    texts = [f"{ATTN}.{shard}" for shard in QKV["qkv_proj"]]
    assert hit(f"{ATTN}.qkv_proj", *texts, release=release) == texts[0]


def test_shards_exempt_nothing_where_no_mapping_is_in_force() -> None:
    texts = [f"{ATTN}.{shard}" for shard in QKV["qkv_proj"]]
    assert hit(f"{ATTN}.qkv_proj", *texts, packed={}) is None


@pytest.mark.parametrize(
    ("release", "words"),
    [
        (
            "0.29.0",
            "ValueError: Found a different quantization schemes for "
            "['q_proj', 'k_proj', 'v_proj'] in model.layers.61.self_attn.qkv_proj. "
            "vLLM requires all to use the same scheme.",
        ),
        (
            "0.30.0",
            "ValueError: Found different quantization schemes for the shards of "
            "model.layers.61.self_attn.qkv_proj. vLLM requires all to use the same scheme.",
        ),
    ],
)
def test_some_shards_raise_in_the_words_of_the_release(release: str, words: str) -> None:
    with pytest.raises(ShardsDifferError) as caught:
        hit(f"{ATTN}.qkv_proj", f"{ATTN}.q_proj", f"{ATTN}.k_proj", release=release)
    assert str(caught.value) == words
    assert caught.value.entry.text == f"{ATTN}.q_proj"


@pytest.mark.parametrize("release", ["0.20.2", "0.29.0", "0.30.0"])
def test_the_exact_fused_name_is_enough(release: str) -> None:
    assert hit(f"{ATTN}.qkv_proj", f"{ATTN}.qkv_proj", release=release) is not None


@pytest.mark.parametrize(("release", "hits"), [("0.29.0", False), ("0.30.0", True)])
def test_a_pattern_for_the_fused_name_alone_counts_from_0_30(release: str, hits: bool) -> None:
    assert (hit(f"{ATTN}.qkv_proj", "re:.*qkv_proj", release=release) is not None) is hits


@pytest.mark.parametrize("release", ["0.29.0", "0.33.0"])
def test_the_fused_name_goes_before_a_half_list(release: str) -> None:
    texts = (f"{ATTN}.q_proj", f"{ATTN}.qkv_proj")
    assert hit(f"{ATTN}.qkv_proj", *texts, release=release) == f"{ATTN}.qkv_proj"


def test_a_fused_pattern_saves_a_half_list_from_0_30() -> None:
    texts = (f"{ATTN}.q_proj", "re:.*qkv_proj")
    assert hit(f"{ATTN}.qkv_proj", *texts, release="0.30.0") == "re:.*qkv_proj"
    with pytest.raises(ShardsDifferError):
        hit(f"{ATTN}.qkv_proj", *texts, release="0.29.0")


def test_every_occurrence_of_the_fused_name_is_replaced() -> None:
    packed: Packed = {"proj": ["a_proj", "b_proj"]}
    assert hit("proj.proj", "a_proj.a_proj", "b_proj.b_proj", packed=packed) is not None
    assert hit("proj.proj", "proj.a_proj", "proj.b_proj", packed=packed) is None


def test_a_shard_is_not_a_fused_name() -> None:
    assert hit(f"{ATTN}.q_proj", f"{ATTN}.qkv_proj") is None


# --- targets -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "hits"),
    [
        ("QKVParallelLinear", True),
        ("ReplicatedLinear", True),
        ("GateLinear", True),
        ("ParallelLMHead", False),
        ("VocabParallelEmbedding", False),
        ("RoutedExperts", False),
        ("FusedMoE", False),
    ],
)
def test_linear_is_a_part_of_the_class_name(cls: str, hits: bool) -> None:
    assert (by_target("a.b", cls, "Linear") is not None) is hits


def test_a_class_is_compared_in_any_case() -> None:
    assert by_target("a.b", "QKVParallelLinear", "linear") == "linear"


def test_a_pattern_is_matched_with_the_class_too() -> None:
    assert by_target("a.b", "ParallelLMHead", "re:.*Head") == "re:.*Head"
    assert by_target("a.b", "ParallelLMHead", "re:.*head") is None


def test_the_name_goes_before_the_class() -> None:
    assert by_target("a.fc", "ReplicatedLinear", "Linear", "re:.*fc") == "re:.*fc"


@pytest.mark.parametrize(
    ("release", "first"), [("0.26.0", "Linear"), ("0.27.1", r"re:.*\.(q|k|v)_proj$")]
)
def test_shards_go_before_the_class_from_0_27(release: str, first: str) -> None:
    texts = ("Linear", r"re:.*\.(q|k|v)_proj$")
    assert by_target(f"{ATTN}.qkv_proj", "QKVParallelLinear", *texts, release=release) == first


def test_all_shards_must_match_a_target() -> None:
    assert by_target(f"{ATTN}.qkv_proj", "X", f"{ATTN}.q_proj", f"{ATTN}.k_proj") is None


def test_the_first_shard_s_target_is_taken() -> None:
    texts = [f"{ATTN}.{shard}" for shard in ("v_proj", "k_proj", "q_proj")]
    assert by_target(f"{ATTN}.qkv_proj", "X", *texts) == f"{ATTN}.q_proj"


def test_shards_are_found_by_the_end_of_the_name() -> None:
    packed: Packed = {"proj": ["left", "right"]}
    assert by_target("a.o_proj", "X", "a.o_left", "a.o_right", packed=packed) == "a.o_left"


def test_nothing_matches_no_target() -> None:
    assert by_target("a.fc", "X") is None


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=4))
def test_an_exact_list_is_a_set(name: str, texts: list[str]) -> None:
    texts = [text for text in texts if not text.startswith("re:")]
    assert (hit(name, *texts, packed={}) is not None) is (name in texts)


# --- patterns that are wrong or hostile --------------------------------------


@pytest.mark.parametrize(
    "text", ["re:*", "re:(", "re:[", "re:a{3,2}", "re:(?P<a>x", r"re:\1", "re:" + "(" * 6000]
)
def test_an_invalid_pattern_is_an_error(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        entries(text)
    assert not caught.value.hangs
    assert caught.value.reason.startswith("error: ")


def test_a_pattern_that_hangs_is_stopped() -> None:
    with pytest.raises(PatternError) as caught:  # without a bound, this takes centuries
        hit("model.layers.43.ffn.shared_experts.gate_up_proj", HANGS)
    assert caught.value.hangs


def test_a_pattern_that_hangs_costs_two_seconds_at_most_for_61_layers() -> None:
    config = with_list({**GLM, "num_hidden_layers": 61}, (HANGS,))
    judged = case(config)
    with at_most(2):
        assert report(judged, view_of(config)).outcome == "unknown"


def test_many_patterns_that_are_a_little_slow_share_the_time() -> None:
    """Each takes 20 ms and more for a name: a thousand of them would take minutes together."""
    slow = tuple(f"re:(?:model.layers.{i}.self_attn.q_proj){{e<=20}}" for i in range(1_000))
    config = with_list({**GLM, "num_hidden_layers": 8}, slow)
    with at_most(40):
        assert report(case(config), view_of(config)).outcome == "unknown"


def test_patterns_are_not_charged_for_what_other_threads_do() -> None:
    begun = threading.Event()

    def work() -> None:
        begun.set()
        while begun.is_set():
            sum(range(1_000))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    asked = Entries([Entry(f"re:.*no{i}", "", "") for i in range(300)])
    for thread in threads:
        thread.start()
    try:
        for layer in range(2):
            assert asked.first(f"model.layers.{layer}.mlp") is None
    finally:
        begun.clear()


def test_a_pattern_that_calls_itself_is_stopped() -> None:
    with pytest.raises(PatternError) as caught:
        hit("model.layers.43.mlp", "re:(?R)?model")
    assert caught.value.hangs


def test_more_patterns_than_any_list_has_are_not_tried() -> None:
    with pytest.raises(PatternError) as caught:
        Entries([Entry(f"re:{i}", "", "") for i in range(MOST + 1)], eager=False)
    assert caught.value.hangs


def test_a_long_list_of_patterns_is_compiled_once() -> None:
    patterns = Entries([Entry(f"re:model.layers.{i}.x", "", "") for i in range(2_000)])
    with at_most(10):
        for layer in range(100):
            assert patterns.first(f"model.layers.{layer}.y") is None


def test_a_pattern_of_many_pages_is_not_compiled() -> None:
    with pytest.raises(PatternError):
        entries("re:" + "|".join(f"abc{i}" for i in range(8_000)))


@pytest.mark.parametrize(
    "body",
    [
        "a{1000000000}",
        "(?:a{1000}){1000}",
        "(((a{100}){100}){100}){100}",
        "a{1000000,}",
        "(?x)a{ 100000 0 }",
        "(?x)a{1#,\n000000}",
        "a{" + "9" * 5000 + "}",
    ],
)
def test_a_pattern_that_fills_the_memory_is_not_compiled(body: str) -> None:
    with pytest.raises(PatternError) as caught:
        entries(f"re:{body}")
    assert caught.value.hangs


@pytest.mark.parametrize(
    "body", ["a{0,1000000000}", r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", r"l\.\d{1,2}\..*"]
)
def test_repeats_that_are_honest_are_compiled(body: str) -> None:
    entries(f"re:{body}")


def test_a_hang_makes_the_verdict_unknown() -> None:
    config = with_list({**DEEPSEEK, "num_hidden_layers": 0, "n_routed_experts": None}, (HANGS,))
    small = case(config, {"model.layers.0.self_attn.o_proj.weight": ("BF16", (8, 8))})
    (found,) = small.judged(view_of(config), small.draft[2:3])
    assert (found.decision.built, found.agrees) == ("unknown", None)
