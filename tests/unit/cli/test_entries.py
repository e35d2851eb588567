"""Which entries a user is shown, and what is said of each: chosen releases, and new lists."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from tests.unit.engines.small import (
    DEEPSEEK,
    DEEPSEEK_V4,
    Config,
    Tensors,
    tensors,
    with_fp8,
    with_list,
    write,
)

from .conftest import Run

BLOCK = r"re:^model\.layers\.2\..*"


@pytest.fixture
def nameless(tmp_path: Path) -> Path:
    """A DeepSeek-V4, of which vLLM up to 0.23 asks about two modules by an empty name."""
    return write(tmp_path / "v4", with_list(DEEPSEEK_V4, ("head",)), tensors(DEEPSEEK_V4))


@pytest.fixture
def listless(tmp_path: Path) -> Path:
    """A checkpoint in block FP8 whose metadata has no list."""
    config: Config = with_fp8(DEEPSEEK)
    del config["quantization_config"]["ignored_layers"]
    stored: Tensors = {}
    for name, entry in tensors(DEEPSEEK).items():
        scale = name.endswith("weight_scale")
        whole = ("F8_E4M3", (128, 128)) if entry[0] == "F8_E4M3" else entry  # a block each
        stored[f"{name}_inv" if scale else name] = ("F32", (1, 1)) if scale else whole
    return write(tmp_path / "fp8", config, stored)


@pytest.mark.parametrize("command", ["rewrite", "override", "names"])
def test_the_empty_name_has_an_entry_where_its_release_is_chosen(
    run: Run, nameless: Path, command: str
) -> None:
    assert "re:^$" not in run(command, nameless, "--format", "json").out
    for chosen in ("0.23", "all"):
        assert "re:^$" in run(command, nameless, "--vllm", chosen, "--format", "json").out
    assert "re:^$" not in run(command, nameless, "--vllm", "0.33", "--format", "json").out


def test_the_library_goes_by_the_releases_that_it_is_given(nameless: Path) -> None:
    assert "re:^$" not in mtpfix.plan(nameless).plan.added
    assert "re:^$" in mtpfix.plan(nameless, vllm=["0.23"]).plan.added
    assert "re:^$" not in mtpfix.names_of(nameless).entries
    assert "re:^$" in mtpfix.names_of(nameless, vllm=["0.23"]).entries


def test_the_legend_says_why_the_empty_name_is_there(run: Run, nameless: Path) -> None:
    said = " ".join(run("rewrite", nameless, "--vllm", "0.23").err.split())
    assert "it matches only the empty name, for the release that you chose" in said


def test_a_release_that_fails_in_another_way_is_not_recommended(run: Run, nameless: Path) -> None:
    said = " ".join(run("rewrite", nameless).err.split())  # vLLM 0.34 fails in the target model
    assert "serve with vLLM" not in said
    unresolved = run("rewrite", nameless, "--format", "json").json["unresolved"]
    (left,) = (item for item in unresolved if not item["module"])
    assert left["remedy"] is None
    said = " ".join(run("rewrite", nameless, "--vllm", "<0.34").err.split())
    assert "To fix it: serve with vLLM 0.30.0 or newer." in said


def test_a_new_list_names_the_output_head_too(run: Run, listless: Path) -> None:
    ran = run("rewrite", listless, "--format", "json")
    assert ran.json["added"][0] == "lm_head"
    said = " ".join(run("rewrite", listless).err.split())
    assert (
        "transformers leaves the output head unquantized by default only if there is no list"
        in said
    )
    assert run("rewrite", listless, "--write").code == 0
    assert run("check", listless, "--vllm", "all").code == 0
    assert "already right" in run("rewrite", listless).err


def test_names_for_a_recipe_are_those_of_the_block_alone(run: Run, listless: Path) -> None:
    found = mtpfix.names_of(listless, method="fp8").entries
    assert found
    theirs = {entry for entry in found if entry.startswith("model.decoder")}
    assert all(entry.startswith("model.layers.2.") for entry in set(found) - theirs)
    ours = mtpfix.names_of(listless, method="fp8", engines=["vllm"]).entries
    assert set(ours) == set(found) - theirs
