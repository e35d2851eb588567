"""Models that wait for arguments, in a package that is laid out as SGLang's."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtpfix.engines.sglang._child import late

FILES = {
    "environ.py": "import os\n\n\nclass Envs:\n    class WO_A:\n"
    "        get = staticmethod(lambda: os.environ.get('LATE_WO_A', '1'))\n\n\nenvs = Envs\n",
    "server_args.py": "def resolve(envs):\n    envs.WO_A.set(False)\n",
    "arg_groups/__init__.py": "",
    "models/__init__.py": "",
    "models/registry.py": "class ModelRegistry:\n    models = {}\n",
    "models/reads.py": "from sglang.srt.environ import envs\n\nON = envs.WO_A.get()\n\n\n"
    "class Reads:\n    on = ON\n\n\nEntryClass = [Reads]\n",
    "models/needs.py": "from sglang.srt.models.reads import ON\n\n\n"
    "class Needs:\n    on = ON\n\n\nEntryClass = Needs\n",
    "models/asks_later.py": "from sglang.srt.environ import envs\n\n\n"
    "def forward():\n    return envs.WO_A.get()\n",
}
LATE = ["sglang.srt.models.reads", "sglang.srt.models.needs"]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        path = tmp_path / "sglang" / "srt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if _is_it(name)}
    yield
    for name in [*sys.modules]:
        if _is_it(name):
            del sys.modules[name]
    sys.modules.update(before)


def _is_it(name: str) -> bool:
    return name.partition(".")[0] == "sglang"


def test_a_model_waits_that_reads_at_its_import_and_what_needs_it() -> None:
    assert late.names() == LATE


def test_what_waits_reads_what_arguments_have_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with late.kept_out(LATE):
        for name in LATE:
            with pytest.raises(ImportError, match="waits for arguments"):
                importlib.import_module(name)
        importlib.import_module("sglang.srt.models.asks_later")
    monkeypatch.setitem(os.environ, "LATE_WO_A", "0")
    late.bring_in(LATE)
    registered = importlib.import_module("sglang.srt.models.registry").ModelRegistry.models
    assert {name: cls.on for name, cls in registered.items()} == {"Reads": "0", "Needs": "0"}
