"""Markdown, read back by a real reader."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mtpfix.analysis import Judgement
from mtpfix.changes.repair import Repair
from mtpfix.checkpoint.source import LocalSource
from mtpfix.delivery import Delivered
from mtpfix.model import Report
from mtpfix.repair import plan
from mtpfix.report import change, markdown, markdown_text
from mtpfix.report.inert_text import inert
from mtpfix.selection import select

from . import examples, hostile

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[a-zA-Z0-9]+)(?P<rest>[^>]*)>")


def tags(text: str) -> set[str]:
    """The tags that a reader makes of Markdown; none has an attribute of a stranger."""
    found = set()
    for tag in _TAG.finditer(re.sub("<!-- -->", "", READER.render(text))):
        assert not re.sub(r' class="language-diff"| /', "", tag["rest"]), tag[0]
        found.add(tag["name"])
    return found


def words(text: str) -> str:
    """What a person reads."""
    shown = re.sub(r"<!-- -->|</?(p|code)>", "", READER.render(text))
    return re.sub(r"\s+", "", html.unescape(shown))


# --- marked ------------------------------------------------------------------


@pytest.mark.parametrize("word", hostile.WORDS)
def test_prose_shows_what_was_said(word: str) -> None:
    assert tags(markdown_text.prose(f"x {word}")) <= {"p", "code"}
    assert words(markdown_text.prose(f"x {word}")).replace("`", "") == re.sub(
        r"\s+|`", "", f"x{inert(word)}"
    )


@given(st.text(st.characters(codec=None), max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    assert tags(f"x {markdown_text.prose(text)}") <= {"p", "code"}
    assert tags(f"x {markdown_text.code(text)}") <= {"p", "code"}
    row = markdown_text.table(("a", "b"), [(markdown_text.prose(text), markdown_text.code(text))])
    rendered = READER.render("\n".join(row))
    assert rendered.count("<td>") == 2
    assert tags("\n".join(row)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`a.b` is", "`a.b` is"),
        ("a `", r"a \`"),
        ("`a` and `b", r"`a` and \`b"),
        ("`` (the empty name)", r"\`\` (the empty name)"),
        ("`a|b`", "<code>a&#124;b</code>"),
        ("@me #1", "@<!-- -->me &#35;<!-- -->1"),
        ("http://x www.x", "http:<!-- -->//x www<!-- -->.x"),
    ],
)
def test_spelling(text: str, shown: str) -> None:
    assert markdown_text.prose(text) == shown


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert markdown_text.fenced("a\n````\nb", "diff") == ["`````diff", "a", "````", "b", "`````"]


# --- the report --------------------------------------------------------------


def test_releases_findings_modules_and_what_is_next() -> None:
    text = markdown.render(examples.many_releases())
    assert text.startswith("### ✗ `acme/DeepSeek-V4-FP8-dynamic`\n\n**The draft fails to load on ")
    assert "| 0.20-0.23 on cuda | ✗ silent garbage | it loads, but 10 modules" in text
    assert "| 0.30-0.33 on cuda | ✓ clean |" in text
    assert "| ✗ MTP201 error | `config.json:812` | 10 MTP modules" in text
    assert "<summary>Draft modules, vLLM 0.33.0 on cuda</summary>" in text
    assert "Next: `mtpfix rewrite acme/DeepSeek-V4-FP8-dynamic` shows" in text


@pytest.mark.parametrize("name", examples.CASES)
def test_every_report_is_a_section(name: str) -> None:
    text = markdown.render(examples.CASES[name]())
    assert text.startswith("### ")
    assert text.endswith("\n")
    assert tags(text) <= {
        "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "br",
        "details", "summary",
    }  # fmt: skip


def test_what_is_too_much_is_counted() -> None:
    report = examples.report(
        examples.engine(outcome="silent_garbage"), findings=(examples.mtp201(),) * 60, exit_code=1
    )
    text = markdown.render(report)
    assert text.count("✗ MTP201") == 50
    assert "… and 10 findings more." in text


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words(word: str) -> None:
    text = markdown.render(hostile.report(word))
    assert text.replace("\n", "").isprintable()
    assert tags(text) <= {
        "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "br",
        "details", "summary",
    }  # fmt: skip
    assert READER.render(text).count("<tr>") == 9


def test_what_does_not_count_is_folded_away_with_the_reason() -> None:
    text = markdown.render(examples.accepted())
    _, _, folded = text.partition("<summary>Not counted: 2 findings</summary>")
    assert "| MTP201 ignored | `config.json:812` | 10 MTP modules" in folded
    assert "| waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31) |" in folded
    assert "| it was there before (baseline.json) |" in folded
    assert "which is not counted as a failure here (ignored: MTP201; known: MTP101)" in text


def test_several_reports_are_parted() -> None:
    text = markdown.render(examples.clean(), examples.no_mtp())
    assert text.count("\n\n### ") == 1


# --- a repair ----------------------------------------------------------------


def delivered(before: Report, after: Report, checked: Report, **changes: Any) -> Delivered:
    made = replace(plan.nothing(), added=(examples.IGNORED.text,))
    repair = Repair(
        source=LocalSource("."),
        selection=select(),
        old=Judgement(before, before),
        new=Judgement(after, checked),
        plan=changes.get("plan", made),
        files=changes.get("files", {"config.json": (b"", b"x ``` y\n")}),
    )
    return Delivered(repair)


def partly() -> Delivered:
    """A repair that fixes all but what metadata cannot fix."""
    before = examples.many_releases()
    after = replace(before, engines=tuple(
        e if e.outcome == "load_error" else replace(e, outcome="clean") for e in before.engines
    ), findings=before.findings[1:])  # fmt: skip
    return delivered(before, after, after)


def test_before_and_after() -> None:
    text = change.render(partly(), "mtpfix rewrite ./model")
    assert "It edits `config.json` and changes no weights." in text
    assert "| vLLM | before | after |" in text
    assert re.search(r"\| 0\.20-0\.23 on cuda \| ✗ silent garbage: .* \| ✓ clean \|", text)
    assert "| 0.30-0.33 on cuda | ✓ clean | ✓ clean |" in text
    assert r"Added: `re:model\.layers\.43\..*`" in text
    assert "- MTP301 error: no metadata can help" in text
    assert "````diff\n--- a/config.json" in text
    assert text.endswith("`mtpfix rewrite ./model`\n")
    assert "Judged for vLLM 0.20-0.33 (14 releases) on cuda." in text


def test_nothing_to_change() -> None:
    same = examples.clean()
    text = change.render(delivered(same, same, same, files={}, plan=plan.nothing()))
    assert text.startswith("Nothing to change: the draft is clean on vLLM 0.32.0")
    assert "Diff" not in text


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words_in_a_repair(word: str) -> None:
    report = hostile.report(word)
    made = replace(plan.nothing(), added=(word,), removed=(word,))
    written = word.encode(errors="replace")
    text = change.render(
        delivered(report, report, report, plan=made, files={word: (b"", written)}),
        f"mtpfix {word}",
    )
    assert text.replace("\n", "").isprintable()
    assert tags(text) <= {
        "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li",
        "details", "summary", "pre",
    }  # fmt: skip
