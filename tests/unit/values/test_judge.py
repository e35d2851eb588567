"""What is judged of summaries alone: what a healthy model may have, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.model import Checkpoint, Finding, Listing, Target, Tensor
from mtpfix.values.judge import judge
from mtpfix.values.scanned import Scanned
from mtpfix.values.siblings import PART, choose_siblings, part, tensors_of
from mtpfix.values.summary import Summary

BLOCK, TRUNK = "model.layers.9.mlp.up_proj", "model.layers.4.mlp.up_proj"


def tensor(dtype: str, *shape: int, **facts: float) -> Scanned:
    """A tensor with the values of an ordinary weight, unless `facts` say otherwise."""
    count = 1
    for size in shape:
        count *= size
    summary = Summary(dtype, count, 0, 0, 0, 0, count // 2, -0.1, 0.1, 1e-6, 0.0, 0.02**2)
    return Scanned(Tensor(dtype, shape, 0, 0), replace(summary, **facts))  # type: ignore[arg-type]


def scale(dtype: str = "F32", *shape: int, **facts: float) -> Scanned:
    size = shape or (64, 1)
    positive = {"negatives": 0, "minimum": 1e-4, "maximum": 3e-4, "mean_square": 2e-4**2}
    return tensor(dtype, *size, **{**positive, **facts})


def codes(dtype: str, **facts: float) -> Scanned:
    return tensor(dtype, 64, 64, **{"mean_square": 100.0**2, **facts})


def judged(
    block: Mapping[str, Scanned], trunk: Mapping[str, Scanned] | None = None
) -> list[Finding]:
    theirs = {"weight": tensor("BF16", 64, 64)} if trunk is None else trunk
    return [
        *judge(
            {f"{BLOCK}.{suffix}": one for suffix, one in block.items()},
            {f"{TRUNK}.{suffix}": one for suffix, one in theirs.items()},
            {BLOCK: TRUNK} if theirs else {},
        )
    ]


def told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in found]


FP8 = "F8_E4M3"
SIGNED = {"negatives": 30, "minimum": -3e-4}


@pytest.mark.parametrize(
    "block",
    [
        {"weight": tensor("BF16", 64, 64)},
        {"weight": tensor("BF16", 64, 64, mean_square=0.5**2), "bias": scale("BF16", 64, zeros=64)},
        {"weight": codes(FP8), "weight_scale": scale()},
        {"weight": codes(FP8), "weight_scale_inv": scale("F32", 1, 1)},
        # Rows of zeros: a padded vocabulary.
        {"weight": codes(FP8, zeros=1000), "weight_scale": scale(zeros=10)},
        # FP16 and FP8 have small numbers that are subnormal, and they are ordinary scales there.
        {"weight": codes(FP8), "weight_scale": scale("F16", subnormals=60)},
        {
            "weight_packed": codes("U8"),
            "weight_scale": scale(FP8, 64, 4, subnormals=100, zeros=2, mean_square=80.0**2),
            "weight_global_scale": scale("F32", 1, mean_square=12000.0**2),
        },
        # AutoRound's symmetric scales have a sign.
        {"qweight": codes("I32"), "qzeros": codes("I32"), "scales": scale("F16", 4, 64, **SIGNED)},
        {"weight": codes("I8"), "weight_scale": scale("BF16", 64, 1, **SIGNED)},
        # vLLM writes -1 where a scale of the cache is not known.
        {"weight": tensor("BF16", 64, 64), "k_scale": scale("F32", 1, negatives=1, minimum=-1)},
        # A gate of one row, and a factor, may be whatever they were trained to.
        {"weight": tensor("BF16", 1, 2048, zeros=2048, minimum=0, maximum=0)},
        {"weight": tensor("BF16", 4, 4, mean_square=900.0)},
        {},
    ],
)
def test_what_a_healthy_block_may_have(block: Mapping[str, Scanned]) -> None:
    assert judged(block) == []


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"weight": codes(FP8), "weight_scale": scale(negatives=1)}, "error"),
        ({"weight": codes(FP8), "weight_scale": scale(nans=1)}, "error"),
        ({"weight": codes(FP8), "weight_scale": scale(zeros=10)}, "warning"),
        ({"weight": codes(FP8), "weight_scale": scale(zeros=40)}, "error"),
        ({"weight": codes(FP8), "weight_scale": scale(subnormals=40)}, "error"),
        ({"weight": codes(FP8), "weight_scale": scale(subnormals=1)}, "warning"),
        ({"weight": codes(FP8), "weight_scale": scale(), "input_scale": scale(zeros=64)}, "error"),
        ({"qweight": codes("I32"), "scales": scale("F16", zeros=10)}, "warning"),
        ({"k_scale": scale("F32", 1, zeros=1)}, "error"),
    ],
)
def test_scales_without_sense(block: Mapping[str, Scanned], expected: str) -> None:
    assert told(judged(block)) == [("MTP504", expected)]


def test_an_infinity_that_the_target_has_too() -> None:
    mask = tensor("BF16", 64, 64, infinities=3)
    assert judged({"weight": mask}, {"weight": mask}) == []
    assert told(judged({"weight": mask})) == [("MTP501", "error")]


@pytest.mark.parametrize(
    ("times", "expected"),
    [(1, None), (20, None), (1 / 20, None), (40, "warning"), (1 / 40, "warning"), (150, "error")],
)
def test_the_magnitude_beside_a_sibling(times: float, expected: str | None) -> None:
    found = judged({"weight": tensor("BF16", 64, 64, mean_square=(0.02 * times) ** 2)})
    assert told(found) == ([("MTP505", expected)] if expected else [])
    assert [finding.confidence for finding in found] == ["assumed"] * len(found)


def test_packed_codes_of_one_format_are_compared_by_their_scales() -> None:
    """How many bits a word of GPTQ has, its tensors do not tell."""
    ours = {"qweight": codes("I32"), "scales": scale("F16", mean_square=1.0)}
    theirs = {"qweight": codes("I32"), "scales": scale("F16")}
    assert told(judged(ours, theirs)) == [("MTP505", "error")]
    assert judged(theirs, theirs) == []
    assert judged(ours, {"weight": tensor("BF16", 64, 64)}) == []


def test_without_siblings_magnitudes_are_not_judged() -> None:
    assert judged({"weight": tensor("BF16", 64, 64, mean_square=1e12)}, {}) == []


@pytest.mark.parametrize("size", [1e-300, 1e300, 0.0, float("inf")])
def test_numbers_at_the_ends(size: float) -> None:
    block = {"weight": codes(FP8), "weight_scale": scale(mean_square=size)}
    for finding in judged(block):
        assert finding.code == "MTP505"


# --- norms -------------------------------------------------------------------------


def norm(mean: float, below: float) -> Scanned:
    return tensor("BF16", 1000, mean=mean, negatives=int(below * 1000), mean_square=mean**2 + 0.01)


NORMS = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm")
FACTORS, CENTRED = norm(1.1, 0.0), norm(0.1, 0.3)


def judged_norms(ours: list[Scanned], theirs: Scanned) -> list[tuple[str, str, int]]:
    names = NORMS[: len(ours)]
    found = judge(
        {f"mtp.layers.0.{name}.weight": one for name, one in zip(names, ours, strict=True)},
        {f"model.layers.4.{name}.weight": theirs for name in names},
        {f"mtp.layers.0.{name}": f"model.layers.4.{name}" for name in names},
    )
    return [(finding.code, finding.severity, len(finding.modules)) for finding in found]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([CENTRED, CENTRED], CENTRED, None),
        ([FACTORS, FACTORS], FACTORS, None),
        ([FACTORS, FACTORS], CENTRED, ("error", 2)),
        ([CENTRED, CENTRED], FACTORS, ("error", 2)),
        ([FACTORS, CENTRED], CENTRED, ("warning", 1)),
        ([CENTRED, CENTRED, FACTORS], FACTORS, ("warning", 2)),
        # The first norm of SmolLM2 is around zero, those of its other layers are not.
        ([norm(0.001, 0.47), FACTORS], FACTORS, None),
        ([norm(0.001, 0.47), norm(0.2, 0)], norm(0.4, 0.003), None),
        # Norms of a target model whose weights are small, and those less one.
        ([norm(-0.6, 0.99), norm(-0.7, 1.0)], norm(0.35, 0.0), ("error", 2)),
        ([norm(2.4, 0.0), norm(3.0, 0.0)], CENTRED, None),
    ],
)
def test_norms(ours: list[Scanned], theirs: Scanned, expected: tuple[str, int] | None) -> None:
    assert judged_norms(ours, theirs) == ([("MTP506", *expected)] if expected else [])


# --- siblings ----------------------------------------------------------------------


def inventory(*names: str) -> Inventory:
    shards = dict.fromkeys(names, "model.safetensors")
    return Inventory(Checkpoint(Listing(Target("local", "x"), (), {}, shards, "index"), {}))


def test_the_sibling_is_in_the_middle_layer_that_has_the_module() -> None:
    layers = [f"model.layers.{i}.self_attn.o_proj.weight" for i in (1, 3, 5, 11)]
    trunk = inventory(*layers, "model.layers.2.mlp.up_proj.weight", "model.norm.weight")
    block = ["mtp.layers.0.self_attn.o_proj.weight", "mtp.norm.weight", "mtp.fc.weight"]
    assert choose_siblings(block, trunk, ("mtp.",)) == {
        "mtp.layers.0.self_attn.o_proj": "model.layers.5.self_attn.o_proj",
        "mtp.norm": "model.norm",
    }


def test_one_expert_stands_for_all() -> None:
    names = [f"model.layers.{i}.mlp.experts.{e}.up_proj.weight" for i in (0, 1) for e in (0, 1, 10)]
    chosen = choose_siblings(names[3:], inventory(*names), ("model.layers.1.",))
    assert set(chosen.values()) == {"model.layers.0.mlp.experts.0.up_proj"}
    assert len(chosen) == 3


def test_a_layer_one_level_deeper_has_siblings() -> None:
    trunk = inventory("m.layers.0.attn.wo.weight")
    block = ["m.mtp.layers.0.transformer_block.attn.wo.weight"]
    assert choose_siblings(block, trunk, ("m.mtp.",)) == {
        "m.mtp.layers.0.transformer_block.attn.wo": "m.layers.0.attn.wo"
    }


def test_a_vision_tower_has_none() -> None:
    trunk = inventory("model.visual.blocks.0.mlp.up_proj.weight", "vision_tower.norm.weight")
    assert choose_siblings(["mtp.layers.0.mlp.up_proj.weight", "mtp.norm.weight"], trunk, ()) == {}


def test_all_that_belongs_to_a_sibling_is_read() -> None:
    trunk = inventory("layers.0.wo.weight_scale", "layers.0.wo.weight_packed", "layers.0.wq.weight")
    assert tensors_of({"a": "layers.0.wo", "b": "layers.0.wo"}, trunk) == (
        "layers.0.wo.weight_scale",
        "layers.0.wo.weight_packed",
    )


def test_a_part_is_of_whole_elements_and_inside() -> None:
    for size in (PART, PART + 4, PART * 3 + 4):
        whole = Tensor("F32", (size // 4,), 12, 12 + size)
        some = part(whole)
        assert whole.begin <= some.begin <= some.end <= whole.end
        assert (some.begin - whole.begin) % 8 == 0
        assert some.end - some.begin == 4 * some.shape[0] == PART
