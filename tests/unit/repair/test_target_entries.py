"""Entries for the target model: what was wrong becomes right, and nothing else moves."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mtpfix.checkpoint.inventory import written_out
from mtpfix.engines.vllm.case import Case
from mtpfix.model import QuantView
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from tests.unit.engines.small import (
    DEEPSEEK,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    Config,
    Tensors,
    cases,
    modules,
    tensors,
    view_of,
    with_fp8,
    with_list,
)

FAMILIES = {"glm": GLM, "deepseek": DEEPSEEK, "mimo": MIMO, "qwen3-next": QWEN_NEXT}
RELEASES = ("0.28.0", NEWEST)
MEND = Options(repair_trunk=True)


def in_blocks(found: Tensors) -> Tensors:
    """The tensors as FP8 in blocks has them: sizes that blocks fit, and another name for scales."""
    blocks: Tensors = {}
    for name, (dtype, _) in found.items():
        if name.endswith(".weight_scale"):
            blocks[f"{name}_inv"] = ("F32", (2, 2))
        else:
            blocks[name] = (dtype, (256, 256))
    return blocks


def kept(config: Config, count: int, seed: int) -> list[str]:
    """Names on disk of some layers of the target model, drawn at random; all of a fused layer."""
    layers = [m for m in modules(config, "trunk") if m.asks and m.kind in ("linear", "experts")]
    drawn = random.Random(seed).sample(layers, min(count, len(layers)))  # noqa: S311
    return [name for module in drawn for name in written_out(module) if name not in module.stacked]


def unquantized(found: Tensors, names: Sequence[str]) -> Tensors:
    """The same tensors, but some layers in BF16."""
    rest = {n: e for n, e in found.items() if n.rpartition(".")[0] not in names}
    return {**rest, **{f"{name}.weight": ("BF16", found[f"{name}.weight"][1]) for name in names}}


def right(judged: Sequence[Case], view: QuantView) -> dict[tuple[str, str, str], bool]:
    """Whether each module of each release is built as it is stored, by its name."""
    return {
        (case.release, report.decision.module.part, report.decision.module.name): bool(
            report.agrees
        )
        for case in judged
        for report in case.judged(view, (*case.trunk, *case.draft))
        if report.agrees is not None
    }


def assert_mended(config: Config, found: Tensors) -> Plan:
    """Asserts that a repair makes all right that was wrong, and is the same if made again."""
    judged = cases(config, found, RELEASES)
    view = view_of(config)
    before = right(judged, view)
    assert not all(before.values())
    made = plan(judged, view, MEND)
    after = right(judged, made.view)
    assert after == dict.fromkeys(before, True)
    assert plan(judged, made.view, MEND).edits == ()
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_compressed_tensors(family: str, count: int, seed: int) -> None:
    config = with_list(FAMILIES[family], ("lm_head",))
    names = kept(config, count, seed)
    assert_mended(config, unquantized(tensors(config), names))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", ["glm", "deepseek", "qwen3-next"])
def test_fp8_compares_whole_names(family: str, seed: int) -> None:
    config = with_fp8(FAMILIES[family], "lm_head")
    names = kept(config, 2, seed)
    made = assert_mended(config, unquantized(in_blocks(tensors(config)), names))
    assert not any("*" in entry for entry in made.added)


def test_a_whole_kind_of_layers_takes_one_entry() -> None:
    config = with_list(GLM, ("lm_head",))
    names = [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 1) for p in "qkvo"]
    made = assert_mended(config, unquantized(tensors(config), names))
    ours = [entry for entry in made.added if "self_attn" in entry]
    assert ours == [r"re:^model\.layers\.(?:0|1)\.self_attn\..*"]


def test_without_the_flag_the_target_model_stays() -> None:
    config = with_list(GLM, ("lm_head",))
    judged = cases(config, unquantized(tensors(config), kept(config, 1, 0)), RELEASES)
    before = right(judged, view_of(config))
    made = plan(judged, view_of(config), Options())
    after = right(judged, made.view)
    assert made.added
    assert {k: v for k, v in after.items() if k[1] == "trunk"} == {
        k: v for k, v in before.items() if k[1] == "trunk"
    }
