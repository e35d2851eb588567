"""Ignores with a reason: what they cover, when they end, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from mtpfix.acceptance.ignores import Ignore, idle, judge
from mtpfix.model import Acceptance, Finding

TODAY = date(2026, 11, 29)
ALL = Ignore("MTP201", "known", "mtpfix.toml")


def finding(*modules: str, code: str = "MTP201", entries: tuple[str, ...] = ()) -> Finding:
    return Finding(code, "error", "run", "words", modules, entries=entries)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"code": "MTP202"}, False),
        ({"repo": "org/name"}, True),
        ({"repo": "org/*"}, True),
        ({"repo": "ORG/*"}, False),
        ({"module": "a.0.x"}, False),
        ({"module": "a.*"}, True),
        ({"module": "*.x"}, False),
        ({"entry": "a.0.x"}, False),
        ({"until": TODAY}, True),
        ({"until": date(2026, 11, 28)}, False),
    ],
)
def test_what_an_ignore_is_for(changes: dict[str, object], fits: bool) -> None:
    ignore = replace(ALL, **changes)  # type: ignore[arg-type]
    judged = judge([finding("a.0.x", "a.0.y")], [ignore], "org/name", TODAY)
    assert (len(judged.accepted), len(judged.counted)) == (int(fits), int(not fits))


def test_an_ignore_of_an_entry() -> None:
    ignore = replace(ALL, code="MTP101", entry="re:.*x")
    one = finding(code="MTP101", entries=("re:.*x",))
    assert not judge([one], [ignore], "r", TODAY).counted
    both = replace(one, entries=("re:.*x", "re:.*y"))
    (note,) = judge([both], [ignore], "r", TODAY).notes
    assert note.endswith("does not cover all of the finding, which counts: `re:.*y`")


def test_a_finding_of_the_whole_target_has_no_module() -> None:
    assert not judge([finding()], [ALL], "r", TODAY).counted
    assert judge([finding()], [replace(ALL, module="*")], "r", TODAY).counted


def test_several_ignores_cover_one_finding_together() -> None:
    first = replace(ALL, module="a", reason="one", until=date(2027, 5, 1))
    second = replace(ALL, module="b", reason="two", until=date(2027, 1, 31))
    judged = judge([finding("a", "b")], [first, second], "r", TODAY)
    (accepted,) = judged.accepted
    assert accepted.acceptance == Acceptance("ignore", "one; two", "mtpfix.toml", "2027-01-31")
    assert judge([finding("a", "b", "c")], [first, second], "r", TODAY).counted


def test_what_ended_is_told_and_counts() -> None:
    over = replace(ALL, until=date(2026, 1, 1))
    judged = judge([finding("a"), finding("b")], [over], "r", TODAY)
    assert len(judged.counted) == 2
    assert judged.notes == (
        "mtpfix.toml: the ignore of MTP201 (known) ended on 2026-01-01: the finding counts",
    )


def test_what_matched_nothing_in_the_whole_run_is_told() -> None:
    unused = replace(ALL, code="MTP202", repo="b", module="x")
    found = [("a", [finding("x")]), ("b", [])]
    assert list(idle([ALL, unused], found, TODAY)) == [
        "mtpfix.toml: the ignore of MTP202 repo `b` module `x` (known) matched nothing: take it out"
    ]
    over = replace(unused, until=date(2026, 1, 1))
    (said,) = idle([over], found, TODAY)
    assert said.endswith("ended on 2026-01-01 and matched nothing: take it out")


def test_an_ignore_for_other_targets_is_told_where_many_are_judged() -> None:
    elsewhere = replace(ALL, repo="c")
    assert list(idle([elsewhere], [("a", [])], TODAY)) == []
    (said,) = idle([elsewhere], [("a", []), ("b", [])], TODAY)
    assert said.endswith("is for no target of this run")
