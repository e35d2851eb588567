"""What mtpfix says of the public threads about SGLang, and what the real one does.

    python -m tools.sglang_cases [CASE ...]                 # judges cases anew; read the diff
    python -m tools.sglang_cases --real [--home DIR] [CASE ...]     # asks a real SGLang, too
    python -m tools.sglang_cases --page                     # writes docs/sglang-cases.md

The cases are those of `tests/cases/sglang.json`: a checkpoint of another public case (`of`), or one
is forged (`forge`). `judged` is what mtpfix says, by release, and `draft` what it says of the
draft alone, for the newest; `helps` is what it offers; `real` is what SGLang made of the draft, and
of what mtpfix offers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import mtpfix
from mtpfix import draft_folder
from mtpfix.engines.sglang import policy
from mtpfix.engines.sglang.live import Server
from mtpfix.errors import MtpfixError
from tests.cases.materialise import CASES, materialise
from tools import sglang_tiny
from tools.cases import codes, compact
from tools.forge import forge
from tools.prove_draft_folder import outcome
from tools.prove_sglang import foreseen
from tools.sglang_environment import HOME, Home, releases
from tools.tables import table

FILE = CASES / "sglang.json"
PAGE = CASES.parents[1] / "docs" / "sglang-cases.md"
SCALARS = ("modelopt-fp8", "modelopt-nvfp4", "quark-fp8")
"""Schemes of tools that store the one scale of a tensor as a scalar; SGLang joins no vectors."""
Case = dict[str, Any]


def kept() -> list[Case]:
    """Return the cases."""
    found: list[Case] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def made(case: Case, folder: Path) -> Path:
    """Return the folder of a case's checkpoint."""
    if "of" in case:
        return materialise(CASES / case["of"], folder)
    spec = dict(case["forge"])
    family = spec.pop("family")
    forge(family, folder, **spec)
    sglang_tiny.adapt(folder, family)
    if spec["scheme"] in SCALARS:
        sglang_tiny.reshape(folder, ())
    return folder


def judged(folder: Path) -> list[Case]:
    """Return what mtpfix says: a row for releases that follow each other and have one verdict."""
    report = mtpfix.check(folder, sglang=["all"])
    if not report.engines:
        return [{"sglang": "all", "outcome": "not judged", "codes": codes(report.findings)}]
    rows = []
    for engine in report.engines:
        said = [f for f in report.findings if not f.releases or engine.version in f.releases]
        verdict = {"outcome": engine.outcome, "codes": codes(said)}
        rows.append((engine.version, {**verdict, **({"error": e} if (e := engine.error) else {})}))
    groups = groupby(rows, key=lambda row: row[1])
    return [{"sglang": span([each for each, _ in group]), **said} for said, group in groups]


def span(versions: Sequence[str]) -> str:
    """Return the shortest specifier of covered releases that follow each other."""
    covered = policy.covered_releases()
    first, last = covered.index(versions[0]), covered.index(versions[-1])
    low = f">={covered[first]}" if first else ""
    high = f"<{covered[last + 1]}" if last + 1 < len(covered) else ""
    return ",".join(filter(None, (low, high))) or "all"


def helped(folder: Path) -> Case:
    """Return what mtpfix offers for the newest release: a list, written here, or a draft folder.

    The folder is made beside the checkpoint.
    """
    newest = policy.covered_releases()[-1]
    try:
        repair = mtpfix.rewrite(
            folder, sglang=[newest], backup=False, allow_partial=True, write=True
        )
        if repair.files:
            left = codes(f for f in repair.checked.findings if f.severity == "error")
            found = {"by": "list", "add": list(repair.plan.added)}
            return {**found, "left": left} if repair.exit_code else found
        drafted = draft_folder(folder, sglang=[newest], output=folder.with_name("draft"))
    except MtpfixError as error:
        return {"by": "nothing", "why": error.message}
    if drafted.output is not None:
        return {"by": "draft folder"}
    return {"by": "nothing", "why": "nothing is wrong" if not drafted.needed else "none helps"}


def real(server: Server, folder: Path) -> str:
    """Return what SGLang makes of a folder, and of the draft folder beside it, if there is one."""
    draft = folder.with_name("draft")
    own = draft if draft.exists() else None
    told = sglang_tiny.told(folder)
    return outcome(server.ask(folder, load=True, tolerant=True, draft=own, arguments=told))


def rewritten(case: Case, server: Server | None) -> Case:
    """Return a case judged anew, and asked about where a SGLang is running."""
    fields = ("name", "of", "forge", "threads", "says", "note", "real")
    told = {key: case[key] for key in fields if key in case}
    with tempfile.TemporaryDirectory() as scratch:
        folder = made(case, Path(scratch) / "model")
        told["judged"] = judged(folder)
        told["draft"] = foreseen(folder, policy.covered_releases()[-1])
        before = None if server is None else real(server, folder)
        told["helps"] = helped(folder)
        if server is not None:
            found = {"release": server.about["sglang"], "before": before}
            if told["helps"]["by"] != "nothing":
                found["after"] = real(server, folder)
            told["real"] = found
    return told


# --- the page -------------------------------------------------------------------

_HEAD = """\
# Public threads about SGLang

Each thread as a checkpoint: what mtpfix says of it, by release of SGLang, what a real SGLang makes
of it, and what helps. Made by `python -m tools.sglang_cases --page` from `tests/cases/sglang.json`,
which a test holds; SGLang was asked by `python -m tools.sglang_cases --real`.

"""
_COLUMNS = ("case", "thread", "mtpfix, by SGLang release", "real SGLang", "what helps", "then")


def page() -> str:
    """Return the cases as a page of the documentation."""
    return _HEAD + table(_COLUMNS, [tuple(_cells(case)) for case in kept()])


def _cells(case: Case) -> Iterator[str]:
    links = " ".join(f"[{n}]({link})" for n, link in enumerate(case["threads"], 1))
    yield f"`{case['name']}`"
    yield f"{case['says']} {links}"
    yield "<br>".join(map(_verdict, case["judged"]))
    note = case.get("note")
    yield f"{case['real']['release']}: {case['real']['before']}" + (f". {note}" if note else "")
    helps = case["helps"]
    some = ", ".join(f"`{entry}`" for entry in helps.get("add", ())[:2])
    left = f"; left: {', '.join(helps['left'])}" if "left" in helps else ""
    yield f"entries: {some}, …{left}" if some else helps.get("why", helps["by"])
    yield case["real"].get("after", "")


def _verdict(row: Case) -> str:
    found = f" ({', '.join(row['codes'])})" if row["codes"] else ""
    return f"{row['sglang']}: {row['outcome'].replace('_', ' ')}{found}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("case", nargs="*", help="names of cases; none: all")
    parser.add_argument("--real", action="store_true", help="ask a real SGLang, too")
    parser.add_argument("--home", type=Path, default=HOME, help="see sglang_environment.py")
    parser.add_argument("--page", action="store_true", help="write docs/sglang-cases.md")
    args = parser.parse_args(arguments)
    if args.page:
        PAGE.write_text(page(), encoding="utf-8")
        return
    with ExitStack() as stack:
        home = Home(args.home)
        server = stack.enter_context(home.server(releases()[0])) if args.real else None
        cases = kept()
        for number, case in enumerate(cases):
            if not args.case or case["name"] in args.case:
                cases[number] = rewritten(case, server)
                print(case["name"], cases[number].get("real"), file=sys.stderr, flush=True)
                FILE.write_text(compact(cases) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
