"""Proposals of Quark's metadata for a block that is stored in another way than the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtpfix.checkpoint.load import CONFIG
from mtpfix.checkpoint.scheme import Numbers, Scheme, scheme
from mtpfix.engines.vllm import metadata
from mtpfix.engines.vllm.methods.quark.formats import format_of
from mtpfix.model import JsonFile, Tensor
from mtpfix.quant.schemes import Block, Share, proposals
from mtpfix.repair import patch
from tests.unit.engines.small import NEWEST, at_most
from tools import schemes

Json = Any
INPUT = frozenset({"input_scale"})
FP8 = Scheme("fp8-tensor", inputs=INPUT)
DYNAMIC = Scheme("fp8-tensor")
MXFP4 = Scheme("quark-mxfp4")
EXPERTS = "model.layers.2.mlp.experts"
BLOCK = "model.layers.2."


def share(scheme: Scheme | None, *reach: str) -> Share:
    return Share(scheme, reach, (), (reach,) * 4, ())


def block(stated: dict[str, Json], *shares: Share) -> Block:
    raw = json.dumps({"quantization_config": stated}).encode()
    configs = {CONFIG: JsonFile(CONFIG, raw, json.loads(raw))}
    place = metadata.find(configs)
    assert place is not None
    return Block(metadata.read(place), configs, shares, ())


def made(of: Block) -> list[dict[str, Json]]:
    """Return the quantization after each proposal."""
    raw = of.configs[CONFIG].raw
    found = [json.loads(patch.apply(raw, proposal.edits)) for proposal in proposals(of)]
    return [config["quantization_config"] for config in found]


def stated(scheme: str = "quark-mxfp4", **changes: Json) -> dict[str, Json]:
    return {**schemes.quantization(scheme), **changes}


def test_a_block_gets_a_configuration_of_its_own() -> None:
    first = made(block(stated(), share(FP8, BLOCK)))[0]
    (key,) = first["layer_quant_config"]
    assert key == "model.layers.2.*"
    wanted = schemes.quantization("quark-fp8")["global_quant_config"]
    assert first["layer_quant_config"][key] == wanted
    assert first["global_quant_config"] == stated()["global_quant_config"]


@pytest.mark.parametrize("layers", [{}, {"*o_proj": {"weight": None}}])
def test_nothing_that_is_there_goes(layers: dict[str, Json]) -> None:
    for after in made(block(stated(layer_quant_config=layers), share(FP8, BLOCK))):
        assert layers.items() <= after["layer_quant_config"].items()
        assert {**after, "layer_quant_config": layers} == stated(layer_quant_config=layers)


def test_a_configuration_goes_behind_the_others_and_before_them() -> None:
    layers: dict[str, Json] = {"*o_proj": {"weight": None}}
    after = made(block(stated(layer_quant_config=layers), share(FP8, BLOCK)))
    orders = {tuple(each["layer_quant_config"]) for each in after}
    assert orders == {("*o_proj", "model.layers.2.*"), ("model.layers.2.*", "*o_proj")}


@pytest.mark.parametrize("layers", [None, ...])
def test_a_place_that_is_missing_is_made(layers: Json) -> None:
    config = stated(layer_quant_config=layers)
    if layers is ...:
        del config["layer_quant_config"]
    assert list(made(block(config, share(FP8, BLOCK)))[0]["layer_quant_config"]) == [BLOCK + "*"]


def test_what_the_file_says_elsewhere_of_the_same_scheme_is_copied() -> None:
    odd = {**schemes.quantization("quark-fp8")["global_quant_config"], "comment": "ours"}
    after = made(block(stated(layer_quant_config={"*o_proj": odd}), share(FP8, BLOCK)))
    assert after[0]["layer_quant_config"]["model.layers.2.*"] == odd
    whole = stated("quark-fp8", layer_quant_config={"*o_proj": stated()["global_quant_config"]})
    after = made(block(whole, share(MXFP4, EXPERTS)))
    assert after[0]["layer_quant_config"][EXPERTS] == stated()["global_quant_config"]


def test_scales_of_activations_tell_configurations_apart() -> None:
    static = schemes.quantization("quark-fp8")["global_quant_config"]
    config = stated(layer_quant_config={"*o_proj": static})
    for after in made(block(config, share(DYNAMIC, EXPERTS))):
        assert after["layer_quant_config"][EXPERTS]["input_tensors"]["is_dynamic"] is True


def test_single_modules_come_before_prefixes_and_long_ones_before_short_ones() -> None:
    shares = share(FP8, BLOCK), share(MXFP4, f"{BLOCK}mlp.", f"{BLOCK}eh_proj")
    for after in made(block(stated(), *shares)):
        keys = [key for key in after["layer_quant_config"] if key.startswith(BLOCK)]
        assert keys == [f"{BLOCK}eh_proj", f"{BLOCK}mlp.*", f"{BLOCK}*"]


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        (FP8, "fp8-tensor-static"),
        (DYNAMIC, "fp8-tensor"),
        (Scheme("fp8-channel"), "fp8-channel"),
        (Scheme("fp8-channel", inputs=INPUT), "fp8-channel-static"),
        (Scheme("fp8-block", block=(128, 128)), "fp8-block"),
        (Scheme("int8-channel"), "int8-channel"),
        (Scheme("int8-channel", inputs=INPUT), "int8-channel-static"),
        (Scheme("int8-tensor"), "int8-tensor"),
        (Scheme("int8-tensor", inputs=INPUT | {"input_zero_point"}), "int8-tensor-static"),
        (MXFP4, "quark-mxfp4"),
        (Scheme("quark-mxfp4", inputs=INPUT), "mxfp4-fp8"),
        (Scheme("quark-nvfp4"), "quark-nvfp4"),
        (Scheme("mxfp8"), "mxfp8"),
        (Scheme("quark-int4", Numbers(4, 32)), "quark-int4"),
    ],
)
def test_every_scheme_that_is_made_is_what_vllm_reads(scheme: Scheme, name: str) -> None:
    of = block(stated("quark-fp8"), share(scheme, EXPERTS))
    for after in made(of):
        assert format_of(after["layer_quant_config"][EXPERTS], of.view, NEWEST) == name


def test_the_numbers_of_packed_integers_are_those_of_the_tensors() -> None:
    shapes = {"weight": (64, 8), "weight_scale": (4, 64), "weight_zero_point": (4, 8)}
    dtypes = {"weight_scale": "BF16"}
    found = scheme({s: Tensor(dtypes.get(s, "I32"), size, 0, 0) for s, size in shapes.items()})
    assert found == Scheme("quark-int4", Numbers(4, 16), symmetric=False)
    after = made(block(stated(), share(found, EXPERTS)))[0]
    weight = after["layer_quant_config"][EXPERTS]["weight"]
    assert (weight["group_size"], weight["symmetric"]) == (16, False)


@pytest.mark.parametrize(
    "scheme",
    [
        None,
        Scheme("int-pack", Numbers(4, 32)),
        Scheme("quark-int4"),
        Scheme("quark-int4", Numbers(4, -1)),
        Scheme("modelopt-nvfp4"),
        Scheme("fp8-block", inputs=INPUT),
        Scheme("quark-mxfp6"),
    ],
)
def test_what_quark_cannot_say_is_not_proposed(scheme: Scheme | None) -> None:
    assert made(block(stated(), share(scheme, BLOCK))) == []


def test_six_bits_are_copied_where_the_file_names_their_kind() -> None:
    six = {"weight": {"dtype": "fp6_e2m3", "qscheme": "per_group", "group_size": 32}}
    config = stated(layer_quant_config={"*o_proj": six})
    after = made(block(config, share(Scheme("quark-mxfp6"), BLOCK)))
    assert after[0]["layer_quant_config"]["model.layers.2.*"]["weight"] == six["weight"]


def test_layers_of_a_quantized_cache_say_the_same_of_it() -> None:
    cached = {**stated()["global_quant_config"], "output_tensors": {"dtype": "fp8_e4m3"}}
    config = stated(
        export={"kv_cache_group": ["*k_proj", "*v_proj"], "pack_method": "reorder"},
        layer_quant_config={"*k_proj": cached, "*v_proj": cached},
    )
    names = f"{BLOCK}self_attn.k_proj", f"{BLOCK}self_attn.o_proj"
    for of in (FP8, MXFP4):
        for after in made(block(config, share(of, *names))):
            found = [after["layer_quant_config"][name]["output_tensors"] for name in names]
            assert found == [{"dtype": "fp8_e4m3"}, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"export": {"kv_cache_group": 7}},
        {"export": {"kv_cache_group": ["*", 7, None]}},
        {"export": None},
        {"global_quant_config": None},
        {"global_quant_config": {"weight": "fp8", "input_tensors": 7}},
        {"global_quant_config": {"weight": [[], 7, {"dtype": []}]}},
        {"layer_quant_config": {"*": {"weight": [], "input_tensors": [None]}, "": {}}},
        {"layer_quant_config": {"*" * 10_000: {}, "/~": {"weight": {"dtype": {}}}}},
        {"layer_quant_config": {f"*a*b*c*{n}": {"weight": {}} for n in range(20_000)}},
    ],
)
def test_metadata_of_strangers_are_no_danger(changes: dict[str, Json]) -> None:
    of = block(stated(**changes), share(FP8, BLOCK), share(MXFP4, EXPERTS))
    with at_most(2):
        found = list(proposals(of))
    after = json.loads(patch.apply(of.configs[CONFIG].raw, found[0].edits))
    assert BLOCK + "*" in after["quantization_config"]["layer_quant_config"]
