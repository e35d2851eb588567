"""Proofs of repaired schemes, and docs/scheme-proof.md, which is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtpfix.model import Edit
from tools import blocks
from tools.proof_record import Record
from tools.prove_schemes import short
from tools.scheme_page import PAGE, page
from tools.scheme_record import RECORD, SEARCHES, Proof, Search
from tools.tables import brief, table

MISSED = "predicted "
"""How a fault begins that is about the prediction alone."""
ASKED = tuple(blocks.gptq())
PROOF = Proof("0.32.0", ASKED[0], before="load_error: KeyError: 'x'")


def test_the_page_is_made_of_what_is_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RECORD.kept(), SEARCHES.kept())


def test_what_was_repaired_is_clean_and_leaves_the_target_model_alone() -> None:
    rows = [proof for rows in RECORD.kept().values() for proof in rows]
    repaired = [proof for proof in rows if not proof.refused]
    assert [str(p.asked) for p in repaired if not p.trunk] == []
    assert [str(p.asked) for p in repaired if not p.after.startswith("clean")] == []
    assert len(repaired) >= 10


def test_no_proof_has_a_fault_but_a_prediction_that_missed() -> None:
    rows = [proof for rows in RECORD.kept().values() for proof in rows]
    faults = [fault for proof in rows for fault in proof.faults]
    assert [fault for fault in faults if not fault.startswith(MISSED)] == []


@pytest.mark.parametrize("part", ["compressed-tensors", "modelopt", "auto-round", "gptq", "quark"])
def test_forged_blocks_load_clean_once_the_metadata_are_written_by_hand(part: str) -> None:
    rows = RECORD.kept()[part]
    clean = [p for p in rows if p.by_hand.startswith("clean")]
    assert clean
    # Older releases ask about a head without a name, which these metadata quantize.
    assert [str(p.asked) for p in clean if not p.by_hand_trunk and p.release == "0.32.0"] == []


def record(folder: Path) -> Record[Proof]:
    return replace(RECORD, file=folder / "proofs.json", parts={"gptq": blocks.gptq})


def test_a_later_proof_takes_the_place_of_one_of_the_same_release(tmp_path: Path) -> None:
    kept = record(tmp_path)
    assert kept.kept() == {}
    second = replace(PROOF, asked=ASKED[1])
    kept.keep({"gptq": [second, PROOF]})
    newer = replace(PROOF, before="clean: 3 tensors bit-equal")
    older = replace(PROOF, release="0.28.0")
    kept.keep({"gptq": [newer, older]})
    assert kept.kept() == {"gptq": [older, newer, second]}
    lines = kept.file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7
    assert json.loads("".join(lines))["gptq"][0]["release"] == "0.28.0"


def test_a_proof_of_what_is_asked_no_longer_goes(tmp_path: Path) -> None:
    kept = record(tmp_path)
    kept.keep({"gptq": [PROOF, replace(PROOF, asked=replace(ASKED[0], block="awq"))]})
    assert kept.kept() == {"gptq": [PROOF]}


def test_a_fault_a_refusal_and_a_target_model_that_moved_are_shown() -> None:
    row = replace(PROOF, by_hand="clean: 2", by_hand_trunk=False, trunk=False, refused="no way")
    text = page({"gptq": [replace(row, faults=("predicted a|b",))]}, {})
    cells = text.splitlines()[-1].split(" | ")
    assert cells[4:] == [
        "load_error: KeyError",
        "clean: 2, trunk moved",
        "none",
        "refused: no way",
        "no",
        "predicted a\\|b |",
    ]


def test_no_metadata_were_found_for_what_is_refused() -> None:
    found = [search for rows in SEARCHES.kept().values() for search in rows]
    assert not any(search.clean for search in found)
    refused = {(p.asked, p.release) for rows in RECORD.kept().values() for p in rows if p.refused}
    assert {(search.asked, search.release) for search in found} <= refused
    assert sum(search.tried for search in found) > 500


def test_a_search_is_shown() -> None:
    row = Search("0.32.0", ASKED[0], 7, ("gptq: MLP",), ("6 x load_error: KeyError: 'x'",))
    cells = page({}, {"gptq": [row]}).splitlines()[-1].split(" | ")
    assert cells[3:] == ["0.32.0", "7", "`gptq: MLP`", "6 x load_error: KeyError: 'x' |"]


def test_edits_are_shown_in_a_few_words() -> None:
    place = "/quantization_config/format"
    assert short(Edit("config.json", place, "add", "mixed")) == 'format = "mixed"'
    assert short(Edit("config.json", place, "remove")) == "format removed"
    other = short(Edit("hf_quant_config.json", "/quantization/x", "add", ["y" * 80]))
    assert other.startswith('hf_quant_config.json#quantization/x = ["yyy')
    assert other.endswith("…")


def test_tables_keep_bars_and_exceptions_lose_their_words() -> None:
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n| --- | --- |\n| x\\|y | z |\n"
    assert brief("load_error: KeyError: 'x'") == "load_error: KeyError"
    assert brief("clean: 3 tensors bit-equal") == "clean: 3 tensors bit-equal"
