"""The page: what it shows, that it is one file, and that no name does anything in it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.model import Report, Target
from mtpfix.report import html
from mtpfix.report.inert_text import inert
from mtpfix.report.picture import Grid, grid, panels

from . import examples, hostile

VOID = {"meta", "col", "input", "wbr"}
TAGS = (
    "html head meta title style body main section h1 h2 h3 p span dl dt dd fieldset legend input "
    "label div table caption colgroup col thead tbody tr th td b i em sup code ul ol li article "
    "footer script nav a wbr"
)
ATTRIBUTES = (
    "lang charset http-equiv content name class id aria-labelledby aria-label aria-hidden type "
    "value checked autocomplete for data-g role tabindex aria-readonly rowspan colspan scope "
    "data-n data-i hidden href"
)


class Reader(HTMLParser):
    """Reads a page strictly: every tag that is opened is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def drawn(report: Report, number: int = 0) -> Grid:
    return panels(report)[number].grid


# --- the grid ----------------------------------------------------------------


def test_layers_that_look_alike_share_a_cell() -> None:
    made = drawn(examples.with_trunk())
    assert made.draft == (43, 44)
    assert made.trunk == tuple(range(43))
    (_, main), (heading, outside) = made.blocks
    rows = {row.name: row for row in main}
    (both,) = rows["attn.wo_b"].draft
    assert (both.at, both.span, both.name) == (0, 2, "model.layers.{43-44}.attn.wo_b")
    (experts,) = rows["ffn.experts"].trunk
    assert (experts.at, experts.span) == (3, 40)
    assert experts.name == "model.layers.{3-42}.ffn.experts"
    assert heading == "outside the layers"
    assert [(row.name, row.trunk[0].span) for row in outside] == [("lm_head", 43)]


def test_a_cell_sets_disk_against_built() -> None:
    (_, (row, *_)), *_ = drawn(examples.silent_garbage()).blocks
    face = row.draft[0].face
    assert face.disk == ("16", "16", "bf16")
    assert face.built == ("8", "8", "W8A8Fp8")
    assert face.verdict.word == "differs"
    assert not isinstance(face.decider, str)
    assert face.decider.spelling == "Linear"


def test_modules_of_one_name_lose_nothing() -> None:
    twice = (*examples.draft(quantized=False, because=examples.IGNORED), *examples.broken_draft())
    made = grid(twice, {})
    assert len(list(made.cells)) == len(twice)
    assert sum(cell.face.verdict.mood == "bad" for cell in made.cells) == len(twice) // 2


def test_releases_that_look_the_same_share_a_panel() -> None:
    found = panels(examples.many_releases())
    assert [len(panel.members) for panel in found] == [4, 6, 4]
    assert [panel.members[0].version for panel in found] == ["0.20.2", "0.24.0", "0.30.0"]


# --- the page ----------------------------------------------------------------


def test_what_does_not_count_has_the_reason() -> None:
    page = html.render(examples.accepted())
    _, _, apart = page.partition("<h2>Not counted</h2>")
    assert "</span> MTP201 ignored</span>" in apart
    assert "<dt>because</dt><dd>waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31)" in apart
    assert "<h2>Findings</h2>" not in page


@pytest.mark.parametrize("name", examples.CASES)
def test_is_one_file_that_loads_nothing(name: str) -> None:
    page = html.render(examples.CASES[name]())
    read = Reader(page)
    assert set(read.tags) <= set(TAGS.split())
    assert set(read.attributes) <= set(ATTRIBUTES.split())
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page.replace("// ", ""))
    ids = read.attributes["id"]
    assert len(ids) == len(set(ids))
    assert {word for ids_ in read.attributes.get("data-i", ()) for word in ids_.split()} <= set(ids)


def test_the_policy_lets_in_its_own_script_and_style_alone() -> None:
    page = html.render(examples.many_releases())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    kinds = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert kinds.pop("default-src") == kinds.pop("base-uri") == kinds.pop("form-action") == "'none'"
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert kinds.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert not kinds


def test_a_person_who_sees_no_colour_reads_the_same() -> None:
    page = html.render(examples.silent_garbage())
    assert "<b><i>16</i> bf16</b><b><i>8</i><span> W8A8Fp8</span><em> ✗ differs</em>" in page
    assert '<th scope="row">ffn.<wbr>experts</th>' in page
    assert '<th scope="col">43</th>' in page
    assert page.count('tabindex="0" data-n') == 1
    assert '<li id="r0g0e1"><code>Linear</code> config.json' in page


def test_the_newest_release_is_chosen() -> None:
    page = html.render(examples.many_releases())
    labels = re.findall(r'value="(\d)"( checked)? autocomplete="off"><label[^>]*>([\d.-]+)', page)
    assert labels == [
        ("0", "", "0.20-0.23"),
        ("1", "", "0.24-0.29"),
        ("2", " checked", "0.30-0.33"),
    ]
    assert all(f'input[value="{n}"]:checked) [data-g="{n}"]' in page for n in range(3))


def test_several_reports_stand_in_one_page() -> None:
    page = html.render(examples.silent_garbage(), examples.clean(), examples.unknown_family())
    read = Reader(page)
    assert read.texts["h1"] == ["3 targets"]
    assert read.attributes["href"] == ["#r0", "#r1", "#r2"]
    assert html.render().count("0 targets") == 2


def test_a_page_says_what_it_leaves_out() -> None:
    assert "are left out unless they have a problem" in html.render(examples.clean())
    assert "are left out" not in html.render(examples.with_trunk())


# --- foreign words -----------------------------------------------------------


@pytest.mark.parametrize("word", hostile.WORDS)
def test_foreign_words_stay_words(word: str) -> None:
    page = html.render(hostile.report(word))
    read = Reader(page)
    assert set(read.tags) <= set(TAGS.split())
    assert set(read.attributes) <= set(ATTRIBUTES.split())
    assert page.replace("\n", "").isprintable()
    assert read.attributes["data-n"] == [inert(word) or '"" (the empty name)']
    assert read.texts["title"] == [f"{inert(word) or '.'}: MTP on vLLM"]


@given(st.text(st.characters(codec=None), max_size=40))
def test_no_text_becomes_markup(text: str) -> None:
    read = Reader(html.render(hostile.report(text)))
    assert read.tags["script"] == 1
    assert set(read.tags) <= set(TAGS.split())


# --- size --------------------------------------------------------------------


def _checkered(layers: int, release: str) -> Report:
    """No two neighbours alike in any of twenty rows: the most cells that there can be."""
    modules = tuple(
        examples.judged(
            examples.module(f"model.layers.{layer}.mlp.part_{n}", part="trunk", layer=layer),
            examples.FP8,
            quantized=layer % 2 == 0,
            because=examples.LINEAR if layer % 2 else examples.HEAD,
        )
        for layer in range(layers)
        for n in range(20)
    )
    return examples.report(examples.engine(modules, release, error=release))


def test_a_large_model_makes_a_page_of_bounded_size() -> None:
    drafts = examples.broken_draft(layer=61)
    engines = [
        replace(engine, modules=(*engine.modules, *drafts), outcome="load_error")
        for release in examples.RELEASES
        for engine in _checkered(61, release).engines
    ]
    whole = html.render(examples.report(*engines))
    assert whole.count('class="panel"') == 14
    assert len(whole) < 5_000_000
    plain = html.render(replace(examples.with_trunk(), target=Target("local", "x")))
    assert len(plain) < 60_000
