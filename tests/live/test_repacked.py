"""Blocks packed in other bits and groups than the metadata states: what is recorded happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix import api
from mtpfix.engines.vllm.live import Server
from tests.unit.test_repacked import ALONE, WHOLE, Row, made
from tools.prove import prediction_faults

pytestmark = pytest.mark.live


@pytest.mark.parametrize("row", [*WHOLE, *ALONE])
def test_vllm_does_what_is_foreseen(server: Server, row: Row, tmp_path: Path) -> None:
    release = server.about["vllm"].split("+")[0]
    report = api.inspect(made(tmp_path, row), vllm=[release]).engines[0]
    assert prediction_faults(report, server.ask(tmp_path, load=True)) == []
