"""Beginnings of MTP names that a draft loader takes alike: each is judged as the usual one."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines.vllm import policy
from tests.unit.engines.small import tensors, with_list
from tests.unit.test_api import write
from tools import tiny

ROOTS = [
    pytest.param(family, root, id=f"{family}-{root}")
    for family in policy.families()
    for root in policy.policy(family).record.block_roots
]


def test_some_families_have_several() -> None:
    assert {param.values[0] for param in ROOTS} == {"nemotron_h_vl", "qwen4_exp"}


@pytest.mark.parametrize(("family", "root"), ROOTS)
def test_every_beginning_is_judged_as_the_usual_one(family: str, root: str, tmp_path: Path) -> None:
    config = with_list(tiny.config(family, tiny.BASE))
    usual = policy.policy(family).record.block_roots[0]
    stored = {
        root + name.removeprefix(usual) if name.startswith(usual) else name: entry
        for name, entry in tensors(config).items()
    }
    report = mtpfix.inspect(write(tmp_path / "model", config, stored), vllm=["0.32"])
    other = mtpfix.inspect(write(tmp_path / "usual", config, tensors(config)), vllm=["0.32"])
    assert report.engines[0].outcome == other.engines[0].outcome
    assert [f.code for f in report.findings] == [f.code for f in other.findings]
    assert "MTP001" not in [f.code for f in report.findings]
