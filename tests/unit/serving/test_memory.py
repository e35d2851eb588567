"""What is in memory is judged, not what is on disk; and only what can be seen whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.errors import UnknownError
from mtpfix.serving import memory
from mtpfix.serving.memory import (
    TOP,
    Metadata,
    Running,
    Served,
    amended,
    in_force,
    judged,
    overridden,
)
from tools.forge import forge

RUNNING = Running("0.32.0", "cuda")
STATED: dict[str, Any] = {"quant_method": "fp8", "ignored_layers": ["lm_head"]}


def served(folder: Path, **other: Any) -> Served:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fields = {"method": "compressed-tensors", "metadata": in_force(config), **other}
    return Served(str(folder), **fields)


def edited(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}))


def test_an_override_that_repairs_leaves_nothing_to_do(folder: Path) -> None:
    value = json.loads(mtpfix.override(folder, vllm=["0.32.0"], platforms=["cuda"]).value)
    new = Metadata(TOP, value["quantization_config"])
    found = judged(served(folder, overrides=value, metadata=new), served(folder), RUNNING)
    assert (found.metadata, found.said) == (
        None, "nothing to change: the draft is clean on vLLM 0.32.0 (cuda)",
    )  # fmt: skip


def test_an_override_that_breaks_is_repaired(folder: Path) -> None:
    mtpfix.rewrite(folder, vllm=["0.32.0"], platforms=["cuda"], backup=False, write=True)
    good = served(folder)
    assert good.metadata is not None
    broken = {**good.metadata.value, "ignore": good.metadata.value["ignore"][:-2]}
    target = served(
        folder, overrides={"quantization_config": broken}, metadata=Metadata(TOP, broken)
    )
    found = judged(target, good, RUNNING)
    assert found.metadata is not None
    assert found.metadata.value["ignore"] == good.metadata.value["ignore"]
    assert found.old == target.metadata


def test_half_a_repair_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads with garbage must not become what does not load."""
    made = mtpfix.plan(folder, vllm=["0.32.0"], platforms=["cuda"])
    engine = replace(made.after.engines[0], outcome="load_error", error="KeyError: 'x'")
    half = replace(made, new=replace(made.new, planned=replace(made.after, engines=(engine,))))
    monkeypatch.setattr(memory, "of_subject", lambda *_: half)
    found = judged(served(folder), served(folder), RUNNING)
    assert found.metadata is None
    assert found.said.startswith(
        "nothing is changed, because this would stay wrong: the draft fails to l"
    )


def test_what_vllm_added_itself_is_no_difference() -> None:
    config = {"quantization_config": STATED}
    seen = Metadata(TOP, {**STATED, "total_num_heads": 8, "total_num_kv_heads": 2})
    assert amended(config, None, Served("x", metadata=seen)) == config


def test_metadata_that_stands_in_memory_alone_is_taken_from_there() -> None:
    seen = Metadata("/text_config/quantization_config", STATED)
    config = {"text_config": {"num_hidden_layers": 2}}
    expected = {"text_config": {"num_hidden_layers": 2, "quantization_config": STATED}}
    assert amended(config, None, Served("x", metadata=seen)) == expected
    assert amended({}, None, Served("x", metadata=Metadata(TOP, STATED))) == {
        "quantization_config": STATED
    }


def test_metadata_of_the_other_file_is_not_moved() -> None:
    beside = {"producer": {"name": "modelopt"}, "quantization": {}}
    assert amended({}, beside, Served("x", metadata=Metadata(TOP, beside))) == {}


def test_metadata_that_is_not_in_memory_cannot_be_judged() -> None:
    with pytest.raises(UnknownError, match="dropped"):
        amended({"quantization_config": STATED}, None, Served("x"))


def test_overrides_are_merged_below_a_nested_configuration_and_else_replace() -> None:
    config = {
        "text_config": {"a": 1, "quantization_config": {"b": 1, "c": 2}},
        "quantization_config": {"d": 1},
    }
    overrides = {
        "text_config": {"quantization_config": {"b": 3}},
        "quantization_config": {"e": 1},
        "architectures": ["X"],
    }
    assert overridden(config, overrides) == {
        "text_config": {"a": 1, "quantization_config": {"b": 3, "c": 2}},
        "quantization_config": {"e": 1},
        "architectures": ["X"],
    }


def test_nested_metadata_is_repaired_where_it_stands(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stated = config.pop("quantization_config")
    (folder / "config.json").write_text(json.dumps({**config, "compression_config": stated}))
    found = judged(served(folder), served(folder), RUNNING)
    assert found.metadata is not None
    assert found.metadata.pointer == "/compression_config"


def test_a_draft_from_another_artifact_is_mended_in_the_target(
    folder: Path, tmp_path: Path
) -> None:
    """It is built by the target's metadata, whatever its own says."""
    other = tmp_path / "other"
    mtpfix.rewrite(folder, vllm=["0.32.0"], platforms=["cuda"], output=other)
    assert judged(served(other), served(folder), RUNNING).metadata is None
    found = judged(served(folder), served(other), RUNNING)
    assert found.metadata is not None
    assert found.models == ("target",)
    assert found.said.endswith(
        f"mtpfix rewrite {folder} --draft {other} --vllm 0.32.0 --platform cuda --write"
    )


def test_a_draft_of_another_shape_is_not_guessed_at(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    edited(other, num_hidden_layers=2)
    with pytest.raises(UnknownError, match="describes a different draft from the target's"):
        judged(served(folder), served(other), RUNNING)


def test_a_model_without_metadata_has_nothing_to_change(folder: Path) -> None:
    edited(folder, quantization_config=None)
    found = judged(served(folder, method=None), served(folder, method=None), RUNNING)
    assert found.metadata is None
    with pytest.raises(UnknownError, match="but the checkpoint has no such metadata"):
        judged(served(folder, method="fp8"), served(folder, method="fp8"), RUNNING)


def test_an_unknown_family_could_not_be_judged(folder: Path) -> None:
    edited(folder, architectures=["NobodyForCausalLM"], model_type="nobody")
    with pytest.raises(UnknownError, match="no policy for this model"):
        judged(served(folder), served(folder), RUNNING)


def test_a_quantized_draft_of_an_unquantized_target_is_told(folder: Path, tmp_path: Path) -> None:
    target = forge("mimo", tmp_path / "target", "none").folder
    draft = forge("mimo", tmp_path / "draft", "ct-fp8-channel", mtp="quantized").folder
    found = judged(served(target, method=None), served(draft), RUNNING)
    assert found.metadata is None
    assert found.said.startswith("there is no metadata to fix: 4 MTP modules are quantized ")
