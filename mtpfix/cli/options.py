"""The options that commands share, and their values made fit for the library.

An option that only says what to judge or how to show it can be given by an environment variable,
`MTPFIX_` and its name. One that acts cannot: no variable left over from elsewhere may write, push
or widen a repair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtpfix.engines.registry import DEFAULT, ENGINES
from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.model import Platform
    from mtpfix.selection import Selection


class PlatformChoice(str, Enum):
    """Platforms by name, or all of them."""

    cuda = "cuda"
    blackwell = "cuda:10.0"
    rocm = "rocm"
    xpu = "xpu"
    cpu = "cpu"
    all = "all"


class Format(str, Enum):
    """How a result is written."""

    text = "text"
    json = "json"


class ReportFormat(str, Enum):
    """How a report is written."""

    text = "text"
    json = "json"
    github = "github"
    gitlab = "gitlab"
    sarif = "sarif"
    junit = "junit"
    markdown = "markdown"
    html = "html"


class RepairFormat(str, Enum):
    """How a repair is written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


class NamesFormat(str, Enum):
    """How names are written."""

    text = "text"
    yaml = "yaml"
    json = "json"
    python = "python"
    cli = "cli"


class TableFormat(str, Enum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    json = "json"


class FailOn(str, Enum):
    """The mildest finding that fails a check."""

    error = "error"
    warning = "warning"
    never = "never"


class Color(str, Enum):
    """Whether to colour."""

    auto = "auto"
    always = "always"
    never = "never"


def option(flag: str, *flags: str, **details: Any) -> Any:
    """Return an option that can also be set by the environment variable of its name."""
    name = f"MTPFIX_{flag[2:].upper().replace('-', '_')}"
    return typer.Option(flag, *flags, envvar=name, show_envvar=False, **details)


def acting(flag: str, *flags: str, **details: Any) -> Any:
    """Return an option that writes, pushes or widens a repair: only the command line sets it."""
    return typer.Option(flag, *flags, **details)


def _short(name: str, details: str) -> Any:
    """Return the short form of `--engine` for one engine; it is hidden while that is not there."""

    def completed(incomplete: str) -> list[str]:
        """Releases for the completion of a shell."""
        from mtpfix.engines.registry import engine  # noqa: PLC0415 - not for every `--help`

        known = ("newest", "latest", "all", *engine(name).releases)
        return [word for word in known if word.startswith(incomplete)]

    return option(
        f"--{name}",
        metavar="RELEASE",
        help=f"{_RELEASES[name]}{details}",
        autocompletion=completed,
        hidden=name not in ENGINES,
    )


_RELEASES = {
    "vllm": "A vLLM release, a specifier such as '>=0.28,<0.34', newest or all; repeatable.",
    "sglang": "The same for SGLang, such as 0.5.23 or '>=0.5.19'; alone, it means SGLang alone.",
}
_NEWEST = "  [default: newest]"
_ALL = " All of them must be right.  [default: plan for all; the newest must be right]"
_PLATFORM = "cuda, cuda:10.0 (SGLang on a Blackwell), rocm, xpu, cpu or all; repeatable."
_CODES = "with this code or prefix (MTP2); repeatable."

TargetArg = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="A checkpoint folder, or a Hub repo org/name[@revision]."
    ),
]
TargetsArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET...",
        help="Checkpoint folders, or Hub repos org/name[@revision].  [default: .]",
    ),
]
FromFile = Annotated[
    Path | None,
    option(
        "--from-file",
        metavar="FILE",
        help="Also check the targets in this file, one per line; - reads stdin.",
    ),
]
Owner = Annotated[
    str | None,
    option("--org", metavar="NAME", help="Also check all repos of this user or organization."),
]
Jobs = Annotated[
    int, option("--jobs", metavar="N", min=1, max=64, help="How many targets to read in parallel.")
]
Revision = Annotated[
    str | None,
    option("--revision", metavar="REV", help="The branch, tag, commit or refs/pr/N of a Hub repo."),
]
Draft = Annotated[
    str | None,
    option(
        "--draft",
        metavar="TARGET",
        help="The checkpoint that the MTP block is loaded from, if --speculative-config names one.",
    ),
]
Token = Annotated[
    str | None,
    option(
        "--token",
        metavar="TOKEN",
        help="The token for the Hub.  [default: HF_TOKEN, or hf auth login]",
    ),
]
VllmNewest = Annotated[list[str] | None, _short("vllm", _NEWEST)]
VllmAll = Annotated[list[str] | None, _short("vllm", _ALL)]
Sglang = Annotated[list[str] | None, _short("sglang", "")]
EngineOption = Annotated[
    list[str] | None,
    option(
        "--engine",
        metavar="REQUIREMENT",
        help="An engine and its releases, such as vllm or 'vllm>=0.28,<0.34'; repeatable. "
        "--vllm is the short form for vLLM.",
    ),
]
PlatformCuda = Annotated[
    list[PlatformChoice] | None,
    option("--platform", metavar="PLATFORM", help=f"{_PLATFORM}  [default: cuda]"),
]
PlatformAll = Annotated[
    list[PlatformChoice] | None,
    option(
        "--platform",
        metavar="PLATFORM",
        help=f"{_PLATFORM} All of them must be right.  [default: plan for all; cuda must be right]",
    ),
]
FormatOption = Annotated[
    Format,
    option("--format", metavar="text|json", help="Write text for people, or JSON for programs."),
]
ReportFormatOption = Annotated[
    ReportFormat,
    option(
        "--format",
        metavar="FORMAT",
        help="text, json, github (annotations), gitlab (Code Quality), sarif (exits 0 on "
        "findings), junit, markdown, or html (a page with all modules).",
    ),
]
Also = Annotated[
    list[str] | None,
    option(
        "--also",
        metavar="FORMAT=FILE",
        help="Also write the result to a file, in another format; repeatable.",
    ),
]
RepairFormatOption = Annotated[
    RepairFormat,
    option(
        "--format",
        metavar="text|json|markdown|html",
        help="Write a diff, JSON for programs, the text of a pull request, or a page with every "
        "release before and after.",
    ),
]
NamesFormatOption = Annotated[
    NamesFormat,
    option(
        "--format",
        metavar="text|yaml|json|python|cli",
        help="Write names and entries for people, only the entries, or JSON for programs; with "
        "--for what the tool itself takes as YAML, JSON, Python or options.",
    ),
]
TableFormatOption = Annotated[
    TableFormat,
    option(
        "--format",
        metavar="text|markdown|json",
        help="Write a table for people, a page of documentation, or JSON for programs.",
    ),
]
OutputFile = Annotated[
    Path | None,
    option(
        "--output-file",
        "-o",
        metavar="FILE",
        help="Write the result to this file instead of stdout.",
    ),
]
Select = Annotated[
    list[str] | None, option("--select", metavar="CODE", help=f"Report only findings {_CODES}")
]
Ignore = Annotated[
    list[str] | None, option("--ignore", metavar="CODE", help=f"Leave out findings {_CODES}")
]
BaselineFile = Annotated[
    Path | None,
    option(
        "--baseline",
        metavar="FILE",
        help="Fail only on what is new: findings that this file names are shown and do not count.",
    ),
]
WriteBaseline = Annotated[
    Path | None,
    acting(
        "--write-baseline",
        metavar="FILE",
        help="Write the findings that count into this file, for --baseline. What could not be "
        "judged is never put there.",
    ),
]
FailOnOption = Annotated[
    FailOn,
    option(
        "--fail-on",
        metavar="error|warning|never",
        help="The lowest severity that makes the check fail.",
    ),
]
ColorOption = Annotated[
    Color,
    option(
        "--color",
        metavar="auto|always|never",
        help="Whether to use colors; auto respects NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE.",
    ),
]
Verbose = Annotated[bool, option("--verbose", "-v", help="Show every detail.")]
Trunk = Annotated[
    bool,
    option(
        "--trunk",
        help="Show all modules of the trunk (the target model without its MTP block), not only "
        "those with a problem.",
    ),
]
Values = Annotated[
    bool,
    option(
        "--values",
        help="Read the weights of the MTP block, too: values that are not finite, all zero, or far "
        "from the target model's, and invalid scales. Needs torch.",
    ),
]
Fixes = Annotated[
    bool,
    option(
        "--fixes",
        help="Plan a repair, too, and show with each finding the edits that fix it. It takes "
        "longer; inspect always does.",
    ),
]
EngineNamesOnly = Annotated[
    bool,
    option(
        "--engine-names-only",
        help="Write only entries with the engine's names, none in the checkpoint's own spelling.",
    ),
]
NoBackup = Annotated[
    bool, acting("--no-backup", help="With --write: keep no backup of the old files.")
]
CreatePr = Annotated[
    bool, acting("--create-pr", help="With --push-to-hub: open a pull request instead.")
]
RepoId = Annotated[
    str,
    option(
        "--repo-id",
        metavar="REPO",
        help="With --push-to-hub: the repo that a folder is pushed to.",
    ),
]
CommitMessage = Annotated[
    str,
    option("--commit-message", metavar="TEXT", help="With --push-to-hub: the title of the commit."),
]
DryRun = Annotated[
    bool, option("--dry-run", help="With --push-to-hub: do everything except the commit.")
]
RepairTrunk = Annotated[
    bool,
    acting(
        "--repair-trunk",
        help="Also mend the trunk (the target model without its MTP block): write entries for its "
        "unquantized modules, correct entries that match quantized ones, and add targets that they "
        "lack.",
    ),
]
RenameTensors = Annotated[
    bool,
    acting(
        "--rename-tensors",
        help="Also rename scales of the MTP block where no metadata fits their names. New weight "
        "files replace those that hold the block and nothing else.",
    ),
]
RenameInPlace = Annotated[
    bool,
    acting(
        "--rename-in-place",
        help="The same by an edit of the headers of the weight files, whatever else they hold; no "
        "weights are copied.",
    ),
]


# --- values ------------------------------------------------------------------


def releases(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """What `--vllm` or `--sglang` selects; None where it is not given.

    The environment variable is cut at blanks: a specifier that ends in a comma goes on.
    """
    return tuple(re.sub(r",\s+", ",", "\n".join(given)).split("\n")) if given else None


def engines(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """What `--engine` selects; None where it is not given.

    The environment variable is cut at blanks: what does not begin with a letter belongs to the
    requirement before it.
    """
    found: list[str] = []
    for word in given or ():
        if found and not word[:1].isalpha():
            found[-1] += word
        else:
            found.append(word)
    return tuple(found) or None


def selection(
    vllm: Sequence[str] | None,
    engine: Sequence[str] | None,
    platform: Iterable[PlatformChoice] | None,
    sglang: Sequence[str] | None = None,
) -> Selection:
    """Return what `--vllm`, `--sglang`, `--engine` and `--platform` select together."""
    from mtpfix.selection import select  # noqa: PLC0415 - not for every `--help`

    return select(
        vllm=releases(vllm),
        sglang=releases(sglang),
        engines=engines(engine),
        platforms=platforms(platform),
    )


def platforms(given: Iterable[PlatformChoice] | None) -> tuple[Platform, ...] | None:
    """What `--platform` selects, in a fixed order; None where it is not given."""
    from mtpfix.model import PLATFORMS  # noqa: PLC0415 - not for every `--help`

    chosen = {choice.value for choice in given or ()}
    if not chosen:
        return None
    return PLATFORMS if "all" in chosen else tuple(p for p in PLATFORMS if p in chosen)


# --- as words of a command line ------------------------------------------------


def shared(target: str) -> str:
    """Return how a target is named where others read it: of a folder, only its name."""
    from mtpfix import targets  # noqa: PLC0415 - not for every `--help`

    path = targets.parse(target).path
    return target if path is None else path.name


def tell_unknown_patches(chosen: Selection) -> None:
    """Note each release of which no such patch is known, where no report says so."""
    from mtpfix.cli import output  # noqa: PLC0415 - not for every `--help`
    from mtpfix.engines.releases import unknown_patches  # noqa: PLC0415 - as above

    for engine, known in chosen.planned.engines:
        for said in unknown_patches(known, engine.releases, engine.title, engine.depth):
            output.note(f"note: {said}")


def one_engine(given: Sequence[str] | None) -> str:
    """The one engine that `--engine` names; the default where it is not given.

    Raises:
        UsageError: it names more than one.
    """
    named = engines(given) or (DEFAULT,)
    if len(named) > 1:
        raise UsageError(f"{len(named)} engines are named", "ask one engine at a time")
    return named[0]
