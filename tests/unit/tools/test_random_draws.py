"""Random checkpoints: the same number is the same checkpoint, and each fits the engine."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import mtpfix
from tools import schemes, sglang_random, sglang_tiny, tiny
from tools.prove_random import VllmJudge
from tools.random_draws import NOT_ASKED, Draw, Judge, draw, make
from tools.sglang_random import SglangJudge

NONE = cast("Any", None)
JUDGES: tuple[Judge, ...] = (VllmJudge(NONE, "0.32.0"), SglangJudge(NONE, "0.5.23"))


def chance_of(seed: str | int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - to repeat a draw


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.title)
def test_a_number_is_always_the_same_checkpoint(judge: Judge, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        chance = chance_of("0/2")
        drawn = make(draw(chance, judge), tmp_path / name, judge, chance)
        files = sorted((tmp_path / name).iterdir())
        made.append((drawn, [(file.name, file.read_bytes()) for file in files]))
    assert made[0] == made[1]


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.title)
def test_what_is_drawn_can_be_forged(judge: Judge) -> None:
    chance = chance_of(1)
    drawn = [draw(chance, judge) for _ in range(600)]
    assert {each.family for each in drawn} == set(judge.families)
    assert {each.listed for each in drawn} == set(judge.lists)
    assert not [each for each in drawn if each.scheme in tiny.unfit(judge.like(each.family))]


def test_lists_for_sglang_are_spelled_as_the_method_has_it() -> None:
    judge = JUDGES[1]
    for scheme in judge.schemes:
        drawn = Draw("glm4_moe", scheme, "bf16", "random", "none")
        chance = chance_of(3)
        lists = [judge.entries(drawn, tiny.variant("glm4_moe", scheme), chance) for _ in range(9)]
        entries = [entry for found in lists for entry in found or ()]
        method = schemes.dialect(scheme)
        marked = {entry[:3] for entry in entries if entry.startswith(("re:", "-:"))}
        assert bool(marked) == (method in ("compressed-tensors", "quark", "gptq")), scheme
        assert any("model.decoder" in entry or "decoder" in entry for entry in entries)


def test_a_lost_tensor_is_said(tmp_path: Path) -> None:
    judge = JUDGES[1]
    drawn = Draw("glm4_moe", "ct-fp8-channel", "bf16", "asked", "lost")
    made = make(drawn, tmp_path, judge, chance_of(0))
    assert made.detail.startswith("model.layers.2.")
    assert judge.foretold(tmp_path) == "silent_garbage"
    assert mtpfix.inspect(tmp_path, sglang=["0.5.23"]).exit_code == 1


@pytest.mark.parametrize(
    ("did", "failure", "told"),
    [
        ("clean", None, "clean"),
        ("not loaded", None, NOT_ASKED),
        ("garbage: 1 uninitialised, 0 cast", None, "silent_garbage: 1 uninitialised, 0 cast"),
        ("KeyError", "KeyError: 'x'", "load_error: KeyError"),
        ("draft: ValueError", None, "load_error: draft: ValueError"),
        ("RuntimeError", "RuntimeError: Failed to build JIT module awq", NOT_ASKED),
    ],
)
def test_outcomes_are_put_in_the_words_of_both_engines(
    did: str, failure: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def ask(self, *_: Any, **__: Any) -> SimpleNamespace:
            return SimpleNamespace(load={"draft": SimpleNamespace(failure=failure)})

    judge = SglangJudge(cast("Any", Server()), "0.5.23")
    monkeypatch.setattr(sglang_random, "outcome", lambda _: did)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert judge.heard(tmp_path) == told


def test_only_families_that_can_be_forged_are_drawn() -> None:
    families = JUDGES[1].families
    assert "deepseek_v3" in families
    assert all(sglang_tiny.like(family) == family for family in families)
