"""Proofs of one list for both engines, and docs/two-engines-proof.md, which is made of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tools.two_engines_page import PAGE, page
from tools.two_engines_record import NO_DRAFT, RECORD, SCHEMES, Asked, Proof, Seen, asked_of

SEEN = Seen("garbage: 4 uninitialised, 4 cast", "silent_garbage: 6 parameters uninitialised")
CLEAN = Seen("clean", "clean: 36 tensors bit-equal")
PROOF = Proof("0.5.23", "0.32.0", Asked("glm4_moe", "fp8-block"), SEEN)
ROWS = [proof for rows in RECORD.kept().values() for proof in rows]
TABLE = ("ct-fp8-channel", "fp8-block", "modelopt-nvfp4")
"""The schemes of 54 checkpoints that were asked about before there was a repair for SGLang."""


def test_the_page_is_made_of_what_is_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RECORD.kept())


@pytest.mark.parametrize("scheme", TABLE)
def test_every_family_was_asked_about(scheme: str) -> None:
    kept = {proof.asked for proof in RECORD.kept()[scheme]}
    assert {asked.family for asked in asked_of(scheme)} - {asked.family for asked in kept} == set()


def test_no_proof_has_a_fault() -> None:
    assert {str(proof.asked): proof.faults for proof in ROWS if proof.faults} == {}


def test_where_sglang_is_not_served_mtpfix_says_so() -> None:
    left = [proof for proof in ROWS if proof.way == "nothing"]
    assert [str(proof.asked) for proof in left if not proof.unhelped] == []
    assert len(left) < len(ROWS) / 5


def test_a_list_for_both_leaves_no_vllm_worse() -> None:
    for proof in ROWS:
        if proof.after is not None and proof.before.vllm.startswith("clean"):
            assert proof.after.vllm.startswith("clean"), proof.asked


@pytest.mark.parametrize(
    ("proof", "way"),
    [
        (replace(PROOF, before=CLEAN), "as it is"),
        (replace(PROOF, after=CLEAN), "one list"),
        (replace(PROOF, after=SEEN, folder="clean"), "draft folder"),
        (replace(PROOF, folder="ValueError"), "nothing"),
        (PROOF, "nothing"),
    ],
)
def test_what_serves_sglang(proof: Proof, way: str) -> None:
    assert proof.way == way


def test_the_page_counts_and_shows() -> None:
    lost = replace(PROOF, asked=Asked("hy_v3", "fp8-block"), before=Seen("ValueError", NO_DRAFT))
    rows = [
        replace(PROOF, after=CLEAN, added=("a|b",)),
        replace(lost, refused="no way", unhelped="none helps", faults=("foreseen clean",)),
    ]
    text = page({"fp8-block": rows})
    assert f"| {SCHEMES['fp8-block']} | 2 | 0 | 0 of 1 | 1 | 1 | 0 | 1 of 1 | 1 |" in text
    assert "| glm4_moe | one list |" in text
    assert "| hy_v3 | ValueError | no draft | no way |  |  | none helps | foreseen clean |" in text
    assert "`a\\|b`" in text
