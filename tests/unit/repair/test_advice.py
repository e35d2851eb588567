"""Advice on what stays wrong is held against the judgement that it speaks of."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import Version

import mtpfix
from mtpfix.changes.repair import Repair
from mtpfix.repair.plan import Unresolved
from tests.cases.materialise import materialise
from tests.unit.engines.small import (
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    MIMO,
    QWEN_NEXT,
    Config,
    Tensors,
    modules,
    tensors,
    with_list,
    write,
)

CASES = Path(__file__).parents[2] / "cases"
FAMILIES = (DEEPSEEK, DEEPSEEK_V4, DEEPSEEK_V4, GLM, MIMO, QWEN_NEXT)
SELECTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"vllm": ["all"]},
    {"vllm": ["<0.34"]},
    {"vllm": [">=0.22,<0.33"]},
    {"vllm": ["<0.34"], "platforms": ["rocm"]},
    {"engines": ["sglang"]},
)


def drawn(folder: Path, draw: random.Random) -> Path:
    """A small checkpoint with any list and any modules of the draft quantized."""
    config = draw.choice(FAMILIES)
    able = [each for each in modules(config) if each.asks]
    names = [name for each in able for name in (each.name, *each.members) if name]
    listed = draw.sample(names, draw.randint(0, min(4, len(names))))
    quantized = [
        member.replace("*", expert)
        for each in draw.sample(able, draw.choice((0, 0, 0, 1, 2)))
        for member in each.members
        for expert in "01"
    ]
    return write(folder, with_list(config, tuple(listed)), tensors(config, tuple(quantized)))


def unquantized_wo_a() -> tuple[Config, Tensors]:
    """A DeepSeek-V4 whose target model has `wo_a` as vLLM 0.34 builds it, in BF16."""
    stored = tensors(DEEPSEEK_V4).items()
    kept = {name: entry for name, entry in stored if not name.endswith("wo_a.weight_scale")}
    wo_a = {name: ("BF16", kept[name][1]) for name in kept if name.endswith("wo_a.weight")}
    config = with_list(DEEPSEEK_V4, ("head", "re:.*wo_a"))
    config["quantization_config"]["scale_fmt"] = "ue8m0"  # vLLM up to 0.22 reads it
    return config, {**kept, **wo_a}


def parsed(newer: str) -> tuple[Version, list[str]]:
    """The release of which advice speaks, and its platforms; none: all that are planned for."""
    found = re.fullmatch(r"(?:vLLM|SGLang) ([\d.]+) or newer(?: on (.+))?", newer)
    assert found is not None
    return Version(found[1]), found[2].split(", ") if found[2] else []


def untrue(target: Path, made: Repair, stays: Unresolved) -> Iterator[str]:
    """The pieces of advice that the judgement does not bear out."""
    advice = stays.advice
    if advice.newer:
        since, platforms = parsed(advice.newer)
        own = [each for each in made.new.planned.engines if each.engine == stays.engine]
        own = [each for each in own if not platforms or each.platform in platforms]
        later = [each for each in own if Version(each.version) >= since]
        yield from (f"{each.version} {each.platform}" for each in later if each.outcome != "clean")
        if not any(Version(each.version) == since for each in later):
            yield f"{since} is not among the releases that are planned for"
        if all(each.outcome == "clean" for each in own):
            yield "nothing is wrong there"
    if advice.option:
        named = advice.option.removeprefix("--")
        for release in stays.releases:
            chosen: dict[str, Any] = {named: [release]}
            alone = mtpfix.plan(target, platforms=made.selection.planned.platforms, **chosen)
            if alone.exit_code:
                yield f"{advice.option} {release}"


def test_advice_on_random_checkpoints_is_true(tmp_path: Path) -> None:
    draw = random.Random(19)  # noqa: S311 - not for secrets
    advice: set[str] = set()
    for number in range(24):
        target = drawn(tmp_path / str(number), draw)
        made = mtpfix.plan(target, **draw.choice(SELECTIONS))
        for stays in made.plan.unresolved:
            assert list(untrue(target, made, stays)) == [], stays
            advice.add(stays.advice.newer or stays.advice.otherwise)
    assert advice > {""}


def test_where_every_release_fails_no_release_is_recommended(tmp_path: Path) -> None:
    made = mtpfix.plan(materialise(CASES / "amd-dsv4-quark-mixed", tmp_path))
    assert made.plan.unresolved
    assert {stays.advice.newer for stays in made.plan.unresolved} == {""}


def test_the_release_is_that_from_which_the_whole_draft_is_right(tmp_path: Path) -> None:
    target = write(tmp_path / "v4", with_list(DEEPSEEK_V4, ("head",)), tensors(DEEPSEEK_V4))
    made = mtpfix.plan(target, vllm=["<0.34"], platforms=["cuda"])
    assert {stays.remedy for stays in made.plan.unresolved} == {"serve with vLLM 0.30.0 or newer"}


def test_a_plan_for_one_release_is_advised_where_it_is_right(tmp_path: Path) -> None:
    target = write(tmp_path / "v4", *unquantized_wo_a())
    made = mtpfix.plan(target, platforms=["rocm"])
    (stays,) = made.plan.unresolved
    assert stays.remedy == "serve with vLLM 0.24.0 or newer, or choose the release with `--vllm`"
    assert list(untrue(target, made, stays)) == []


def test_it_is_not_advised_where_something_else_fails(tmp_path: Path) -> None:
    config, stored = unquantized_wo_a()
    del config["quantization_config"]["scale_fmt"]
    made = mtpfix.plan(write(tmp_path / "v4", config, stored), platforms=["rocm"])
    assert {stays.remedy for stays in made.plan.unresolved} == {"serve with vLLM 0.24.0 or newer"}
