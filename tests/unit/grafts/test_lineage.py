"""mtpfix.grafts.lineage: what equal bytes of norms, gates and embeddings say of a base."""

from __future__ import annotations

import pytest

from mtpfix.grafts.lineage import Lineage, Pair, chosen, judged

NORMS = [f"model.layers.{n}.input_layernorm.weight" for n in range(30)]
GATES = [f"model.layers.{n}.mlp.gate.weight" for n in range(30)]


@pytest.mark.parametrize(
    ("compared", "verdict"),
    [
        ({}, "unknown"),
        ({"norm": (8, 8)}, "same weights"),
        ({"norm": (8, 8), "router": (4, 4), "embedding": (1, 1)}, "same weights"),
        ({"norm": (8, 3), "embedding": (1, 1)}, "norms differ"),
        ({"norm": (8, 0), "router": (4, 0), "embedding": (1, 1)}, "norms differ"),
        ({"norm": (8, 7), "embedding": (1, 0)}, "other weights"),
        ({"norm": (8, 8), "embedding": (1, 0)}, "other weights"),
        ({"norm": (8, 7)}, "other weights"),
        ({"router": (4, 0)}, "other weights"),
    ],
)
def test_verdicts(compared: dict[str, tuple[int, int]], verdict: str) -> None:
    assert Lineage(compared).verdict == verdict  # type: ignore[arg-type]


def test_results_are_counted() -> None:
    pairs = [Pair("norm", "a", "a"), Pair("norm", "b", "b"), Pair("router", "c", "c")]
    assert judged(zip(pairs, (True, False, True), strict=True)).compared == {
        "norm": (2, 1),
        "router": (1, 1),
    }


def test_a_few_of_each_kind_are_compared_from_all_layers() -> None:
    names = [*NORMS, *GATES, "model.embed_tokens.weight", "lm_head.weight"]
    found = chosen(names, names, [])
    kinds = [pair.kind for pair in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {"norm": 8, "router": 4, "embedding": 1}
    layers = [int(pair.ours.split(".")[2]) for pair in found if pair.kind == "norm"]
    assert layers == sorted(layers)
    assert layers[0] == 0
    assert layers[-1] > 15


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("model.language_model.layers.0.a_norm.weight", "model.layers.0.a_norm.weight"),
        ("model.layers.0.a_norm.weight", "language_model.model.layers.0.a_norm.weight"),
        ("layers.0.a_norm.weight", "model.layers.0.a_norm.weight"),
        ("model.language_model.embed_tokens.weight", "model.embed_tokens.weight"),
    ],
)
def test_a_wrapper_around_the_text_model_is_looked_past(ours: str, theirs: str) -> None:
    assert [(pair.ours, pair.theirs) for pair in chosen([ours], [theirs], [])] == [(ours, theirs)]


def test_the_vision_tower_is_not_taken_for_the_text_model() -> None:
    assert chosen(["model.visual.blocks.0.norm.weight"], ["model.blocks.0.norm.weight"], []) == ()


def test_tensors_of_shards_that_are_open_anyway_are_preferred() -> None:
    near = NORMS[10:20]
    assert {pair.theirs for pair in chosen(NORMS, NORMS, near)} <= set(near)
    assert len(chosen(NORMS, NORMS, NORMS[:2])) == 8  # two are too few


def test_what_only_one_has_is_not_compared() -> None:
    assert chosen(NORMS, GATES, []) == ()
    assert (
        chosen(["model.layers.0.mlp.up_proj.weight"], ["model.layers.0.mlp.up_proj.weight"], [])
        == ()
    )
