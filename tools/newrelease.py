"""Brings in a new release of an engine: all that is done by a machine, and what is left to edit.

    python -m tools.newrelease 0.34.0 [--home DIR] [--from 0.33.0]
    python -m tools.newrelease --engine sglang 0.5.24 [--lean]

The environment is made, and the sources are compared with those of the release before. All
families are recorded, with their loaders, the parameters of modules, the answers of the matchers
and the registry; all is set against what the policies say as they are, whose open-ended rows
speak of the new release too, and rows that are to be limited or added are drafted. With `--kept`,
the recordings that are there are not made again. With `--pretend`, a release that is covered is
taken for new: nothing below `tests/` is written, and the rows of the release before are the newest
known.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from mtpfix.engines import registry
from tools import (
    changes,
    differential,
    environments,
    record,
    recording,
    registries,
    row_drafts,
    second,
    sglang_differential,
    sglang_newrelease,
    sglang_recording,
    sglang_tiny,
    tiny,
)
from tools.agreement import Agreement, compared
from tools.answers import differences
from tools.extract import MissingError, extract, sources
from tools.recording import files, read

EXAMPLES = 3
"""Differences that are shown of each family."""
BESIDE = (
    ("destinations", "--release"),
    ("cache_scales", "--release"),
    ("parameters", "--release"),
    ("registries",),
)
"""What else is recorded of a release: the tools, in order, and how they are told which."""


def before(release: str, covered: Sequence[str]) -> str:
    """The newest of the covered releases of an engine that is older.

    Raises:
        SystemExit: there is none.
    """
    older = [known for known in covered if Version(known) < Version(release)]
    if not older:
        raise SystemExit(f"no covered release is older than {release}; name one with --from")
    return older[-1]


def exceptions(folder: Path, before: Path) -> Iterator[str]:
    """Yield the exceptions of constructions that the release before did not raise.

    One that is raised whatever a list exempts is not about a decision: the model cannot be
    constructed here, and needs a stand-in.

    Args:
        folder: the recordings of the release.
        before: those of the release before.
    """
    for path in files(folder):
        earlier = before / path.name
        known = (
            {_kind(f) for case in read(earlier) for f in case.failures}
            if earlier.exists()
            else set()
        )
        asked: Counter[str] = Counter()
        raised: dict[str, Counter[str]] = {}
        for case in read(path):
            question = f"{case.variant} {case.scheme or 'unquantized'}"
            asked[question] += 1
            for failure in () if case.refused else case.failures:
                if _kind(failure) not in known:
                    said = f"{failure['type']} at {failure['where']}: {failure['message']:.100}"
                    raised.setdefault(said, Counter())[question] += 1
        for said, questions in raised.items():
            always = any(number == asked[question] for question, number in questions.items())
            what = "cannot be constructed here, needs a stand-in" if always else "a list decides"
            yield f"{path.stem}: {what}: {said} ({', '.join(list(questions)[:EXAMPLES])})"


def _kind(failure: Mapping[str, str]) -> tuple[str, str]:
    """Return what tells an exception from others, whatever the number of its line."""
    return failure["type"], failure["where"].partition(" in ")[2]


def agreements(folder: Path, judged_as: str | None) -> dict[str, Agreement]:
    """How far the policies predict the recordings in a folder, by the recordings' names."""
    return {path.stem: compared(path, judged_as) for path in files(folder)}


def agreement_lines(found: dict[str, Agreement]) -> Iterator[str]:
    """Family by family how many decisions agree, and what differs."""
    for name, one in found.items():
        odd = ", ".join(f"{kind} in {number} cases" for kind, number in one.odd.items())
        right = f"{one.decisions - one.wrong} of {one.decisions} decisions agree"
        yield f"{name}: {right}{f'; other {odd}' if odd else ''}"
        yield from (f"    {example:.300}" for example in one.examples[:EXAMPLES])
        if len(one.examples) > EXAMPLES:
            yield f"    and {len(one.examples) - EXAMPLES} more"


def to_edit(release: str, found: dict[str, Agreement], answers: int) -> Iterator[str]:
    """What is left for a person, beside the rows that are drafted."""
    yield f'mtpfix/data/vllm/releases.json: add "{release}" to `covered`'
    if answers:
        yield "mtpfix/data/vllm/releases.json: a rule of the matchers changed, see `rules`"
    wrong = {one.family or f"a new policy for {n}" for n, one in found.items() if one.examples}
    if wrong:
        yield f"mtpfix/engines/vllm/families/: {', '.join(sorted(wrong))}"
        yield "  limit the old rows to the releases before; the new ones carry their evidence"
    yield "python -m tools.extract --check, then pytest tests/conformance tests/differential"


def record_all(options: argparse.Namespace) -> None:
    """Record the families, and the methods that the release before is recorded with.

    What stands beside the decisions is recorded too, unless a release or some families are tried.
    """
    wanted: dict[str, list[str]] = {recording.MAIN: options.family or list(tiny.families())}
    for path in sorted((record.OUT / options.old).glob("*+*.json")):
        family, method = path.stem.split("+")
        if family in wanted[recording.MAIN]:
            wanted.setdefault(method, []).append(family)
    for method, families in wanted.items():
        names = {family: recording.name_of(family, method) for family in families}
        left = [
            f for f, name in names.items() if not (options.kept and (options.out / name).exists())
        ]
        if left:
            record.record_release(
                options.release,
                options.home,
                options.out,
                left,
                timeout=options.timeout,
                method=method,
                brief=method != recording.MAIN,
            )
    if (
        options.pretend
        or options.family
        or (options.kept and (registries.OUT / f"{options.release}.json").exists())
    ):
        return
    for name, *arguments in BESIDE:
        home = ("--home", str(options.home))
        subprocess.run(
            [sys.executable, "-m", f"tools.{name}", *arguments, options.release, *home], check=True
        )


def bring_in(options: argparse.Namespace) -> Iterator[str]:
    """Does everything, and says what it found."""
    release, old = options.release, options.old
    yield f"# Environment of {release}\n"
    if environments.add(release):
        yield f"added to tools/environments.json: {environments.row(release)}"
    place = environments.Home(options.home).make(release)
    yield f"{place.python}, PYTHONPATH={place.pythonpath or ''}\n"
    environments.Home(options.home).make(old)
    yield f"# What the sources of {release} say otherwise than {old}\n"
    yield changes.report(*(extract(one, sources(one, options.home)) for one in (old, release)))
    yield f"# Recordings, into {options.out}\n"
    record_all(options)
    judged_as = old if options.pretend else None
    known = judged_as or release
    yield "\n# Answers of the matchers\n"
    root = sources(release, options.home).root
    yield differential.record(release, root, options.answers)
    answers = list(differences(differential.read_generated(options.answers)[release], known))
    yield f"{len(answers) or 'no'} differences from ours\n"
    yield from (f"    {line:.300}" for line in answers[:EXAMPLES])
    yield f"# The recordings, and what the policies say of {known}\n"
    found = agreements(options.out, judged_as)
    yield from agreement_lines(found)
    yield f"\n# Exceptions of constructions that {old} does not raise\n"
    yield from exceptions(options.out, record.OUT / old)
    yield "\n# Rows to take out (-) and to put in (+), as drafts, and decisions that no row tells\n"
    yield from row_drafts.report(options.out, release, known)
    yield "\n# The policies, and the sources\n"
    yield from second.report([release], options.home)
    yield "\n# What to edit\n"
    yield from to_edit(release, found, len(answers))


def main() -> None:
    """Entry point."""
    options = arguments()
    sglang = options.engine == "sglang"
    options.old = options.old or before(options.release, registry.engine(options.engine).releases)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        if sglang:
            options.answers = place if options.pretend else sglang_differential.OUT
            kept = place if options.pretend else sglang_recording.FOLDER
        else:
            options.home = options.home or environments.HOME
            options.answers = place if options.pretend else differential.OUT
            kept = (place if options.pretend else record.OUT) / options.release
        options.out = options.out or kept
        try:
            for line in sglang_newrelease.bring_in(options) if sglang else bring_in(options):
                print(line, flush=True)
        except MissingError as error:
            raise SystemExit(str(error)) from error


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    families = dict.fromkeys((*tiny.families(), *sglang_tiny.families()))
    parser.add_argument("release")
    parser.add_argument("--engine", choices=("vllm", "sglang"), default="vllm")
    parser.add_argument("--from", dest="old", metavar="RELEASE", help="the release before")
    parser.add_argument("--home", type=Path, help="see environments.py and sglang_environment.py")
    parser.add_argument("--out", type=Path, help="where recordings go")
    parser.add_argument("--family", action="append", choices=families, help="repeatable")
    parser.add_argument("--lean", action="store_true", help="of SGLang: ask what tells most")
    parser.add_argument("--kept", action="store_true", help="record only what is not there yet")
    parser.add_argument("--pretend", action="store_true", help="take a covered release for new")
    parser.add_argument("--timeout", type=float, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    main()
