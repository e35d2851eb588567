"""The fork server: one line a request, one forked process each, whole answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import os, time, types
from mtpfix.engines import fork_server
channel = fork_server.claim_stdout()
print("noise")
seen = []
def answer(folder, load):
    seen.append(folder)
    if folder == "raise": raise KeyError(folder)
    if folder == "exit": os._exit(3)
    if folder == "hang": time.sleep(60)
    return {"seen": seen, "load": load}
def adopt():
    if {fails}: raise ImportError("no engine")
    return types.SimpleNamespace(answer=answer, prepare=lambda: {"engine": "1.0"})
fork_server.run(channel, adopt)
"""


def run(requests: list[dict[str, Any]], *, fails: bool = False) -> list[dict[str, Any]]:
    """What the program says to some requests."""
    program = PROGRAM.replace("{fails}", str(fails))
    text = "".join(json.dumps(request) + "\n" for request in requests)
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def request(number: int, folder: str, tmp_path: Path, timeout: int = 30) -> dict[str, Any]:
    answer = str(tmp_path / f"{number}.json")
    return {"id": number, "folder": folder, "load": [], "answer": answer, "timeout": timeout}


def test_each_request_has_a_process_of_its_own(tmp_path: Path) -> None:
    said = run([request(1, "a", tmp_path), request(2, "b", tmp_path)])
    assert said == [
        {"ready": {"engine": "1.0"}},
        {"id": 1, "status": 0},
        {"id": 2, "status": 0},
    ]
    answers = [json.loads((tmp_path / f"{n}.json").read_text(encoding="utf-8")) for n in (1, 2)]
    assert answers == [{"seen": ["a"], "load": []}, {"seen": ["b"], "load": []}]


def test_what_goes_wrong_is_told_and_the_next_is_answered(tmp_path: Path) -> None:
    asked = [request(1, "raise", tmp_path), request(2, "exit", tmp_path)]
    asked += [request(3, "hang", tmp_path, timeout=1), request(4, "a", tmp_path)]
    said = run(asked)
    assert [row.get("status") for row in said[1:]] == [0, 3, -14, 0]
    broken = json.loads((tmp_path / "1.json").read_text(encoding="utf-8"))
    assert broken["broken"] == "KeyError: 'raise'"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "4.json"]


def test_an_engine_that_is_not_there_is_told() -> None:
    (said,) = run([], fails=True)
    assert said["failed"] == "ImportError: no engine"
