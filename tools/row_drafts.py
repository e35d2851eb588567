"""Drafts the rows that policies need for a new release, out of what was recorded of it.

The row of a module that the release builds otherwise is limited to the releases before, and
put in again as it was recorded. What no row of a module tells, such as a method that decides
otherwise, is said in words. All of it is for a person to look at.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.policy import FILES, rules
from tools.agreement import Foreseen, decided_otherwise, foresee, packed_of, path_of, standing
from tools.recording import Case, files, read

Json = Any

BLOCKS = "blocks.json"


class Built(NamedTuple):
    """A module that asks, as a policy or a recording has it; numbers in names are left out."""

    part: str
    name: str
    kind: str
    cls: str
    path: str
    """Path in the module tree; empty in the target model, where none is compared."""


class Change(NamedTuple):
    """A module that a release builds otherwise than a policy says."""

    family: str
    old: Built | None
    """As the policy says; None: it does not ask."""
    new: Built | None
    """As it was recorded; None: it does not ask."""


def report(folder: Path, release: str, judged_as: str) -> Iterator[str]:
    """Yield, file by file, the rows to take out and to put in, and what no row of a module tells.

    Args:
        folder: the recordings.
        release: the release that they are of.
        judged_as: the release that mtpfix is asked about.
    """
    edits: dict[str, dict[str, None]] = {}
    decided: Counter[str] = Counter()
    for path in files(folder):
        for case in read(path):
            judged = replace(case, release=judged_as)
            family = policy.recognise(case.config) if case.scheme else None
            foreseen = foresee(judged, policy.policy(family)) if family else None
            if family is None or foreseen is None:
                continue
            for change in () if case.failures else _changes(judged, family, foreseen):
                for file, lines in _edits(change, release):
                    edits.setdefault(file, {}).update(dict.fromkeys(lines))
            packed = packed_of(policy.policy(family), foreseen.context)
            if not case.failures and case.packed != packed:
                row = {**_new(release), "value": case.packed}
                file = f"families/{family}/policy.json"
                edits.setdefault(file, {})[f"  + packed: {json.dumps(row)}"] = None
            decided.update(_decisions(judged, family, foreseen))
    for file, found in sorted(edits.items()):
        yield "\n".join((file, *found))
    yield from (f"{line}: {number} cases" for line, number in sorted(decided.items()))


def _changes(case: Case, family: str, foreseen: Foreseen) -> Iterator[Change]:
    """Yield the modules of a case that are not built as the policy says."""
    inside = rules("experts_param", case.release)
    ours = {
        _built(m, path_of(m) + (inside if m.kind == "experts" else "")): None
        for m in foreseen.modules
    }
    theirs = {_built(o.module, o.module.param): None for o in standing(case.outcomes)}
    gone = [built for built in ours if built not in theirs]
    for new in (built for built in theirs if built not in ours):
        old = next((built for built in gone if built[:2] == new[:2]), None)
        gone = [built for built in gone if built != old]
        yield Change(family, old, new)
    yield from (Change(family, old, None) for old in gone)


def _built(module: Any, path: str) -> Built:
    name = re.sub(r"\d+", "{}", module.name)
    path = re.sub(r"\d+", "{}", path) if module.part == "draft" else ""
    return Built(module.part, name, module.kind, module.cls, path)


def _decisions(case: Case, family: str, foreseen: Foreseen) -> Iterator[str]:
    """Yield which modules are decided otherwise, and how."""
    method = case.config["quantization_config"].get("quant_method")
    for decision, outcome in decided_otherwise(case, foreseen.decisions):
        pair: tuple[str, str] = decision.built, outcome.built
        if decision.built == outcome.built:
            pair = str(decision.error or decision.scheme), str(outcome.error or outcome.scheme)
        ours, theirs = pair
        name = re.sub(r"\d+", "{}", outcome.module.name)
        yield f"{family}: {method} builds {name} as {theirs:.80}, not {ours:.80}"


def _edits(change: Change, release: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the files of a policy that a change concerns, with the lines of the edit."""
    old, new = change.old, change.new
    rows = [] if old is None else list(_rows(change.family, old, release))
    for file, row in rows:
        lines = [f"  - {json.dumps(row)}"]
        limited = {**row, "releases": _limited(row.get("releases"), release)}
        lines.append(f"  + {json.dumps(limited)}")
        if new is not None:
            lines.append(f"  + {json.dumps(_changed(row, old, new) | _new(release))}")
        yield file, lines
    if new is not None and not rows:
        about = {"kind": new.kind} if new.kind != "linear" else {"class": new.cls}
        row = {"name": new.name, **about, **_new(release)}
        path = "" if new.path in ("", new.name) else f", in the module tree {new.path}"
        found = f"  + of the {new.part}, below the prefix of its section{path}: {json.dumps(row)}"
        yield f"families/{change.family}/policy.json", [found]


def _changed(row: Mapping[str, Json], old: Built | None, new: Built) -> dict[str, Json]:
    """Return a row with what a release has otherwise."""
    made = dict(row)
    if old is not None and old.cls != new.cls:
        made["class"] = new.cls
    if old is not None and old.path != new.path:
        made["param"] = f"… {new.path}"
    return made


def _rows(family: str, built: Built, release: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield the rows that speak of a module in a release, and the files that they stand in."""
    file = f"families/{family}/policy.json"
    data = json.loads(FILES.content(file))
    if built.part not in data:
        yield from _rows(data["like"], built, release)
        return
    wanted = [(file, row) for section in data[built.part] for row in section["modules"]]
    blocks = json.loads(FILES.content(BLOCKS))["blocks"]
    found = []
    while wanted:
        file, row = wanted.pop()
        if in_releases(row.get("releases", ""), release):
            name = row.get("name")
            if name and f".{built.name}".endswith(f".{name}"):
                found.append((file, row))
            wanted += [(f"{BLOCKS}: {row['use']}", each) for each in blocks.get(row.get("use"), ())]
    longest = max((len(row["name"]) for _, row in found), default=0)
    yield from ((file, row) for file, row in found if len(row["name"]) == longest)


def _limited(releases: str | None, release: str) -> str:
    return ",".join(filter(None, (releases, f"<{_short(release)}")))


def _new(release: str) -> dict[str, Json]:
    return {"releases": f">={_short(release)}", "grade": "run"}


def _short(release: str) -> str:
    return ".".join(release.split(".")[:2])
