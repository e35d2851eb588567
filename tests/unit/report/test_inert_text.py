"""Foreign text comes out inert."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.report.inert_text import inert, inert_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.layers.43.e_proj", "model.layers.43.e_proj"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", r"\x1b]8;;http://evil\x07link\x1b]8;;\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("nul\0", r"nul\x00"),
        ("del\x7f", r"del\x7f"),
        ("line\u2028break\x85", r"line\u2028break\x85"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066isolate\u2069", r"\u2066isolate\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("filler\u3164, variation\ufe0f", r"filler\u3164, variation\ufe0f"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("lone\ud800", r"lone\ud800"),
        ("no-break\xa0space", r"no-break\xa0space"),
    ],
)
def test_shows_what_would_act_as_an_escape(text: str, shown: str) -> None:
    assert inert(text) == shown


@pytest.mark.parametrize("text", ["[bold]not bold[/bold]", r"re:.*\.[0-9]+\..*", "模型/权重", "é"])
def test_leaves_letters_and_brackets(text: str) -> None:
    assert inert(text) == text


def test_combining_marks_do_not_pile_up() -> None:
    assert inert("a" + "\u0301" * 4) == "a\u0301\u0301" + r"\u0301\u0301"


def test_a_huge_name_loses_its_middle() -> None:
    shown = inert("model." + "x" * 1_000_000 + ".weight", 30)
    assert len(shown) == 30
    assert shown.startswith("model.x")
    assert shown.endswith("x.weight")
    assert "…" in shown


def test_escapes_count_towards_the_limit() -> None:
    assert len(inert("\U000e0041" * 50, 60)) == 60


@given(st.text(st.characters(codec=None)), st.integers(1, 80))
def test_is_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    shown = inert(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@given(st.text(st.characters(codec=None)))
def test_is_stable(text: str) -> None:
    assert inert(inert(text)) == inert(text)


@given(
    st.recursive(
        st.none() | st.text(st.characters(codec=None)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner),
    )
)
def test_a_json_document_keeps_its_values(value: object) -> None:
    text = inert_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    text.encode()
