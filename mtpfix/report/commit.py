"""What a commit or a pull request says about a repair: Markdown for the people of the repo."""

from __future__ import annotations

from collections.abc import Iterator

from mtpfix import __version__
from mtpfix.api import Repair
from mtpfix.model import Report
from mtpfix.report import ranges, words
from mtpfix.report.markdown import code, table


def description(repair: Repair) -> str:
    """The text below the title: entries, releases before and after, and the command."""
    lines = [
        "vLLM builds the MTP block of this checkpoint by the quantization metadata of the whole "
        "model. The entries below make it build what is stored; no weights change.",
        "",
        *(f"- removed {code(entry)}" for entry in repair.plan.removed),
        *(f"- added {code(entry)}" for entry in repair.plan.added),
        "",
        *table(("vLLM", "platform", "before", "after"), _rows(repair.before, repair.after)),
        "",
        f"Made by mtpfix {__version__}, which judged the files before and after by the rules of "
        "each release, without loading them. To see it again:",
        "",
        f"    mtpfix inspect {repair.before.target.name} --vllm all --platform all",
    ]
    return "\n".join(lines) + "\n"


def _rows(before: Report, after: Report) -> Iterator[tuple[str, ...]]:
    """A line for all releases of a platform that fare alike."""
    known = list(dict.fromkeys(engine.version for engine in before.engines))
    fates: dict[tuple[str, str, str], list[str]] = {}
    for old, new in zip(before.engines, after.engines, strict=True):
        key = (old.platform, words.fate(old.outcome), words.fate(new.outcome))
        fates.setdefault(key, []).append(old.version)
    for (platform, was, now), releases in fates.items():
        yield ranges.releases(set(releases), known), platform, was, now
