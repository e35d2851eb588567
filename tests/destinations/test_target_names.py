"""What target loaders do with names that no module has: recordings against policies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.case import Case
from mtpfix.model import Checkpoint, Listing, Target
from tools import environments, tiny
from tools.destinations import spread
from tools.prove import _begins as begins
from tools.target_names import FILE

RECORDED: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
RELEASES = list(reversed(environments.releases()))


def answers(family: str) -> Iterator[tuple[str, str, str]]:
    """Each release and name, and what it did with a tensor of that name."""
    for name, rows in RECORDED[family].items():
        for release, answer in spread(rows, RELEASES).items():
            yield release, name, answer


@pytest.mark.parametrize("family", RECORDED)
def test_what_nothing_takes_ends_as_vllm_ends_it(family: str) -> None:
    config = tiny.config(family, tiny.BASE)
    known = policy.policy(policy.recognise(config) or "")
    wrong = []
    for release, name, answer in answers(family):
        context = construction.context(known, config, release, "cuda", "")
        listing = Listing(Target("local", ""), (), {}, {name: "model.safetensors"}, "index")
        case = Case(known, context, Inventory(Checkpoint(listing, {})))
        said = foreseen(case)
        real = answer.removeprefix("!") if answer.startswith("!") else "dropped"
        if not answer.startswith("!") and answer:
            assert said != "dropped"  # taken, by a name that the loader cuts to another
        elif said is not None and not begins(real, said):
            wrong.append(f"{release} {name}: {said}, vLLM {answer!r}")
    assert not wrong, "\n".join(wrong)


def foreseen(case: Case) -> str | None:
    """What is foreseen of the one tensor of a case: `dropped`, an exception, or nothing known."""
    if case.target_strays:
        stray = case.target_strays[0]
        return {"raises": stray.error, "dropped": "dropped", "unknown": None}[stray.fate]
    embedding = next(m for m in case.trunk if m.kind == "embedding")
    report = case.judged(UNQUANTIZED, [embedding])[0]
    return report.detail or ("dropped" if report.consequence == "silent_garbage" else None)
