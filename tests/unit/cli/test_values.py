"""`--values`: the weights are read, and what they are counts as any other finding."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mtpfix.values import scan
from tools.forge import forge

from .conftest import Run

NAME = "mtp.layers.0.self_attn.o_proj.weight"


@pytest.fixture(name="broken")
def _broken(tmp_path: Path) -> Path:
    """A checkpoint whose metadata is right, and one of whose values is not a number."""
    forge("qwen3_5", tmp_path, "ct-fp8-channel", ignore=["lm_head", "re:.*mtp.*"])
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors[NAME][0, 0] = torch.nan
    save_file(tensors, file)
    return tmp_path


def test_check_reads_values_where_it_is_asked_to(run: Run, broken: Path) -> None:
    assert run("check", str(broken)).code == 0
    ran = run("check", str(broken), "--values")
    assert ran.code == 1
    assert "MTP501 error" in ran.out
    assert NAME in ran.out
    assert run("check", str(broken), "--values", "--ignore", "MTP5").code == 0
    assert run("check", str(broken), "--values", "--fail-on", "never").code == 0


def test_inspect_shows_them_and_exits_0(run: Run, broken: Path) -> None:
    ran = run("inspect", str(broken), "--values", "--format", "json")
    assert ran.code == 0
    assert [found["code"] for found in ran.json["findings"]] == ["MTP501"]
    assert ran.json["exit_code"] == 1


def test_several_targets(run: Run, broken: Path, tmp_path: Path) -> None:
    other = forge("mimo", tmp_path / "other", "none").folder
    ran = run("check", str(broken), str(other), "--values")
    assert ran.code == 1
    assert "MTP501" in ran.out


@pytest.mark.parametrize("form", ["sarif", "github", "junit", "markdown"])
def test_other_formats_have_them(run: Run, broken: Path, form: str) -> None:
    ran = run("check", str(broken), "--values", "--format", form)
    assert "MTP501" in ran.out
    if form == "sarif":
        (result,) = json.loads(ran.out)["runs"][0]["results"]
        assert result["ruleId"] == "MTP501"


def test_without_torch_it_is_said_in_a_line(
    run: Run, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan.torch_module.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = run("check", str(broken), "--values")
    scan.torch_module.cache_clear()
    assert ran.code == 3
    assert not ran.out
    assert "torch is not installed" in ran.err
    assert "hint: pip install 'mtpfix[full]'" in ran.err
