"""Brings in a new release of SGLang; `tools.newrelease --engine sglang` is its command line."""

from __future__ import annotations

import argparse
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from mtpfix.engines.sglang.live import CAPABILITY
from tools import (
    sglang_agreement,
    sglang_differential,
    sglang_environment,
    sglang_record,
    sglang_recording,
    sglang_tiny,
)
from tools.sglang_agreement import Difference
from tools.sglang_environment import Home
from tools.sglang_lifting import Release

WATCHED = (
    "models/*nextn*.py",
    "models/*mtp*.py",
    "models/*eagle*.py",
    "models/utils.py",
    "models/deepseek_common/**/*.py",
    "layers/quantization/**/*.py",
    "model_loader/*.py",
    "configs/model_config.py",
)
"""Files below `sglang/srt` that decide about a draft."""
EXAMPLES = 3
"""Differences that are shown of each family."""


def changed_files(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each file that decides about a draft and is another one: how much of it."""
    roots = [folder / "sglang" / "srt" for folder in (old, new)]
    names = {
        path.relative_to(root).as_posix()
        for root in roots
        for pattern in WATCHED
        for path in root.glob(pattern)
    }
    for name in sorted(names):
        one, other = (_lines(root / name) for root in roots)
        lines = list(difflib.unified_diff(one, other, n=0))[2:]  # after the names of the files
        counts = Counter(line[0] for line in lines)
        if lines:
            yield f"{name}: {counts['+']} lines added, {counts['-']} removed"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def differences(
    folder: Path, release: str, judged_as: str
) -> dict[str, tuple[int, list[Difference]]]:
    """Return, by family, how many decisions were recorded, and what is foreseen otherwise.

    Args:
        folder: where recordings are.
        release: whose are compared.
        judged_as: the release that mtpfix is asked about.
    """
    found = {}
    for path in sglang_recording.files(folder):
        asked = 0
        wrong: list[Difference] = []
        for recorded in sglang_recording.read(path):
            if recorded.release == release and recorded.capability == CAPABILITY:
                asked += len(recorded.outcomes)
                wrong += sglang_agreement.differences(replace(recorded, release=judged_as))
        found[path.name.removesuffix(sglang_recording.END)] = (asked, wrong)
    return found


def matchers(release: str, old: str, home: Home, folder: Path) -> Iterator[str]:
    """Ask the matchers of a release, keep their answers, and yield what differs from before."""
    data = sglang_differential.read()
    questions = data["questions"]
    ours = sglang_differential.ask(Release(home.sources(release)), questions)
    theirs = sglang_differential.answers(data, old)
    for kind, said in ours.items():
        pairs = zip(said, theirs[kind], strict=True)
        unlike = [number for number, (one, other) in enumerate(pairs) if one != other]
        if unlike:
            first = questions[kind][unlike[0]] if kind in questions else said[0]
            yield f"{kind}: {len(unlike)} answers differ, the first to {json.dumps(first):.200}"
    known = {name for rows in data["answers"].values() for row in rows for name in row["releases"]}
    every = {name: sglang_differential.answers(data, name) for name in known} | {release: ours}
    ordered = {name: every[name] for name in sorted(every, key=Version)}
    sglang_differential.write(ordered, questions, folder)
    yield f"{sum(map(len, questions.values()))} questions were asked"


def agreement_lines(found: Mapping[str, tuple[int, list[Difference]]]) -> Iterator[str]:
    """Yield, family by family, how many decisions are foreseen, and what differs."""
    for family, (asked, wrong) in found.items():
        yield f"{family}: {asked - len(wrong)} of {asked} decisions agree"
        for each in wrong[:EXAMPLES]:
            said = f"{each.foreseen}, not {each.recorded}"
            yield f"    {each.case.id} {each.part} {each.module}: {said}"[:300]
        if len(wrong) > EXAMPLES:
            yield f"    and {len(wrong) - EXAMPLES} more"


def to_edit(release: str, found: Mapping[str, tuple[int, list[Difference]]]) -> Iterator[str]:
    """Yield what is left for a person."""
    yield f'mtpfix/data/sglang/releases.json: add "{release}" to `covered`'
    wrong = sorted(family for family, (_, differ) in found.items() if differ)
    if wrong:
        yield f"mtpfix/engines/sglang/families/: {', '.join(wrong)}"
        yield "  limit the old rows to the releases before; the new ones carry their evidence"
    yield "python -m tools.sglang_agreement --evidence"
    yield "then pytest tests/conformance/test_sglang.py tests/differential/sglang"


def bring_in(options: argparse.Namespace) -> Iterator[str]:
    """Do everything, and yield what was found.

    Args:
        options: of `tools.newrelease`; `old` is the release before, `out` and `answers` are where
            recordings go.
    """
    release, old = options.release, options.old
    home = Home(options.home or sglang_environment.HOME)
    yield f"# Environment of {release}\n"
    if sglang_environment.add(release):
        yield "added to tools/sglang_environments.json, with the environment of the newest before"
    for each in (old, release):
        path = ":".join(map(str, home.make(each)))
    yield f"{home.python}, PYTHONPATH={path}\n"
    yield f"# Files of {release} that are others than those of {old}\n"
    yield from changed_files(home.sources(old), home.sources(release))
    yield f"\n# Recordings, into {options.out}\n"
    sglang_record.record_release(
        release,
        options.family or sglang_tiny.families(),
        home=home.folder,
        out=options.out,
        lean=options.lean,
        capability=CAPABILITY,
    )
    yield "\n# Answers of the matchers\n"
    yield from matchers(release, old, home, options.answers)
    judged_as = old if options.pretend else release
    yield f"\n# The recordings, and what the policies say of {judged_as}\n"
    found = differences(options.out, release, judged_as)
    yield from agreement_lines(found)
    yield "\n# What to edit\n"
    yield from to_edit(release, found)
