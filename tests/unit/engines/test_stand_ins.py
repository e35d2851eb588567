"""What the child patches: the files in the folders of families are loaded by their path."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mtpfix.engines._child import start
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm._child import patch
from tools import tiny

FILES = sorted(patch.FAMILIES.glob("*/stand_ins.py"))


def model_types(family: str) -> set[str]:
    """Those of the index, and of the tiny models."""
    models = [model for model in tiny.families() if tiny.folder(model).name == family]
    return {*policy.policy(family).model_types, *(tiny.config(m)["model_type"] for m in models)}


@pytest.fixture(name="patches", scope="module")
def _patches() -> list[patch.Patch]:
    patch.load()
    return list(patch.PATCHES)


def test_every_patch_says_what_and_why(patches: list[patch.Patch]) -> None:
    assert [str(each) for each in patches if ": " not in str(each).rstrip(": ")] == []


def test_patches_for_model_types_stand_with_their_families(patches: list[patch.Patch]) -> None:
    named = {kind for each in patches for kind in each.only}
    known: set[str] = set()
    for file in FILES:
        known |= model_types(file.parent.name)
    assert named <= known


def test_the_child_finds_them_by_its_path() -> None:
    """Where mtpfix is not installed, as in an environment with vLLM."""
    program = (
        f"import runpy; start = runpy.run_path({start.__file__!r})\n"
        "build = start['adopt']('vllm'); build.patch.load()\n"
        "import sys; print(*[name for name in sys.modules if 'stand_ins' in name])\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'mtpfix']"
    )
    ran = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    found = {name.split(".")[-2] for name in ran.stdout.split()}
    assert found == {file.parent.name for file in FILES}
