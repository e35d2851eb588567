"""Blocks packed in other bits and groups than the metadata states: what is recorded happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines.vllm.live import Server
from tests.unit.test_repacked import ALONE, WHOLE, Row, made
from tools.prove import prediction_faults

pytestmark = pytest.mark.live

EVERY = int(os.environ.get("MTPFIX_EVERY_ROW", "0")) or 10
"""The gate loads every tenth row, which takes 20 seconds; 1 in the environment loads all."""


@pytest.mark.parametrize("row", [*WHOLE, *ALONE][::EVERY])
def test_vllm_does_what_is_foreseen(server: Server, row: Row, tmp_path: Path) -> None:
    release = server.about["vllm"].split("+")[0]
    report = mtpfix.inspect(made(tmp_path, row), vllm=[release]).engines[0]
    assert prediction_faults(report, server.ask(tmp_path, load=True)) == []
