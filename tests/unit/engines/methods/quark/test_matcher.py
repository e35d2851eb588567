"""What quark builds: its list, its configurations by name, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import RaisesError, Setting
from mtpfix.engines.vllm.methods import of
from mtpfix.model import Decision, Kind, Module, QuantView
from mtpfix.patterns import PatternError
from tests.unit.engines.methods.quark.test_reader import read
from tools import schemes

PACKED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
LAYER = "model.layers.4."
FP8 = schemes.quantization("quark-fp8")["global_quant_config"]
MXFP4 = schemes.quantization("quark-mxfp4")["global_quant_config"]
INT8 = {
    "weight": {"dtype": "int8", "qscheme": "per_tensor", "symmetric": True},
    "input_tensors": {"dtype": "int8", "qscheme": "per_tensor"},
}
BASE: dict[str, Any] = {"global_quant_config": FP8, "layer_quant_config": {}}
OLD, NEW = "0.25.1", "0.33.0"


def decide(
    name: str, release: str = NEW, kind: Kind = "linear", model: str = "", **changes: Any
) -> Decision:
    view = read(**{**BASE, **changes})
    return asked(view, name, release, kind, model)


def asked(view: QuantView, name: str, release: str, kind: Kind, model: str) -> Decision:
    context = Context(release, "cuda", {"model_type": model}, method="quark")
    decide = of("quark").decider(Setting(view, context, "draft", PACKED))
    return decide(Module("draft", LAYER + name, kind, "AnyLinear", ()))


@pytest.mark.parametrize(
    ("entry", "name", "built"),
    [
        (LAYER + "mlp.down_proj", "mlp.down_proj", "unquantized"),
        ("re:model.layers.4", "mlp.down_proj", "unquantized"),
        ("re:layers.4", "mlp.down_proj", "quantized"),
        ("model.layers.4.*", "mlp.down_proj", "quantized"),
        (LAYER + "mlp", "mlp.down_proj", "quantized"),
        ("re:.*[qkv]_proj$", "self_attn.qkv_proj", "unquantized"),
    ],
)
@pytest.mark.parametrize("release", ["0.20.2", "0.29.0", "0.33.0"])
def test_entries_are_whole_names_or_patterns(
    entry: str, name: str, built: str, release: str
) -> None:
    assert decide(name, release, exclude=[entry]).built == built


@pytest.mark.parametrize(("release", "built"), [("0.29.0", "quantized"), ("0.30.0", "unquantized")])
def test_fused_names_count_from_0_30_on(release: str, built: str) -> None:
    entry = LAYER + "self_attn.qkv_proj"
    assert decide("self_attn.qkv_proj", release, exclude=[entry]).built == built


@pytest.mark.parametrize("release", ["0.20.2", "0.33.0"])
def test_some_shards_alone_are_an_error(release: str) -> None:
    with pytest.raises(RaisesError, match="ValueError"):
        decide("self_attn.qkv_proj", release, exclude=[LAYER + "self_attn.q_proj"])


def test_one_expert_stands_for_all_from_0_26_on() -> None:
    entries = {"exclude": [LAYER + "mlp.experts.*.down_proj"]}
    assert decide("mlp.experts", "0.26.0", "experts", **entries).built == "unquantized"
    assert decide("mlp.experts", OLD, "experts", **entries).built == "quantized"


def test_exempt_experts_die_before_0_26() -> None:
    with pytest.raises(RaisesError, match="AssertionError"):
        decide("mlp.experts", OLD, "experts", exclude=[f"re:{LAYER}.*"])


@pytest.mark.parametrize(("release", "at_once"), [("0.29.0", False), ("0.30.0", True)])
def test_an_invalid_pattern_raises_when_it_is_reached(release: str, at_once: bool) -> None:
    entries = [LAYER + "mlp.down_proj", "re:("]
    if at_once:
        with pytest.raises(PatternError):
            decide("mlp.down_proj", release, exclude=entries)
    else:
        assert decide("mlp.down_proj", release, exclude=entries).built == "unquantized"
    with pytest.raises(PatternError):
        decide("mlp.up_proj", release, exclude=entries)


@pytest.mark.parametrize(
    ("pattern", "name", "scheme"),
    [
        ("*o_proj", "self_attn.o_proj", "QuarkW8A8Int8"),
        ("*o_proj", "mlp.down_proj", "QuarkW8A8Fp8"),
        ("o_proj", "self_attn.o_proj", "QuarkW8A8Fp8"),
        (f"x{LAYER}self_attn.o_proj.y", "self_attn.o_proj", "QuarkW8A8Int8"),
        ("*[qkv]_proj", "self_attn.qkv_proj", "QuarkW8A8Int8"),
    ],
)
@pytest.mark.parametrize("release", ["0.20.2", "0.33.0"])
def test_configurations_by_name(pattern: str, name: str, scheme: str, release: str) -> None:
    assert decide(name, release, layer_quant_config={pattern: INT8}).scheme == scheme


def test_shards_of_different_configurations_are_an_error() -> None:
    with pytest.raises(RaisesError, match="different quantization configuration"):
        decide("self_attn.qkv_proj", layer_quant_config={"*q_proj": INT8})


def test_what_is_said_of_the_cache_does_not_count() -> None:
    outputs = {**FP8, "output_tensors": {"dtype": "fp8_e4m3"}}
    layers = {"*k_proj": outputs, "*v_proj": outputs}
    cached = {"kv_cache_group": ["*k_proj", "*v_proj"], "pack_method": "reorder"}
    made = decide("self_attn.qkv_proj", layer_quant_config=layers, export=cached)
    assert made.scheme == "QuarkW8A8Fp8"
    with pytest.raises(RaisesError, match="ValueError"):
        decide("self_attn.qkv_proj", layer_quant_config=layers)


def cached(*configs: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with layers whose cache is quantized."""
    layers = {f"layers.{number}.k_proj": config for number, config in enumerate(configs)}
    return {"export": {"kv_cache_group": ["*k_proj"]}, "layer_quant_config": layers}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"export": None}, "ValueError: The export key"),
        ({"export": {"kv_cache_group": None}}, "TypeError"),
        ({"export": {"kv_cache_group": ["*k_proj"]}}, "ValueError: The Quark quantized model"),
        (cached({}), "KeyError: 'output_tensors'"),
        (cached({"output_tensors": None}), "ValueError: The kv_cache quantization"),
        (cached({"output_tensors": {}}, {"output_tensors": {"dtype": "int8"}}), "ValueError: The"),
        (cached({"output_tensors": {}}, {"weight": None}), "KeyError: 'output_tensors'"),
        ({"exclude": None}, "TypeError"),
        ({"global_quant_config": None}, "AttributeError"),
        ({"layer_type_quant_config": None}, "AttributeError"),
        ({"global_quant_config": {"weight": None}}, "NotImplementedError"),
        ({"global_quant_config": {"weight": [{}, {}]}}, "NotImplementedError"),
        ({"global_quant_config": {**FP8, "bias": {"dtype": "int8"}}}, "NotImplementedError"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(RaisesError, match=error):
        decide("mlp.down_proj", **changes)


def test_a_list_of_one_is_the_one_from_0_30_on() -> None:
    listed = {**FP8, "weight": [FP8["weight"]]}
    assert decide("mlp.down_proj", global_quant_config=listed).scheme == "QuarkW8A8Fp8"
    with pytest.raises(RaisesError, match="AttributeError"):
        decide("mlp.down_proj", "0.29.0", global_quant_config=listed)


@pytest.mark.parametrize(
    ("release", "model", "online"),
    [
        ("0.20.2", "deepseek_v3", True),
        ("0.20.2", "deepseek_v32", False),
        ("0.23.0", "deepseek_v3", False),
        ("0.30.0", "deepseek_v32", True),
        ("0.31.0", "deepseek_v3", False),
    ],
)
def test_exempt_attention_is_packed_online(release: str, model: str, online: bool) -> None:
    entries = {"exclude": ["re:.*o_proj$"], "global_quant_config": MXFP4}
    made = decide("self_attn.o_proj", release, model=model, **entries)
    assert (made.built == "quantized") is online
    assert made.expects == "unquantized"
    assert decide("mlp.o_proj", release, model=model, **entries).built == "unquantized"


@pytest.mark.parametrize("kind", ["embedding", "lm_head"])
def test_heads_and_embeddings_are_never_quantized(kind: Kind) -> None:
    assert decide("head", kind=kind).built == "unquantized"
