"""Foreign words come out inert: every command, every format, one checkpoint full of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from mtpfix.cli.options import ReportFormat
from tests.unit.report.hostile import WORDS

from .conftest import Folder, Ran, Run, header

MORE = (
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x9b31m",
    "[red]x[/red]",
    "\x7f",
    "{{7*7}}",
)
"""Hyperlinks and other sequences for terminals, markup of rich, templates."""
ALL = tuple(word for word in (*WORDS, *MORE) if word)
ONE = ("--vllm", "0.32.0", "--platform", "cuda")
REPORTS = tuple(form.value for form in ReportFormat)
RUNS = [
    *(("inspect", "--format", form) for form in REPORTS),
    ("inspect", "--trunk", "--verbose", "--color", "always"),
    *(("check", "--format", form) for form in REPORTS),
    ("check", "--verbose"),
    *(("check", "MANY", "--format", form) for form in REPORTS),
    *(("rewrite", "--format", form) for form in ("json", "markdown")),
    ("rewrite", "--color", "always"),
    ("rewrite", "--write"),
    ("override",),
    ("override", "--format", "json"),
    *(("names", "--format", form) for form in ("text", "json", "yaml")),
    ("verify", "--python", "EVIL"),
    ("explain", "EVIL"),
    ("check", "--select", "EVIL"),
    ("check", "--vllm", "EVIL"),
    ("check", "--also", "EVIL"),
    ("check", "--from-file", "EVIL"),
]
TAGS = {
    *("p", "code", "pre", "strong", "em", "br", "hr", "details", "summary"),
    *("h1", "h2", "h3", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_OURS = re.compile("\x1b\\[[0-9;]*m")
"""Colours, which only `--color always` brings."""


@pytest.fixture(name="evil")
def _evil(folder: Folder) -> Folder:
    """Everything that can have a name has a hostile one."""
    tensors = header()
    for number, word in enumerate(ALL):
        if word.isprintable() or not word.endswith("\ufffe"):  # JSON holds no half of a pair
            name = word.encode("utf-8", "replace").decode()
            tensors[f"model.mtp_layers.0.{number}.{name}.weight"] = ("BF16", (4, 4))
    folder.tensors(tensors)
    said = [word.encode("utf-8", "replace").decode() for word in ALL]
    folder.config["model_type"] = said[0]
    folder.config["architectures"] += said
    groups = folder.config["quantization_config"]["config_groups"]
    groups["group_0"]["targets"] += said
    folder.ignore(
        "lm_head",
        *said,
        *(f"mtp.{word}" for word in said),
        *(f"re:mtp.{re.escape(w)}" for w in said),
    )
    return folder


def inert(text: str, *, colored: bool = False) -> None:
    """Whether a terminal would only show it."""
    plain = _OURS.sub("", text) if colored else text
    live = {char for char in plain if char != "\n" and not char.isprintable()}
    assert not live, live


def no_command(text: str) -> None:
    for line in text.splitlines():
        assert not line.startswith("::") or re.match(
            r"::(error|warning|notice) (file|title)=", line
        )
        assert "##[" not in line


def no_tag(text: str) -> None:
    made = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    found = set(re.findall(r"<([a-zA-Z][^ >]*)", made.replace("<!-- -->", "")))
    assert found <= TAGS, found - TAGS


class _Tags(HTMLParser):
    """Notes the tags of a page, and what in them could act."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.acting: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.acting += [(key, value) for key, value in attrs if key.startswith("on")]


def no_foreign_tag(text: str) -> None:
    page = _Tags()
    page.feed(text)
    page.close()
    assert page.acting == []
    assert page.seen.count("script") <= 1  # ours
    assert not {"img", "evil"} & {*page.seen}


CHECKS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "sarif": json.loads,
    "gitlab": json.loads,
    "junit": ET.fromstring,
    "html": no_foreign_tag,
    "github": no_command,
    "markdown": no_tag,
}


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_no_word_acts(run: Run, evil: Folder, arguments: tuple[str, ...]) -> None:
    command, *options = arguments
    options = [option.replace("EVIL", "\x1b[31m::error::x\u202e<b>") for option in options]
    targets: list[object] = [] if command == "explain" else [evil]
    if options[:1] == ["MANY"]:
        targets, options = [evil, evil.path / "\x1b[31m\n::error::none"], options[1:]
    judged = ONE if command in ("rewrite", "override", "names") else ()
    ran: Ran = run(command, *targets, *options, *judged)
    colored = "always" in options
    inert(ran.err, colored=colored)
    if (command, options) != ("rewrite", ["--write"]):  # the diff, byte for byte
        inert(ran.out, colored=colored)
    assert "internal error" not in ran.err
    form = options[-1] if "--format" in options else ""
    if ran.out and form in CHECKS:
        CHECKS[form](ran.out)


def test_a_folder_and_a_shard_with_hostile_names(run: Run, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a\x1b[31m\n::error::x\u202e<b>`|")
    (folder.path / "b\x1b]0;x\x07\n##[add-mask]y.safetensors").write_bytes(b"")
    for form in REPORTS:
        ran = run("check", folder, "--format", form)
        inert(ran.out)
        inert(ran.err)
        CHECKS.get(form, str)(ran.out) if ran.out else None
    (folder.path / "config.json").unlink()
    inert(run("check", folder).err)
