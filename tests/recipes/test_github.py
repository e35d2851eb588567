"""What the forge reads: workflows, forms, badges, and what a release checks before it runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import mtpfix
from mtpfix.cli.settings import tomllib
from mtpfix.engines import registry
from tools import release

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, TOOLS = _PYPROJECT["project"], _PYPROJECT["tool"]
HOME = PROJECT["urls"]["Homepage"]
REPOSITORY = HOME.removeprefix("https://github.com/")


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --- workflows -----------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"^\s*- uses: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_the_same_action_is_pinned_once() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    used = set(re.findall(r"uses: ([\w.-]+/[\w.-]+)(@.*)$", text, re.MULTILINE))
    assert len({name for name, _ in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_has_no_more_permissions_than_it_needs(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    writing = {name: {k for k, v in p.items() if v == "write"} for name, p in granted.items()}
    expected = {
        "docs": {"show": {"pages", "id-token"}},
        "release": {
            "attest": {"attestations", "id-token"},
            "publish": {"id-token"},
            "list": {"contents"},
        },
    }
    assert {name: found for name, found in writing.items() if found} == expected.get(path.stem, {})


def test_the_tests_run_on_every_python_that_is_promised() -> None:
    matrix = loaded(GITHUB / "workflows/tests.yml")["jobs"]["stages"]["strategy"]["matrix"]
    said = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert matrix["python"] == said
    assert PROJECT["requires-python"] == f">={said[0]}"
    oldest = [row["python"] for row in matrix["include"] if row["stages"] == "oldest"]
    assert oldest == said[:1]


def test_every_stage_is_one_of_tests_run() -> None:
    """And all of them are run by some job."""
    matrix = loaded(GITHUB / "workflows/tests.yml")["jobs"]["stages"]["strategy"]["matrix"]
    run = {*matrix["stages"], *(s for row in matrix["include"] for s in row["stages"].split())}
    text = (ROOT / "tests/run").read_text(encoding="utf-8")
    (default,) = re.findall(r"STAGES:-(.*)}$", text, re.MULTILINE)
    assert run == set(default.split())
    assert all(re.search(rf"^{stage}\(\) {{$", text, re.MULTILINE) for stage in run)


# --- forms ---------------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_the_report(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= set(form)
    (asked,) = [each for each in form["body"] if each.get("id") == "report"]
    assert asked["attributes"]["label"] == "mtpfix inspect --format json"
    assert asked["validations"]["required"] is True
    ids = [each["id"] for each in form["body"] if "id" in each]
    assert len(ids) == len(set(ids))


def test_a_weakness_is_told_in_private() -> None:
    stated = loaded(GITHUB / "ISSUE_TEMPLATE/config.yml")
    assert stated["blank_issues_enabled"] is False
    assert stated["contact_links"][0]["url"] == f"{HOME}/security/advisories/new"


def test_dependabot_knows_what_is_pinned() -> None:
    updates = loaded(GITHUB / "dependabot.yml")["updates"]
    assert {each["package-ecosystem"] for each in updates} == {"github-actions", "pip"}


# --- what the project says of itself -------------------------------------------------


def test_badges_are_true() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    badges = dict(re.findall(r"^\[!\[(.*?)\]\((\S+?)\)\]\(\S+\)$", readme, re.MULTILINE))
    pythons = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    vllm, sglang = map(registry.engine, ("vllm", "sglang"))
    ends = [vllm.releases[at].rpartition(".")[0] for at in (0, -1)]
    said = {
        f"Python {pythons[0]} to {pythons[-1]}": f"python-{pythons[0]}%20to%20{pythons[-1]}",
        f"vLLM {ends[0]} to {ends[1]}": f"vLLM-{ends[0]}%20to%20{ends[1]}",
        f"SGLang {sglang.releases[0]} to {sglang.releases[-1]}": "SGLang-"
        f"{sglang.releases[0]}%20to%20{sglang.releases[-1]}",
        PROJECT["license"]: f"licence-{PROJECT['license'].replace('-', '--')}",
    }
    static = {name: f"https://img.shields.io/badge/{badge}-blue" for name, badge in said.items()}
    tests = f"{HOME}/actions/workflows/tests.yml/badge.svg"
    assert badges == {"tests": tests, **static}


def test_who_makes_it_and_where() -> None:
    assert PROJECT["authors"] == [{"name": "The mtpfix developers"}]
    owner, name = REPOSITORY.split("/")
    assert PROJECT["urls"]["Documentation"] == f"https://{owner}.github.io/{name}/"
    assert all(url.startswith(HOME) for key, url in PROJECT["urls"].items() if key[0] != "D")
    assert loaded(ROOT / "CITATION.cff")["authors"] == PROJECT["authors"]
    assert loaded(ROOT / "action.yml")["author"] == PROJECT["authors"][0]["name"]


def test_links_lead_somewhere_where_the_readme_is_shown_by_an_index() -> None:
    hook = TOOLS["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for one in hook["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 30
    assert all(link.startswith("https://") for link in links)


# --- the release -----------------------------------------------------------------


def test_this_version_can_be_released() -> None:
    assert [*release.faults(f"v{mtpfix.__version__}", REPOSITORY)] == []
    assert release.notes(mtpfix.__version__).startswith("The first release.")


def test_a_release_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    changelog = tmp_path / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(
        text.replace("\n## ", "\n## Unreleased\n\n- x\n\n## 9.9.9 - 2030-01-01\n\n- x\n\n## ", 1)
    )
    cited = tmp_path / "CITATION.cff"
    cited.write_text(cited.read_text(encoding="utf-8").replace(mtpfix.__version__, "9.9.9"))
    said = " ".join(release.faults("v9.9.9", "mtpfix/mtp", tmp_path))
    for fault in (
        "the tag is v9.9.9",
        "CITATION.cff",
        "CHANGELOG.md does not",
        "no version",
        "the URLs",
    ):
        assert fault in said
    assert release.notes("9.9.9", tmp_path) == "- x"
