"""Compares what mtpfix foresees of SGLang with what was recorded from real releases.

    python -m tools.sglang_agreement [--family F ...] [--folder DIR] [--shown N]
    python -m tools.sglang_agreement --evidence

Of each recorded case: which modules ask, by which names, in which order and of which class, and
what is built for each; where it raises, that it raises. Exits 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.sglang import metadata, policy
from mtpfix.engines.sglang.case import Case
from mtpfix.engines.sglang.context import context_of
from mtpfix.engines.sglang.live import CAPABILITY
from mtpfix.errors import MtpfixError, UnknownError
from mtpfix.model import (
    Checkpoint,
    Json,
    JsonFile,
    Listing,
    Module,
    Part,
    Platform,
    QuantView,
    Target,
)
from tools import schemes, sglang_recording, sglang_tiny, two_engines_record
from tools.sglang_recording import Case as Recorded
from tools.sglang_recording import State

EVIDENCE = Path(__file__).parents[1] / "mtpfix" / "data" / "sglang" / "evidence.json"
PARTS: tuple[Part, ...] = ("draft", "trunk")
_ABSENT = "not there"
_PLAIN = State(None, None, {}, None, [])
"""Of a part without metadata, which asks nobody."""
_NOWHERE = Checkpoint(Listing(Target("local", ""), (), {}, {}, "none"), {})


class Difference(NamedTuple):
    """What is foreseen otherwise than recorded."""

    case: Recorded
    part: str
    module: str
    foreseen: str
    recorded: str


def view_of(recorded: Recorded) -> QuantView:
    """Return the metadata of a recorded case, as mtpfix reads them for SGLang."""
    values = {"config.json": recorded.config, **schemes.companions(recorded.config)}
    configs = {
        name: JsonFile(name, (raw := json.dumps(value).encode()), strict_json.loads(raw, name))
        for name, value in values.items()
    }
    place = metadata.find(configs)
    return UNQUANTIZED if place is None else metadata.read(place, configs)


def case_of(recorded: Recorded, view: QuantView) -> Case | None:
    """Return the case of mtpfix; None: the family is not covered there."""
    family = policy.index().recognise(recorded.config)
    if family is None:
        return None
    known = policy.policy(family)
    if not in_releases(known.record.releases, recorded.release, policy.DEPTH):
        return None
    place = device(recorded)
    release = recorded.release
    context = context_of(known, recorded.config, release, place, view, checkpoint=_NOWHERE)
    return Case(known, context, Inventory(_NOWHERE), view=view)


def device(recorded: Recorded) -> Platform:
    """Return the platform of mtpfix that a recorded case was shown."""
    return "cuda" if recorded.capability == CAPABILITY else "cuda:10.0"


def differences(recorded: Recorded) -> Iterator[Difference]:
    """Yield what is foreseen otherwise than recorded.

    Where the metadata cannot be made at all, nothing asks; then the exception is all there is.
    """
    try:
        view = view_of(recorded)
        case = case_of(recorded, view)
    except UnknownError:
        return
    except MtpfixError as error:
        if recorded.outcomes:
            yield Difference(recorded, "", "", f"unknown: {error.message}", "it was built")
        return
    if case is None:
        return
    for part in PARTS:
        real = _recorded(recorded, part)
        if not real and (recorded.failures or recorded.states.get(part, _PLAIN).cls is None):
            continue
        ours = {
            (d.module.name, d.module.cls): _said(d.built, d.scheme)
            for d in case.decide(view, _modules(case, part))
            if d.module.asks
        }
        joined = _joined(recorded, part)
        for key in dict.fromkeys((*real, *ours)):
            one, other = ours.get(key, _ABSENT), real.get(key, _ABSENT)
            ended = other == _ABSENT and bool(recorded.failures)  # by an exception before it
            same = one == "unquantized" and other == _ABSENT and _parent(key[0]) in joined
            if one != other and not (ended or same):
                yield Difference(recorded, part, f"{key[0]} ({key[1]})", one, other)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _joined(recorded: Recorded, part: Part) -> set[str]:
    """Return what holds layers that a class joined into one that asks nobody.

    It asks for each by name first (as of `LinearBase`), and joins them where all are unquantized.
    """
    chose = {
        _parent(outcome.module.name)
        for outcome in recorded.outcomes
        if outcome.module.part == part and outcome.module.cls == "LinearBase"
    }
    unasked = (_parent(path) for _, _, path in recorded.unasked.get(part, ()))
    return chose.intersection(unasked)


def _recorded(recorded: Recorded, part: Part) -> dict[tuple[str, str], str]:
    """Return what was built of a part: of modules of one name the first."""
    found: dict[tuple[str, str], str] = {}
    for outcome in recorded.outcomes:
        module = outcome.module
        chooses = module.cls == "LinearBase"  # asked by the class itself, to choose what to build
        if module.part == part and not module.name.startswith("visual.") and not chooses:
            scheme = None if outcome.scheme is None else outcome.scheme.rpartition(":")[2]
            found.setdefault((module.name, module.cls), _said(outcome.built, scheme))
    return found


def _modules(case: Case, part: Part) -> tuple[Module, ...]:
    return case.draft if part == "draft" else case.trunk


def _said(built: str, scheme: str | None) -> str:
    """Return what is built, in words; which kernel serves it hangs on the shapes of the layer."""
    if scheme in ("MoeWNA16Method", "GPTQMarlinMoEScheme", "AWQMoEScheme"):
        return f"{built}: experts of packed integers"
    if scheme is not None:
        scheme = scheme.replace("Marlin", "")
    return f"{built}: {scheme}" if built == "quantized" else built


def evidence(folder: Path = sglang_recording.FOLDER) -> dict[str, Json]:
    """Return how many decisions are recorded, and of which releases, by method and family."""
    decisions: Counter[str] = Counter()
    found: dict[str, dict[str, set[str]]] = {}
    for path in sglang_recording.files(folder):
        for recorded in sglang_recording.read(path):
            family = policy.index().recognise(recorded.config)
            try:
                method = view_of(recorded).method
            except MtpfixError:
                continue
            if family is not None and recorded.outcomes:
                decisions[method] += len(recorded.outcomes)
                found.setdefault(method, {}).setdefault(family, set()).add(recorded.release)
    rows = {
        method: {family: sorted(of, key=Version) for family, of in sorted(by.items())}
        for method, by in sorted(found.items())
    }
    return {"decisions": dict(sorted(decisions.items())), "recorded": rows, "proved": proved()}


def proved() -> dict[str, dict[str, list[str]]]:
    """Return the families that SGLang has loaded clean with a repair, by method and recipe."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for scheme, proofs in two_engines_record.RECORD.kept().items():
        for proof in proofs:
            config = sglang_tiny.config(proof.asked.family)
            config |= {"quantization_config": schemes.quantization(scheme)}
            known = policy.index().recognise(config)
            place = metadata.find({"config.json": JsonFile("config.json", b"", config)})
            if known and place is not None and proof.way in ("one list", "draft folder"):
                method = metadata.read(place, {}).method
                found.setdefault(method, {}).setdefault(scheme, {})[known] = None
    return {m: {s: [*families] for s, families in by.items()} for m, by in sorted(found.items())}


def write_evidence() -> None:
    """Write `mtpfix/data/sglang/evidence.json`."""
    made = evidence()
    rows = ",\n".join(
        f"    {json.dumps(m)}: {json.dumps(by)}" for m, by in made["recorded"].items()
    )
    about = "What is known by running SGLang; made by `python -m tools.sglang_agreement --evidence`"
    EVIDENCE.write_text(
        '{\n  "$schema": "schema/evidence.schema.json",\n'
        f'  "about": {json.dumps(about)},\n  "decisions": {json.dumps(made["decisions"])},\n'
        f'  "recorded": {{\n{rows}\n  }},\n  "proved": {json.dumps(made["proved"])}\n}}\n',
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--family", action="append")
    parser.add_argument("--folder", type=Path, default=sglang_recording.FOLDER)
    parser.add_argument("--shown", type=int, default=40)
    parser.add_argument("--evidence", action="store_true", help="write what is recorded")
    args = parser.parse_args(arguments)
    if args.evidence:
        write_evidence()
        return 0
    asked = 0
    found: list[Difference] = []
    for path in sglang_recording.files(args.folder):
        if args.family and path.name.partition(".")[0] not in args.family:
            continue
        for recorded in sglang_recording.read(path):
            asked += len(recorded.outcomes)
            found += differences(recorded)
    for each in found[: args.shown]:
        print(f"{each.case.id} {each.part} {each.module}: {each.foreseen}, not {each.recorded}")
    places = Counter((d.case.family, d.case.scheme, d.case.ignore_name) for d in found)
    for place, number in places.most_common(args.shown):
        print(number, *place)
    print(f"{asked} decisions recorded, {len(found)} foreseen otherwise")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
