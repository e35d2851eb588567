"""Proofs of grafts, as docs/graft-proof.md has them: all hold, and the page is made of them."""

from __future__ import annotations

from collections import defaultdict

from tools import serve_graft
from tools.graft_page import PAGE, page
from tools.graft_record import RECORD


def test_the_page_is_made_of_what_is_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RECORD.kept())


def test_every_proof_holds() -> None:
    rows = [proof for rows in RECORD.kept().values() for proof in rows]
    assert [(str(proof.asked), proof.faults) for proof in rows if proof.faults] == []
    assert [str(proof.asked) for proof in rows if not proof.refused and not proof.helper] == []


def test_six_recipes_are_grafted_clean_on_fourteen_families() -> None:
    families = defaultdict(set)
    for proof in RECORD.kept()["plain"]:
        if proof.after.startswith("clean"):
            families[proof.asked.scheme].add(proof.asked.family)
    assert len(families) >= 6
    assert min(map(len, families.values())) >= 14
    assert len(set.intersection(*families.values())) >= 14


def test_a_grafted_draft_is_accepted_and_a_lost_one_is_not() -> None:
    assert [one for one in serve_graft.served() if one.wrong] == []
    assert {one.way for one in serve_graft.served()} == {"lost", "graft", "helper"}
