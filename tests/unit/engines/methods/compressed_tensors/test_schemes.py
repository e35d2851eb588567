"""Which scheme a group gets, and which format it reads."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mtpfix.engines.vllm.methods.compressed_tensors.refusal import refusal
from mtpfix.engines.vllm.methods.compressed_tensors.schemes import Scheme, scheme
from mtpfix.engines.vllm.methods.shared.parameters import params
from mtpfix.model import Entry, Group, Kind, Platform
from mtpfix.quant.arguments import normalised
from mtpfix.quant.location import Location
from mtpfix.quant.readers.compressed_tensors import read
from tests.unit.engines.small import ALL, GLM, context

Args = dict[str, Any]

KINDS: tuple[Kind, ...] = ("linear", "experts", "lm_head", "embedding")

FP8_CHANNEL: Args = {"num_bits": 8, "type": "float", "strategy": "channel"}
FP8_BLOCK: Args = {"num_bits": 8, "type": "float", "strategy": "block"}
FP8_TENSOR: Args = {"num_bits": 8, "type": "float", "strategy": "tensor"}
FP8_TOKEN: Args = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
INT8_CHANNEL: Args = {"num_bits": 8, "type": "int", "strategy": "channel"}
INT8_TOKEN: Args = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}
INT4_GROUP: Args = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
NVFP4: Args = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
MXFP4: Args = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}
MXFP8: Args = {**MXFP4, "num_bits": 8, "scale_dtype": "torch.uint8"}


def chosen(
    weights: Args,
    inputs: Args | None,
    form: str | None,
    kind: Kind = "linear",
    *,
    release: str = "0.33.0",
    platform: Platform = "cuda",
    own: str | None = None,
) -> Scheme:
    group = Group("g", (Entry("Linear", "config.json", "/0"),), weights, inputs, format=own)
    return scheme(group, form, kind, context(GLM, release, platform))


@pytest.mark.parametrize(
    ("weights", "inputs", "form", "name", "expects"),
    [
        (FP8_CHANNEL, FP8_TOKEN, "float-quantized", "W8A8Fp8", "fp8-channel"),
        (FP8_BLOCK, FP8_TOKEN, "float-quantized", "W8A8Fp8", "fp8-block"),
        (FP8_TENSOR, FP8_TENSOR, "float-quantized", "W8A8Fp8", "fp8-tensor-static"),
        (FP8_CHANNEL, None, "float-quantized", "W8A16Fp8", "fp8-channel"),
        (INT8_CHANNEL, INT8_TOKEN, "int-quantized", "W8A8Int8", "int8-channel"),
        (INT4_GROUP, None, "pack-quantized", "WNA16", "int-pack"),
        (INT8_CHANNEL, None, "pack-quantized", "WNA16", "int-pack"),
        (NVFP4, NVFP4, "nvfp4-pack-quantized", "W4A4Fp4", "nvfp4-pack"),
        (NVFP4, None, "nvfp4-pack-quantized", "W4A4Fp4", "nvfp4-pack-weights"),
        (MXFP4, None, "mxfp4-pack-quantized", "W4A4Mxfp4", "mxfp4-pack"),
        (MXFP4, FP8_TOKEN, "mxfp4-pack-quantized", "W4A8Mxfp4", "mxfp4-pack"),
        (MXFP8, None, "float-quantized", "W8A8Mxfp8", "mxfp8"),
    ],
)
def test_a_linear_layer_gets(
    weights: Args, inputs: Args | None, form: str, name: str, expects: str
) -> None:
    found = chosen(weights, inputs, form)
    assert (found.name, found.error, found.expects) == (f"CompressedTensors{name}", None, expects)


@pytest.mark.parametrize(
    ("weights", "inputs", "form", "name", "expects"),
    [
        (FP8_CHANNEL, FP8_TOKEN, "float-quantized", "W8A8Fp8", "fp8-channel"),
        (FP8_BLOCK, FP8_TOKEN, "float-quantized", "W8A8Fp8", "fp8-block"),
        (INT8_CHANNEL, INT8_TOKEN, "int-quantized", "W8A8Int8", "int8-channel"),
        (INT4_GROUP, None, "pack-quantized", "WNA16", "int-pack"),
        (NVFP4, NVFP4, "nvfp4-pack-quantized", "W4A4Nvfp4", "nvfp4-pack"),
        (MXFP4, None, "mxfp4-pack-quantized", "W4A4Mxfp4", "mxfp4-pack"),
        (MXFP8, None, "float-quantized", "W8A8Mxfp8", "mxfp8"),
    ],
)
def test_experts_get(
    weights: Args, inputs: Args | None, form: str, name: str, expects: str
) -> None:
    found = chosen(weights, inputs, form, "experts")
    name = f"CompressedTensors{name}MoEMethod"
    assert (found.name, found.error, found.expects) == (name, None, expects)


@pytest.mark.parametrize(
    ("weights", "packing"),
    [
        (INT4_GROUP, (4, 128)),
        ({**INT4_GROUP, "num_bits": "8", "group_size": "32"}, (8, 32)),
        (INT8_CHANNEL, (8, -1)),
        ({**INT4_GROUP, "strategy": None, "group_size": -1}, (4, -1)),
        ({**INT8_CHANNEL, "group_size": 128}, (8, -1)),
    ],
)
def test_packed_integers_have_bits_and_groups(weights: Args, packing: tuple[int, int]) -> None:
    for kind in ("linear", "experts"):
        assert chosen(weights, None, "pack-quantized", cast(Kind, kind)).packing == packing
    assert chosen(INT8_CHANNEL, INT8_TOKEN, "int-quantized").packing is None
    assert chosen(NVFP4, NVFP4, "nvfp4-pack-quantized").packing is None


@pytest.mark.parametrize(
    ("stated", "block"),
    [([128, 128], (128, 128)), ("128x64", (128, 64)), (None, None), ([128], None), ("all", None)],
)
def test_fp8_blocks_have_a_size(stated: object, block: tuple[int, int] | None) -> None:
    weights = {**FP8_BLOCK, "block_structure": stated}
    assert chosen(weights, FP8_TOKEN, "float-quantized").block == block
    assert chosen(FP8_CHANNEL, FP8_TOKEN, "float-quantized").block is None


def test_a_head_is_built_like_a_linear_layer() -> None:
    args = (FP8_CHANNEL, FP8_TOKEN, "float-quantized")
    assert chosen(*args, "lm_head") == chosen(*args, "linear")


def test_an_embedding_takes_packed_integers_only() -> None:
    packed = chosen(INT4_GROUP, None, "pack-quantized", "embedding")
    assert packed.name == "CompressedTensorsEmbeddingWNA16Int"
    other = chosen(FP8_CHANNEL, None, "float-quantized", "embedding")
    assert (other.error or "").startswith("ValueError: compressed-tensors embeddings only support")


@pytest.mark.parametrize(
    ("weights", "inputs", "form", "kind", "error"),
    [
        (INT4_GROUP, None, "float-quantized", "linear", "NotImplementedError"),
        (FP8_CHANNEL, FP8_TOKEN, "mixed-precision", "linear", "NotImplementedError"),
        (FP8_CHANNEL, FP8_TOKEN, None, "linear", "NotImplementedError"),
        (NVFP4, FP8_TOKEN, "nvfp4-pack-quantized", "linear", "ValueError"),
        (NVFP4, FP8_TOKEN, "nvfp4-pack-quantized", "experts", "ValueError"),
        (INT4_GROUP, None, "float-quantized", "experts", "ValueError"),
        ({**INT4_GROUP, "num_bits": 1}, None, "pack-quantized", "experts", "ValueError"),
        (FP8_CHANNEL, FP8_TENSOR, "float-quantized", "experts", "AssertionError"),
        ({"strategy": "tensor_group"}, None, "float-quantized", "experts", "RuntimeError"),
    ],
)
def test_a_group_that_fits_nothing_raises(
    weights: Args, inputs: Args | None, form: str | None, kind: Kind, error: str
) -> None:
    found = chosen(weights, inputs, form, kind)
    assert found.name is None
    assert (found.error or "").startswith(f"{error}: ")


def test_the_format_of_the_group_goes_before_that_of_the_whole() -> None:
    args = (FP8_CHANNEL, FP8_TOKEN, "mixed-precision")
    assert chosen(*args, own="float-quantized").name == "CompressedTensorsW8A8Fp8"


@pytest.mark.parametrize(("release", "name"), [("0.22.1", "W4A16Fp4"), ("0.23.0", "W4A4Fp4")])
def test_nvfp4_without_activations_changed_in_0_23(release: str, name: str) -> None:
    found = chosen(NVFP4, None, "nvfp4-pack-quantized", release=release)
    assert found.name == f"CompressedTensors{name}"


@pytest.mark.parametrize(("release", "built"), [("0.22.1", False), ("0.25.1", True)])
def test_two_bits_are_packed_from_0_25(release: str, built: bool) -> None:
    found = chosen({**INT4_GROUP, "num_bits": 2}, None, "pack-quantized", release=release)
    assert (found.name is not None) is built


@pytest.mark.parametrize("release", ["0.23.0", "0.24.0"])
def test_two_bits_were_built_otherwise_in_0_23_and_0_24(release: str) -> None:
    """Read in `_is_wNa8o8_int` of 0.23.0 and 0.24.0, lines 683 to 689."""
    found = chosen({**INT4_GROUP, "num_bits": 2}, None, "pack-quantized", release=release)
    assert found.name == "CompressedTensorsWNA8O8Int"


@pytest.mark.parametrize(
    ("release", "raises"),
    [("0.26.0", None), ("0.27.1", "AssertionError"), ("0.29.0", "TypeError"), ("0.30.0", None)],
)
def test_experts_without_a_group_size(release: str, raises: str | None) -> None:
    found = chosen(INT8_CHANNEL, None, "pack-quantized", "experts", release=release)
    assert (found.error.split(":")[0] if found.error else None) == raises


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("kind", ["linear", "experts", "embedding"])
def test_there_is_a_row_for_every_group(release: str, kind: Kind) -> None:
    for weights in (FP8_CHANNEL, INT4_GROUP, NVFP4, {}, {"strategy": "nonsense", "num_bits": "x"}):
        for inputs in (None, FP8_TOKEN, {}):
            found = chosen(weights, inputs, "dense", kind, release=release)
            assert (found.name is None) != (found.error is None)


@pytest.mark.parametrize(
    ("args", "strategy"),
    [
        ({}, "tensor"),
        ({"group_size": -1}, "channel"),
        ({"group_size": 128}, "group"),
        ({"strategy": "BLOCK"}, "block"),
        ({"strategy": None, "group_size": 32}, "group"),
    ],
)
def test_the_strategy_is_inferred_as_compressed_tensors_infers_it(
    args: Args, strategy: str
) -> None:
    assert normalised(args)["strategy"] == strategy


@pytest.mark.parametrize(
    "args", [{"type": 5}, {"strategy": [1]}, {"num_bits": [1]}, {"dynamic": {}}]
)
def test_values_of_another_type_are_no_crash(args: Args) -> None:
    for kind in KINDS:
        found = chosen({**FP8_CHANNEL, **args}, {**FP8_TOKEN, **args}, "float-quantized", kind)
        assert (found.name is None) != (found.error is None)


def test_the_defaults_agree_with_compressed_tensors() -> None:
    from compressed_tensors.quantization import QuantizationArgs

    theirs = QuantizationArgs()
    for field, value in normalised({}).items():
        if field != "strategy":  # theirs is inferred while it is read
            assert getattr(theirs, field) == value


@pytest.mark.parametrize("expects", ["fp8-channel", "nvfp4-pack", "int-pack", "unquantized"])
def test_the_parameters_of_a_format_are_known(expects: str) -> None:
    found = params("compressed-tensors", expects)
    assert found is not None
    assert found.needed
    assert not found.needed & found.more


def test_a_format_that_is_not_known_has_no_parameters() -> None:
    assert params("compressed-tensors", None) is None
    assert params("compressed-tensors", "nonsense") is None


# --- what the whole configuration comes to -----------------------------------


def test_a_group_without_weights_raises_as_in_the_engine() -> None:
    """Run on 0.32.0: pydantic's ValidationError, when the configuration is read."""
    group = Group("g", (Entry("Linear", "config.json", "/0"),), None, None)
    assert scheme(group, "float-quantized", "linear", context(GLM)).error is not None


@pytest.mark.parametrize("order", ["group", "dynamic", True])
@pytest.mark.parametrize("release", ["0.30.0", "0.33.0"])
def test_activation_ordering_by_group_raises_from_0_30(order: Any, release: str) -> None:
    """Read in 0.30 to 0.33 (`_quantization_scheme_map_from_config`), run on 0.32.0."""
    group = {"targets": ["Linear"], "weights": {**INT4_GROUP, "actorder": order}}
    found = read(
        Location("config.json", "", {"format": "pack-quantized", "config_groups": {"g": group}})
    )
    assert (refusal(found, release) or "").startswith("ValueError: Compressed-tensors group/dyn")


@pytest.mark.parametrize("release", ["0.29.0", "0.33.0"])
def test_activation_ordering_by_weight_is_no_matter(release: str) -> None:
    found = chosen({**INT4_GROUP, "actorder": "weight"}, None, "pack-quantized", release=release)
    assert found.name == "CompressedTensorsWNA16"


def test_a_number_that_is_written_as_a_string_counts() -> None:
    found = chosen({**INT4_GROUP, "num_bits": "4"}, None, "pack-quantized", "experts")
    assert found.name == "CompressedTensorsWNA16MoEMethod"


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_bits": [8]},
        {"num_bits": "eight"},
        {"type": "weird"},
        {"type": ["float"]},
        {"strategy": "odd"},
        {"strategy": {}},
        {"dynamic": "x"},
        {"group_size": 128},
    ],
)
def test_values_that_quantization_args_refuses(wrong: Args) -> None:
    group = {"targets": ["Linear"], "weights": {**FP8_CHANNEL, **wrong}}
    found = read(
        Location("config.json", "", {"format": "float-quantized", "config_groups": {"g": group}})
    )
    assert (refusal(found, "0.33.0") or "").startswith("ValidationError")
