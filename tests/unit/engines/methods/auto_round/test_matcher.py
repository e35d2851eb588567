"""What auto-round builds: the bits of a module by its name, its block, or the default."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import RaisesError, Setting, ShardsDifferError
from mtpfix.engines.vllm.methods import of
from mtpfix.model import Decision, Kind, Module
from mtpfix.patterns import PatternError
from tests.unit.engines.methods.auto_round.test_reader import read

PACKED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
LAYER = "model.layers.4."
PLAIN = {"bits": 16}
NEW = "0.33.0"
HANGS = r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)\1\2\3x$"
ALL = ["0.20.2", "0.23.0", "0.24.0", "0.27.1", "0.33.0"]


def decide(
    name: str, release: str = NEW, kind: Kind = "linear", cls: str = "Any", **changes: Any
) -> Decision:
    context = Context(release, "cuda", {}, method="auto-round")
    decide = of("auto-round").decider(Setting(read(**changes), context, "draft", PACKED))
    return decide(Module("draft", LAYER + name, kind, cls, ()))


def spared(name: str, key: str, release: str = NEW, kind: Kind = "linear") -> bool:
    return decide(name, release, kind, extra_config={key: PLAIN}).built == "unquantized"


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize(
    ("key", "name", "wanted"),
    [
        (LAYER + "mlp.down_proj", "mlp.down_proj", True),
        ("model." + LAYER + "mlp.down_proj", "mlp.down_proj", True),
        (LAYER + "mlp", "mlp.down_proj", False),
        ("layers.4.*", "mlp.down_proj", True),
        ("^layers.4.*", "mlp.down_proj", False),
        (r"^model\.layers\.4\..*", "self_attn.qkv_proj", True),
        (".*[qkv]_proj$", "self_attn.qkv_proj", True),
        ("[", "mlp.down_proj", False),
    ],
)
def test_keys_are_names_or_regexes(key: str, name: str, wanted: bool, release: str) -> None:
    assert spared(name, key, release) is wanted


@pytest.mark.parametrize(("release", "wanted"), [("0.26.0", False), ("0.27.1", True)])
def test_ends_of_names_count_from_0_27_on(release: str, wanted: bool) -> None:
    assert spared("mlp.down_proj", "down_proj", release) is wanted
    assert spared("mlp.down_proj", "mlp.down_proj", release) is wanted
    assert not spared("mlp.down_proj", "own_proj", release)


@pytest.mark.parametrize("release", ALL)
def test_some_shards_alone_are_an_error(release: str) -> None:
    with pytest.raises(ShardsDifferError, match="consistent quant config"):
        spared("self_attn.qkv_proj", LAYER + "self_attn.q_proj", release)


@pytest.mark.parametrize(("release", "wanted"), [("0.23.0", False), ("0.24.0", True)])
def test_a_regex_on_a_fused_name_counts_from_0_24_on(release: str, wanted: bool) -> None:
    assert spared("self_attn.qkv_proj", ".*qkv_proj$", release) is wanted
    assert spared("self_attn.qkv_proj", LAYER + "self_attn.qkv_proj", release)
    assert spared("self_attn.qkv_proj_b", ".*qkv_proj_b$", release) is wanted  # as a part


@pytest.mark.parametrize("release", ALL)
def test_blocks_say_what_is_quantized(release: str) -> None:
    blocks = {"block_name_to_quantize": "model.layers.0,model.layers.4"}
    assert decide("mlp.down_proj", release, **blocks).built == "quantized"
    assert decide("head", release, "lm_head", **blocks).built == "quantized"
    assert decide("head", release, "lm_head").built == "unquantized"
    other = {"block_name_to_quantize": ["model.layers.3"]}
    assert decide("mlp.down_proj", release, **other).built == "unquantized"


def test_keys_of_single_experts_count_below_0_24_only() -> None:
    one = {"extra_config": {LAYER + "mlp.experts.0.up_proj": PLAIN}}
    made = decide("mlp.experts", "0.23.0", "experts", "FusedMoE", **one)
    assert made.built == "unquantized"
    made = decide("mlp.experts", "0.24.0", "experts", "RoutedExperts", **one)
    assert made.built == "quantized"
    two = {"extra_config": {**one["extra_config"], LAYER + "mlp.experts.1.up_proj": {"bits": 4}}}
    with pytest.raises(RaisesError, match="all sub-layers"):
        decide("mlp.experts", "0.23.0", "experts", "FusedMoE", **two)


def test_experts_by_their_name_die_before_0_24() -> None:
    assert spared("mlp.experts", LAYER + "mlp.experts", "0.24.0", "experts")
    with pytest.raises(RaisesError, match="AssertionError"):
        spared("mlp.experts", LAYER + "mlp.experts", "0.23.0", "experts")
    assert spared("mlp.experts", "^" + LAYER + ".*", "0.23.0", "experts")


def test_exempt_embeddings_die_before_0_30() -> None:
    key = LAYER + "embed_tokens"
    assert spared("embed_tokens", key, "0.30.0", "embedding")
    with pytest.raises(RaisesError, match="NotImplementedError"):
        spared("embed_tokens", key, "0.29.0", "embedding")


@pytest.mark.parametrize(
    ("said", "built"),
    [({}, "unquantized"), ({"sym": False}, "unquantized"), ({"bits": 8}, "quantized")],
)
def test_a_whole_name_without_bits_is_exempt(said: dict[str, Any], built: str) -> None:
    extra = {"extra_config": {LAYER + "mlp.down_proj": said}}
    assert decide("mlp.down_proj", **extra).built == built


@pytest.mark.parametrize(
    ("release", "changes", "scheme", "expects"),
    [
        ("0.20.2", {}, "GPTQMarlinLinearMethod", "gptq"),
        ("0.20.2", {"bits": 3}, "GPTQLinearMethod", "gptq"),
        ("0.22.1", {}, "AutoGPTQLinearMethod", "gptq"),
        (NEW, {}, "INCLinearMethod", "gptq"),
        (NEW, {"bits": 3}, "HummingLinearMethod", None),
        (NEW, {"packing_format": "auto_round:auto_awq"}, "INCLinearMethod", "awq"),
        (NEW, {"data_type": "mx_fp", "packing_format": "auto_round:llm_compressor"},
         "INCLinearMethod", "mxfp4-pack"),
        (NEW, {"data_type": "fp8", "bits": 8, "group_size": [128, 128]},
         "INCLinearMethod", "fp8-block"),
    ],
)  # fmt: skip
def test_classes(release: str, changes: dict[str, Any], scheme: str, expects: str | None) -> None:
    made = decide("mlp.down_proj", release, **changes)
    assert (made.scheme, made.expects) == (scheme, expects)


@pytest.mark.parametrize(
    ("release", "changes", "error"),
    [
        (NEW, {"bits": 16}, "Unsupported weight_bits"),
        (NEW, {"bits": None}, "Cannot find any"),
        ("0.29.0", {"bits": 5}, "Unsupported weight_bits"),
        ("0.26.0", {"data_type": "mx_fp"}, "Unsupported data_type"),
        (NEW, {"packing_format": "auto_gptq"}, "Unsupported packing_format"),
        (NEW, {"backend": "cutlass"}, "Unsupported backend"),
        (NEW, {"sym": False}, "NotImplementedError"),
        (NEW, {"group_size": [128, 128]}, "AssertionError"),
        ("0.22.1", {"bits": 3}, "NotImplementedError"),
    ],
)
def test_what_is_refused(release: str, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(RaisesError, match=error):
        decide("mlp.down_proj", release, **changes)


def test_a_regex_that_takes_too_long_is_not_waited_for() -> None:
    with pytest.raises(PatternError) as caught:
        spared("ffn.shared_experts.gate_up_proj", HANGS)
    assert caught.value.hangs


def test_keys_change_bits_and_group_size() -> None:
    extra = {LAYER + "self_attn.o_proj": {"bits": 8}, ".*down_proj": {"group_size": 64}}
    assert decide("self_attn.q_proj", extra_config=extra).packing == (4, 32)
    assert decide("self_attn.o_proj", extra_config=extra).packing == (8, 32)
    assert decide("mlp.down_proj", extra_config=extra).packing == (4, 64)
    assert decide("mlp.down_proj", data_type="mx_fp", bits=4).packing is None
    assert decide("mlp.down_proj", data_type="fp", bits=8, group_size=[128, 128]).packing is None
