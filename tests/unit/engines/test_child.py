"""What the process of an engine is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.child import environment


def test_nothing_secret_and_nothing_of_ours_reaches_the_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HF_TOKEN", "MTPFIX_TOKEN", "AWS_SECRET_ACCESS_KEY", "Other_Api_Key"):
        monkeypatch.setenv(name, "planted")
    for name in ("MTPFIX_PLUGIN", "PYTHONHOME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    given = environment(tmp_path, "/b")
    assert "planted" not in given.values()
    assert {"MTPFIX_PLUGIN", "PYTHONHOME"}.isdisjoint(given)
    assert given["TOKENIZERS_PARALLELISM"] == "false"
    assert given["TMPDIR"] == str(tmp_path)
    assert given["PYTHONPATH"].split(":")[0] == "/b"
