"""Without the packages of `mtpfix[full]`: what works all the same, and what the rest says.

By default the packages are hidden from an interpreter that has them. With MTPFIX_LIGHT_PYTHON, the
interpreter of an environment with `pip install mtpfix` alone is asked instead: there the wheel is
tried, not the sources.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import grafted, pairs
from tools.forge import forge

PACKAGES = ("compressed_tensors", "psutil", "safetensors", "torch", "transformers")
LIGHT = os.environ.get("MTPFIX_LIGHT_PYTHON")
HIDING = f"""
import sys
sys.modules.update(dict.fromkeys({PACKAGES!r}))
from mtpfix.cli import main
sys.exit(main(sys.argv[1:]))
"""
COMMAND = [LIGHT, "-I", "-m", "mtpfix"] if LIGHT else [sys.executable, "-c", HIDING]
HINT = "hint: pip install 'mtpfix[full]'"

Ran = subprocess.CompletedProcess[str]


def run(*arguments: str | Path) -> Ran:
    """What the command line says where the packages are absent."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    return forge("mimo", tmp_path / "model", "ct-fp8-channel").folder


@pytest.mark.skipif(LIGHT is None, reason="no environment with a light install is named")
def test_the_light_install_is_light() -> None:
    code = f"from importlib.util import find_spec; print([p for p in {PACKAGES!r} if find_spec(p)])"
    ran = subprocess.run([str(LIGHT), "-I", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("inspect {}", 0, "Next: mtpfix rewrite"),
        ("check {}", 1, "MTP201"),
        ("check {} --format sarif --vllm all", 0, '"MTP201"'),
        ("check {} --format html", 1, "<!doctype html>"),
        ("check {} --sglang 0.5.23", 1, "SGLang"),
        ("names {}", 0, "model.mtp_layers.0"),
        ("names {} --format yaml --method modelopt", 0, "mtp_layers"),
        ("override {} --vllm 0.32.0", 0, "--hf-overrides"),
        ("rewrite {}", 1, '+      "re:^model'),
        ("rewrite {} --format json", 1, '"mtpfix.rewrite/1"'),
        ("rewrite {} --format markdown", 1, "mtpfix rewrite"),
        ("explain MTP201", 0, "MTP201"),
        ("families", 0, "deepseek"),
    ],
)
def test_what_reads_and_plans_works(model: Path, command: str, code: int, said: str) -> None:
    ran = run(*command.format(model).split())
    assert ran.returncode == code, ran.stderr
    assert said in ran.stdout


@pytest.mark.parametrize("way", ["--write", "--output={}/new"])
def test_a_write_says_what_it_needs(model: Path, way: str) -> None:
    before = grafted.contents(model)
    ran = run("rewrite", model, way.format(model.parent))
    assert (ran.returncode, ran.stdout) == (2, "")
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: compressed-tensors is not installed: a write needs it")
    assert hint == HINT
    assert grafted.contents(model) == before
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_metadata_of_another_method_is_written(tmp_path: Path) -> None:
    folder = forge("mimo", tmp_path / "model", "modelopt-fp8").folder
    assert run("rewrite", folder, "--write").returncode == 0
    assert run("check", folder).returncode == 0


def test_values_are_not_judged(model: Path) -> None:
    ran = run("check", model, "--values")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.splitlines() == [
        "error: values cannot be read: torch is not installed",
        f"{HINT}, or leave --values out",
    ]


@pytest.mark.parametrize(("donor", "scheme"), [("none", "awq"), (pairs.FP8, "awq")])
def test_a_graft_is_planned_and_not_made(tmp_path: Path, donor: str, scheme: str) -> None:
    pair = pairs.pair("mimo", tmp_path, scheme, donor=donor)
    graft = ["graft", pair.target, "--from", pair.base, "--vllm", "0.32.0"]
    before = grafted.contents(pair.target)
    assert run(*graft).returncode == 1
    ran = run(*graft, "--write")
    assert (ran.returncode, ran.stdout) == (2, "")
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: torch is not installed: a graft needs it")
    assert hint == HINT
    assert grafted.contents(pair.target) == before


@pytest.mark.skipif(LIGHT is not None, reason="judged by the sources")
def test_the_library_raises_it(model: Path) -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({PACKAGES!r}))
import mtpfix
assert mtpfix.plan(sys.argv[1]).changes
try:
    mtpfix.rewrite(sys.argv[1], write=True)
except mtpfix.MissingPackageError as error:
    print([error.package, error.exit_code])
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout.replace("'", '"')) == ["compressed-tensors", 2]
