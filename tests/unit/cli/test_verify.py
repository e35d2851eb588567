"""`verify` of SGLang: a child that answers, beside what is on disk and what mtpfix foresees."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mtpfix import Verification, verify
from tests.unit.report.schemas import validator

from .conftest import Folder, Run

PROGRAM = """#!{python}
import json, os, pathlib, sys
ready = {{"sglang": "0.5.23", "python": "3.11", "capability": "9.0", "patches": []}}
print(json.dumps({{"ready": ready}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    pathlib.Path({notes!r}).write_text(json.dumps([request, dict(os.environ)]))
    pathlib.Path(request["answer"]).write_text({answer!r})
    print(json.dumps({{"id": request["id"], "status": 0}}), flush=True)
"""
CLASSES = {"qkv_proj": "QKVParallelLinear", "gate_up_proj": "MergedColumnParallelLinear"}
LINEAR = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")


def row(part: str, name: str, *, quantized: bool) -> dict[str, Any]:
    return {
        "part": part,
        "name": name,
        "cls": CLASSES.get(name.rpartition(".")[2], "RowParallelLinear"),
        "kind": "linear",
        "param": name,
        "built": "quantized" if quantized else "unquantized",
        "scheme": "CompressedTensorsW8A8Fp8" if quantized else None,
        "method": "x",
        "error": None,
    }


def answer(*rows: dict[str, Any], failures: tuple[dict[str, str], ...] = ()) -> str:
    return json.dumps(
        {
            "sglang": "0.5.23",
            "capability": "9.0",
            "patches": ["cuda: why"],
            "draft_class": "sglang.srt.models.mimo_mtp.MiMoMTP",
            "decisions": rows,
            "unasked": {},
            "quantization": {},
            "parameters": {},
            "load": {},
            "failures": failures,
        }
    )


class Fake:
    """A program in the place of an interpreter that has SGLang."""

    def __init__(self, folder: Path) -> None:
        self.python, self.notes = folder / "python", folder / "notes"

    def says(self, text: str) -> str:
        program = PROGRAM.format(python=sys.executable, notes=str(self.notes), answer=text)
        self.python.write_text(program, encoding="utf-8")
        self.python.chmod(0o755)
        return str(self.python)

    def heard(self) -> tuple[dict[str, Any], dict[str, str]]:
        request, environment = json.loads(self.notes.read_text(encoding="utf-8"))
        return request, environment


@pytest.fixture(name="fake")
def _fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def asked(folder: Folder, python: str, **options: Any) -> Verification:
    return verify(folder.path, engine="sglang", python=python, **options)


def test_what_cannot_be_taken(folder: Folder, fake: Fake) -> None:
    rows = [row("draft", name, quantized=True) for name in LINEAR]
    rows += [row("trunk", f"model.layers.0.{name}", quantized=True) for name in LINEAR]
    found = asked(folder, fake.says(answer(*rows)))
    assert (found.engine, found.version, found.exit_code) == ("SGLang", "0.5.23", 1)
    assert all(each.foreseen for each in found.modules)
    assert [each.agrees for each in found.modules] == [False] * 4 + [True] * 4


def test_what_was_not_foreseen(folder: Folder, fake: Fake) -> None:
    rows = [row("draft", LINEAR[0], quantized=False), row("draft", "nobody", quantized=True)]
    found = asked(folder, fake.says(answer(*rows)))
    assert [each.foreseen for each in found.modules] == [False, False]
    assert [each.agrees for each in found.modules] == [True, None]
    assert [each.predicted for each in found.modules] == ["quantized", None]


def test_a_kernel_is_no_difference(folder: Folder, fake: Fake) -> None:
    other = {**row("draft", LINEAR[0], quantized=True), "scheme": "x:CompressedTensorsW8A8Fp8"}
    assert asked(folder, fake.says(answer(other))).modules[0].foreseen


def test_a_failure_and_no_answer(folder: Folder, fake: Fake) -> None:
    failure = {"phase": "target", "type": "ValueError", "message": "no", "where": ""}
    found = asked(folder, fake.says(answer(failures=(failure,))))
    assert (found.failures, found.exit_code) == (("target: ValueError: no",), 3)


def test_the_path_of_an_unpacked_wheel_is_passed_on(
    folder: Folder, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/wheels/sglang")
    monkeypatch.setenv("HF_TOKEN", "secret")
    asked(folder, fake.says(answer(row("draft", LINEAR[0], quantized=True))))
    request, environment = fake.heard()
    assert environment["PYTHONPATH"] == "/wheels/sglang"
    assert "HF_TOKEN" not in environment
    assert (request["load"], request["tolerant"]) == ([], True)


def test_a_draft_from_elsewhere_is_judged_by_its_own_metadata(
    folder: Folder, fake: Fake, tmp_path: Path
) -> None:
    draft = Folder(tmp_path / "draft")
    draft.save(quantization_config=None)
    rows = [row("draft", name, quantized=False) for name in LINEAR]
    found = asked(folder, fake.says(answer(*rows)), draft=draft.path)
    assert found.exit_code == 0
    assert all(each.foreseen for each in found.modules)
    path = fake.heard()[0]["arguments"]["speculative_draft_model_path"]
    assert Path(path) == draft.path


def test_the_command(run: Run, folder: Folder, fake: Fake) -> None:
    python = fake.says(answer(*(row("draft", name, quantized=True) for name in LINEAR)))
    words = ["verify", folder, "--engine", "sglang", "--python", python]
    ran = run(*words)
    assert ran.code == 1
    assert "SGLang 0.5.23, drafted by MiMoMTP" in ran.out
    assert "SGLang built" in ran.out
    assert "mtpfix predicted all 4 decisions" in ran.out
    assert "vLLM" not in ran.out + ran.err
    document = run(*words, "--format", "json").json
    validator("mtpfix.verify/1").validate(document)
    assert (document["engine"], document["version"], document["vllm"]) == ("sglang", "0.5.23", None)


def test_one_engine_at_a_time(run: Run, folder: Folder) -> None:
    ran = run("verify", folder, "--engine", "vllm", "--engine", "sglang")
    assert ran.code == 2
    assert "one engine at a time" in ran.err
