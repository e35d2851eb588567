"""calls.drop: where the block is not to be had, nothing declares it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtpfix import calls
from mtpfix.delivery import Delivered, Delivery, Show
from mtpfix.delivery.folder import Folder
from mtpfix.errors import MtpfixError, RefusedError
from mtpfix.selection import select
from mtpfix.targets import Reference
from tests.unit.grafts.pairs import content, edit, pair
from tools.forge import forge

CHOSEN = select(vllm=["0.32.0"], platforms=["cuda"])
COUNTS = {
    "deepseek_v3": "num_nextn_predict_layers",
    "qwen3_5": "mtp_num_hidden_layers",
    "mimo": "num_nextn_predict_layers",
}


def drop(target: str | Path, place: Delivery) -> Delivered:
    return calls.drop(Reference(target), CHOSEN, place)


def counts(config: dict[str, Any], field: str) -> list[Any]:
    parts = (config, config.get("text_config", {}))
    return [part[field] for part in parts if field in part]


@pytest.mark.parametrize("family", COUNTS)
def test_the_count_says_0_and_all_else_stays(tmp_path: Path, family: str) -> None:
    made = pair(tmp_path, family)
    old, before = content(made.target), made.config()
    done = drop(made.target, Folder())
    assert done.pushed is None
    assert done.exit_code == 0
    after = made.config()
    assert [after["quantization_config"], *counts(after, COUNTS[family])] == [
        before["quantization_config"],
        *[0 for _ in counts(before, COUNTS[family])],
    ]
    new = content(made.target)
    assert new.pop("config.json.bak-mtpfix") == old["config.json"]
    assert new.keys() == old.keys()
    assert new["model.safetensors"] == old["model.safetensors"]
    assert done.repair.checked.model.mtp_layers == 0
    assert [e.outcome for e in done.repair.checked.engines] == ["no_mtp"]


@pytest.mark.parametrize("family", COUNTS)
def test_tensors_that_are_left_and_keep_the_target_model_from_loading(
    tmp_path: Path, family: str
) -> None:
    whole = forge(family, tmp_path / "whole", "none").folder
    if family == "deepseek_v3":  # which of them, the real vLLM said: `undeclared.json`
        with pytest.raises(RefusedError, match="Its target model does not load with them"):
            drop(whole, Folder())
    else:
        assert drop(whole, Folder()).exit_code == 0


@pytest.mark.parametrize("family", ["deepseek_v3", "qwen3_5"])
def test_a_second_run_changes_nothing(tmp_path: Path, family: str) -> None:
    made = pair(tmp_path, family)
    drop(made.target, Folder())
    old = content(made.target)
    done = drop(made.target, Folder())
    assert done.repair.files == {}
    assert content(made.target) == old


def test_a_count_that_nobody_wrote_is_written_as_0_where_the_family_needs_it(
    tmp_path: Path,
) -> None:
    made = pair(tmp_path, "deepseek_v3")
    made.config(num_nextn_predict_layers=None)
    done = drop(made.target, Folder())
    assert made.config().get("num_nextn_predict_layers") in (0, None)
    assert done.repair.checked.model.mtp_layers == 0


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    made = pair(tmp_path)
    old = content(made.target)
    done = drop(made.target, Show())
    assert '-  "num_nextn_predict_layers": 1' in done.repair.diff
    assert content(made.target) == old


def test_a_new_folder_instead(tmp_path: Path) -> None:
    made = pair(tmp_path)
    old = content(made.target)
    drop(made.target, Folder(tmp_path / "new"))
    assert content(made.target) == old
    assert edit(tmp_path / "new" / "config.json")["num_nextn_predict_layers"] == 0
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == old["model.safetensors"]


def test_a_family_that_has_the_block_always_is_refused(tmp_path: Path) -> None:
    made = pair(tmp_path, "mimo_v2")
    old = content(made.target)
    with pytest.raises(RefusedError, match="this family has it always") as caught:
        drop(made.target, Folder())
    assert "mtpfix graft" in caught.value.remedy
    assert content(made.target) == old


def test_a_repo_is_no_folder() -> None:
    with pytest.raises(MtpfixError):
        drop("hf://org/nowhere", Folder())
