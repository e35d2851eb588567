"""What is covered: families, architectures, releases, draft classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from json import dumps

from mtpfix import __version__
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.policy import Policy, in_releases
from mtpfix.model import PLATFORMS
from mtpfix.report import grid, ranges, words
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.families/1"
METHODS = ("compressed-tensors",)


@dataclass(frozen=True, slots=True)
class Covered:
    """One family.

    Attributes:
        family: its name here. title: as people call it.
        architectures: what `config.json` may name.
        releases: vLLM releases in which it has a draft, oldest first.
        draft_classes: what the newest of them may build.
    """

    family: str
    title: str
    architectures: tuple[str, ...]
    releases: tuple[str, ...]
    draft_classes: tuple[str, ...]


def coverage() -> tuple[Covered, ...]:
    """Every family that has a policy."""
    return tuple(_covered(policy.policy(family)) for family in policy.families())


def _covered(known: Policy) -> Covered:
    scope = known.raw.get("releases", ">=0")
    releases = tuple(r for r in policy.covered_releases() if in_releases(scope, r))
    return Covered(
        family=known.family,
        title=known.title,
        architectures=known.architectures,
        releases=releases,
        draft_classes=_draft_classes(known, releases[-1]),
    )


def _draft_classes(known: Policy, release: str) -> tuple[str, ...]:
    """What `release` may build; a row for every configuration and platform ends the list."""
    found: dict[str, None] = {}
    for row in known.rows("draft_class"):
        if in_releases(row.get("releases", ">=0"), release):
            found[row["value"]] = None
            if "when" not in row and "platforms" not in row:
                break
    return tuple(found)


def text(
    covered: Sequence[Covered],
    width: int,
    *,
    color: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """A table."""
    page = Page(width, color=color)
    known = policy.covered_releases()
    cells = [
        (
            grid.cell(one.family, mood="strong"),
            grid.cell(*one.architectures),
            grid.cell(ranges.releases(one.releases, known)),
            grid.cell(*one.draft_classes),
        )
        for one in covered
    ]
    titles = ("family", "architectures", "vLLM", "draft class")
    grid.put(page, titles, [grid.Block("", cells)])
    page.line()
    for label, said in (
        ("methods", ", ".join(METHODS)),
        ("platforms", ", ".join(PLATFORMS)),
        ("releases", ", ".join(known)),
    ):
        page.item(mooded(f"{label:<11}", "quiet"), mooded(said), 2)
    shown = page.text()
    return shown.translate(words.ASCII) if ascii else shown


def json(covered: Sequence[Covered]) -> str:
    """A document of schema `mtpfix.families/1`."""
    document = {
        "schema": SCHEMA,
        "tool": {"name": "mtpfix", "version": __version__},
        "engine": "vllm",
        "releases": policy.covered_releases(),
        "methods": METHODS,
        "platforms": PLATFORMS,
        "families": [asdict(one) for one in covered],
    }
    return f"{dumps(document, indent=2)}\n"
