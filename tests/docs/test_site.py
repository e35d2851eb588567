"""The site is built without a network, with warnings as errors, and holds everything public."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors.index import slugify

import mtpfix
from mtpfix.cli import rendering
from mtpfix.cli.app import app
from mtpfix.cli.settings import tomllib
from mtpfix.findings import PAGE, kinds
from tests.docs.stage import ROOT
from tests.docs.troupe import SITE
from tools.docs import page as findings_page
from tools.docs.blocks import blocks
from tools.picture import draw


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, *SITE[:-1], str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    public = [name for name in mtpfix.__all__ if name != "__version__"]
    assert [name for name in public if f'id="mtpfix.{name}"' not in page] == []


def test_every_finding_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "findings.html").read_text(encoding="utf-8")
    assert [code for code in kinds() if f'id="{code.lower()}"' not in page] == []


def test_the_page_of_findings_is_as_the_data_say() -> None:
    assert findings_page.PAGE.read_text(encoding="utf-8") == findings_page.page(), (
        "run python -m tools.docs.page"
    )
    tokens = MarkdownIt().parse(findings_page.page())
    headings = (after for each, after in pairwise(tokens) if each.type == "heading_open")
    texts = ["".join(part.content for part in each.children or ()) for each in headings]
    anchors = {slugify(text) for text in texts}
    assert {kind.url.removeprefix(f"{PAGE}#") for kind in kinds().values()} <= anchors
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    place = findings_page.PAGE.relative_to(ROOT).as_posix()
    assert f"{project['urls']['Source']}/blob/main/{place}" == PAGE


def test_nothing_is_fetched_by_a_reader(site: Path) -> None:
    """Fonts, scripts and styles come with the site."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page.name
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page.name


def test_the_job_of_the_page_about_gates_fits_the_action() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "howto" / "gate.md").read_text(encoding="utf-8")
    job = next(b.text for b in blocks(page) if b.caption == ".github/workflows/mtpfix.yml")
    steps = yaml.safe_load(job)["jobs"]["check"]["steps"]
    (step,) = [step for step in steps if "/mtpfix@" in step["uses"]]
    assert step["with"].keys() <= action["inputs"].keys()
    asked = set(re.findall(rf"steps\.{step['id']}\.outputs\.([\w-]+)", job))
    assert asked
    assert asked <= action["outputs"].keys()


@pytest.mark.parametrize("name", ["gitlab", "audit-on-schedule"])
def test_a_job_of_another_page_gives_options_that_are_there(name: str) -> None:
    page = (ROOT / "docs" / "howto" / f"{name}.md").read_text(encoding="utf-8")
    (job,) = [b.text for b in blocks(page) if b.caption.endswith(".yml")]
    script = "\n".join(_strings(yaml.safe_load(job))).replace("\\\n", " ")
    (line,) = re.findall(r"mtpfix check (.*)", script)
    words = shlex.split(line)
    group: Any = typer.main.get_command(app)
    known = {flag for each in group.commands["check"].params for flag in each.opts}
    assert {word for word in words if word.startswith("--")} <= known
    also = [value for flag, value in pairwise(words) if flag == "--also"]
    assert rendering.copies(also)


def _strings(value: object) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
    elif isinstance(value, str):
        yield value


def test_the_site_is_built_by_a_workflow_as_by_the_tests() -> None:
    file = ROOT / ".github" / "workflows" / "docs.yml"
    steps = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["site"]["steps"]
    assert " ".join(["python", *SITE]) in [step.get("run") for step in steps]


def test_the_picture_shows_what_the_command_prints() -> None:
    """What it says, not how: each release of rich draws in its own way."""
    drawn, committed = draw(), (ROOT / "docs" / "inspect.svg").read_text(encoding="utf-8")
    assert _words(committed) == _words(drawn), "python -m tools.picture docs/inspect.svg"


def _words(picture: str) -> str:
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", picture)
    return "".join("".join(texts).replace("&#160;", "").split())
