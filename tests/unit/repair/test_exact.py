"""The rule for entries: what names the MTP block and nothing wider, and what does not."""

from __future__ import annotations

import pytest

from mtpfix.engines.vllm import methods
from mtpfix.quant.spelling import demand
from mtpfix.repair.exact import MtpNames, beginnings, fits_empty_name, is_exact

GLM_OCR = MtpNames(
    draft={
        "model.layers.16.self_attn.qkv_proj": 16,
        "model.layers.16.mlp.down_proj": 16,
        "model.language_model.layers.16.mlp.down_proj": 16,
    },
    roots=("model.language_model.layers.16",),
    target=frozenset(
        {
            "language_model.model.layers.0.self_attn.qkv_proj",
            "model.language_model.layers.0.mlp.down_proj",
            "model.language_model.layers.1.mlp.down_proj",
            "lm_head",
        }
    ),
)
LONGCAT = MtpNames(
    draft={"eh_proj": 2, "lm_head": None, "model.mtp.layers.0.eh_proj": 2},
    roots=("model.mtp",),
    target=frozenset({"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"}),
)
ASSISTANT = MtpNames(
    draft={"draft_model.layers.0.o_proj": 0, "model.layers.0.o_proj": 0, "pre_projection": None},
    roots=("model", "pre_projection"),
    target=frozenset(),
)


@pytest.mark.parametrize(
    ("names", "method", "entry", "exact"),
    [
        (GLM_OCR, "compressed-tensors", r"re:^model\.layers\.16\..*", True),
        (GLM_OCR, "compressed-tensors", r"re:^model\.layers\..*", False),
        (GLM_OCR, "compressed-tensors", r"re:^model\..*", False),
        (GLM_OCR, "compressed-tensors", r"re:^model\.layers\.1.*", False),
        (GLM_OCR, "compressed-tensors", r"re:^model\.language_model\.layers\.16\..*", True),
        (GLM_OCR, "compressed-tensors", r"re:^model\.language_model\.layers\.1\..*", False),
        (GLM_OCR, "compressed-tensors", r"re:.*layers\.16\..*", False),
        (GLM_OCR, "compressed-tensors", r"re:^model\.layers\.(?:1|16)\..*", False),
        (GLM_OCR, "compressed-tensors", "re:model.layers.16.*", False),
        (GLM_OCR, "compressed-tensors", "model.layers.16.mlp.down_proj", True),
        (GLM_OCR, "compressed-tensors", "lm_head", False),
        (GLM_OCR, "compressed-tensors", "re:^$", False),
        (GLM_OCR, "compressed-tensors", "", False),
        (GLM_OCR, "gptq", r"-:^model\.layers\.16\..*", True),
        (GLM_OCR, "gptq", r"-:^model\.layers\..*", False),
        (GLM_OCR, "gptq", "-:mlp", False),
        (GLM_OCR, "auto-round", r"^model\.layers\.16\..*", True),
        (GLM_OCR, "auto-round", r"model\.layers\.16\..*", False),
        (GLM_OCR, "auto-round", r"^model\.layers\..*", False),
        (GLM_OCR, "quark", r"re:^model\.layers\.16\.mlp(\..*)?$", True),
        (GLM_OCR, "modelopt", "model.layers.16.*", True),
        (GLM_OCR, "modelopt", "[m]odel.layers.16.*", True),
        (GLM_OCR, "modelopt", "model.layers.16*", False),
        (GLM_OCR, "modelopt", "model.layers.*", False),
        (GLM_OCR, "modelopt", "*.layers.16.*", False),
        (GLM_OCR, "awq", "model.layers.16.", True),
        (GLM_OCR, "awq", "layers.16.", True),
        (GLM_OCR, "awq", "layers.1", False),
        (GLM_OCR, "awq", "16.", False),
        (GLM_OCR, "awq", "mlp.down_proj", False),
        (GLM_OCR, "awq", "", False),
        (GLM_OCR, "torchao", "model.layers.16", True),
        (GLM_OCR, "torchao", "layers.16", True),
        (GLM_OCR, "torchao", "16", False),
        (GLM_OCR, "torchao", "model.layers", False),
        (GLM_OCR, "torchao", "", False),
        (GLM_OCR, "fp8", "model.layers.16.mlp.down_proj", True),
        (GLM_OCR, "fp8", "model.layers", False),
        (GLM_OCR, "fp8", "", False),
        (LONGCAT, "compressed-tensors", r"re:^model\.mtp\..*", True),
        (LONGCAT, "compressed-tensors", "eh_proj", True),
        (LONGCAT, "awq", "eh_proj", True),
        (LONGCAT, "fp8", "lm_head", False),
        (ASSISTANT, "compressed-tensors", r"re:^draft_model\..*", True),
        (ASSISTANT, "compressed-tensors", r"re:^model\.layers\.0\..*", True),
        (ASSISTANT, "compressed-tensors", r"re:^model\..*", False),
        (ASSISTANT, "compressed-tensors", "pre_projection", True),
    ],
)
def test_an_entry_names_the_block_or_it_does_not(
    names: MtpNames, method: str, entry: str, exact: bool
) -> None:
    assert is_exact(entry, methods.of(method).spelling, names) is exact


@pytest.mark.parametrize(
    ("method", "entry", "only_empty"),
    [
        ("compressed-tensors", "re:^$", True),
        ("quark", "re:^$", True),
        ("gptq", "-:^$", True),
        ("auto-round", "^$", True),
        ("compressed-tensors", "re:", False),
        ("compressed-tensors", "re:^", False),
        ("compressed-tensors", "", False),
        ("fp8", "", False),
        ("torchao", "", False),
        ("awq", "", False),
    ],
)
def test_a_pattern_may_fit_the_empty_name_alone(method: str, entry: str, only_empty: bool) -> None:
    assert fits_empty_name(entry, methods.of(method).spelling) is only_empty


def test_a_layer_beside_the_declared_one_marks_no_block() -> None:
    """Layers that nothing declares are on disk: their words are then the target's as well."""
    names = MtpNames({"model.mtp.0.fc": None}, ("model.mtp.0",), frozenset({"model.mtp.1.fc"}))
    assert names.prefixes == {"model.mtp.0"}


def test_the_beginnings_of_a_name_end_at_its_dots() -> None:
    assert list(beginnings("a.b.c")) == ["a", "a.b", "a.b.c"]
    assert list(beginnings("")) == []


def test_nothing_is_said_of_a_pattern_that_spells_nothing_out() -> None:
    assert demand("re:.*mtp.*", methods.of("compressed-tensors").spelling) is None
    assert demand("mtp[0-9]*", methods.of("modelopt").spelling) is None
