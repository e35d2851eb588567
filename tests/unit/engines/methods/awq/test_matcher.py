"""AWQ: what an entry reaches, and what is built where none does."""

from __future__ import annotations

from typing import Any

import pytest

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, Platform
from tests.unit.engines.small import GLM, NEWEST, Config, known, modules, view_of

ATTN = "model.layers.2.self_attn"
QKV = f"{ATTN}.qkv_proj"
EXPERTS = "model.layers.2.mlp.experts"


def awq(config: Config, **more: Any) -> Config:
    """A configuration with AWQ for everything."""
    own = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, **more}
    return {**config, "quantization_config": own}


def decisions(*entries: str, release: str = NEWEST, **more: Any) -> dict[str, Decision]:
    config = awq(GLM, modules_to_not_convert=list(entries), **more)
    context = construction.context(known(config), config, release, "cuda", "awq")
    found = predict(known(config), view_of(config), context, modules(config, "draft", release))
    return {decision.module.name: decision for decision in found}


def test_everything_that_no_entry_exempts_is_quantized_but_the_heads() -> None:
    found = decisions()
    kinds = {d.module.kind: (d.built, d.expects) for d in found.values() if d.module.asks}
    assert kinds == {
        "linear": ("quantized", "awq"),
        "experts": ("quantized", "awq"),
        "lm_head": ("unquantized", "unquantized"),
    }


@pytest.mark.parametrize(
    ("release", "classes"),
    [
        ("0.23.0", ("AWQMarlinLinearMethod", "AWQMarlinMoEMethod")),
        ("0.24.0", ("AutoAWQMarlinLinearMethod", "AutoAWQMoEMethod")),
    ],
)
def test_the_classes_were_renamed(release: str, classes: tuple[str, str]) -> None:
    found = decisions(release=release)
    assert (found[QKV].scheme, found[EXPERTS].scheme) == classes


@pytest.mark.parametrize("entry", ["layers.2.", "self_attn", "q", "proj", ""])
def test_an_entry_reaches_every_name_that_holds_it(entry: str) -> None:
    decision = decisions(entry)[QKV]
    assert decision.built == "unquantized"
    assert decision.because is not None
    assert decision.because.pointer == "/quantization_config/modules_to_not_convert/0"


@pytest.mark.parametrize("entry", ["re:.*", "*", f"{ATTN}.*", "Layers.2.", "layers.2.self_attn.."])
def test_there_are_no_patterns(entry: str) -> None:
    assert decisions(entry)[QKV].built == "quantized"


@pytest.mark.parametrize(("release", "built"), [("0.23.0", "quantized"), ("0.24.0", "unquantized")])
def test_the_fused_name_counts_since_0_24(release: str, built: str) -> None:
    assert decisions(QKV, release=release)[QKV].built == built


def test_half_of_the_shards_is_an_error() -> None:
    decision = decisions(f"{ATTN}.q_proj")[QKV]
    assert decision.built == "error"
    assert (decision.error or "").startswith("ValueError: Detected some but not all shards")


def test_one_expert_exempts_none() -> None:
    assert decisions(f"{EXPERTS}.0.gate_proj")[EXPERTS].built == "quantized"
    assert decisions(EXPERTS)[EXPERTS].built == "unquantized"


def test_heads_are_asked_where_the_metadata_says_so() -> None:
    assert decisions(lm_head=True)["model.layers.2.head"].built == "quantized"
    assert decisions("head", lm_head=True)["model.layers.2.head"].built == "unquantized"


@pytest.mark.parametrize(
    ("release", "more", "says"),
    [
        (NEWEST, {"bits": 8}, "Unsupported num_bits = 8"),
        ("0.23.0", {"bits": 8}, "only 4-bit weight quantization"),
        (NEWEST, {"w_bit": 4, "bits": 8}, None),
        ("0.20.2", {"quant_method": "awq_marlin"}, None),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(
    release: str, more: Config, says: str | None
) -> None:
    found = {made.error for made in decisions(release=release, **more).values()} - {None}
    assert (says is None and not found) or all(says and says in str(error) for error in found)
    assert bool(found) == (says is not None)


@pytest.mark.parametrize(
    ("release", "platform", "config", "scheme"),
    [
        (NEWEST, "cuda", {"moe_intermediate_size": 192}, "MoeWNA16Method"),
        (NEWEST, "cuda", {"hidden_size": 192}, "MoeWNA16Method"),
        (NEWEST, "cuda", {"moe_intermediate_size": 1408}, "AutoAWQMoEMethod"),
        (NEWEST, "rocm", {"moe_intermediate_size": 1408}, "MoeWNA16Method"),
        ("0.26.0", "cuda", {"moe_intermediate_size": 1408}, "AutoAWQMoEMethod"),
    ],
)
def test_experts_that_marlin_does_not_take_fall_back(
    release: str, platform: Platform, config: Config, scheme: str
) -> None:
    whole = awq({**GLM, **config}, modules_to_not_convert=["visual"])
    context = construction.context(known(whole), whole, release, platform, "awq")
    found = construction.modules(known(whole), context, "draft")
    made = predict(known(whole), view_of(whole), context, found)
    assert {m.scheme for m in made if m.module.kind == "experts"} == {scheme}


def test_bits_and_group_size_have_two_names_each() -> None:
    assert decisions()[QKV].packing == (4, 128)
    other = decisions(w_bit=4, q_group_size=64, bits=8)
    assert other[QKV].packing == other[EXPERTS].packing == (4, 64)
    assert decisions("self_attn")[QKV].packing is None
