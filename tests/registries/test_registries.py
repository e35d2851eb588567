"""Every architecture that a release drafts with MTP has a policy, or a reason why it has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtpfix.engines.policies.condition import Condition
from mtpfix.engines.policies.context import Context, fits, in_releases
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.policy import PLATFORMS, covered_releases

HERE = Path(__file__).parent
READ: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in HERE.glob("*.json")
}


def judged(release: str) -> set[str]:
    """Architectures and model types that a policy speaks of in a release."""
    known = map(policy.policy, policy.families())
    here = [p for p in known if any(policy.has_draft(p, release, each) for each in PLATFORMS)]
    return {name for p in here for name in (*p.architectures, *p.model_types)}


def reasoned(release: str) -> set[str]:
    """Names that a reason is given for in a release."""
    rows = (row for row in policy.undrafted() if in_releases(row.releases, release))
    return {name for row in rows for name in row.names}


def drawn(release: str) -> Iterator[str]:
    """Classes of drafts that some policy has in a release."""
    for known in map(policy.policy, policy.families()):
        for row in known.record.draft_class:
            bare = Condition(releases=row.releases, platforms=row.platforms)
            if any(fits(bare, Context(release, each, {})) for each in PLATFORMS):
                yield row.value


def test_every_covered_release_is_read() -> None:
    assert set(READ) == set(covered_releases())


@pytest.mark.parametrize("release", sorted(READ))
def test_whatever_becomes_a_draft_is_judged(release: str) -> None:
    known = judged(release) | reasoned(release)
    assert [name for name in READ[release]["becomes"] if name not in known] == []


@pytest.mark.parametrize("release", sorted(READ))
def test_every_class_of_a_draft_is_that_of_a_policy(release: str) -> None:
    known, reasons = set(drawn(release)), reasoned(release)
    drafts: dict[str, str] = READ[release]["drafts"]
    assert [arch for arch, cls in drafts.items() if cls not in known and arch not in reasons] == []


@pytest.mark.parametrize("release", sorted(READ))
def test_what_is_made_of_the_same_files_is_judged(release: str) -> None:
    known = judged(release) | reasoned(release)
    assert [name for name in READ[release]["near"] if name not in known] == []


def test_every_reason_is_about_something_that_some_release_has() -> None:
    keys = ("drafts", "becomes", "near")
    read = {name for found in READ.values() for key in keys for name in found[key]}
    stated = {name for row in policy.undrafted() for name in row.names}
    assert sorted(stated - read) == []
