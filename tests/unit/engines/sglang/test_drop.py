"""Where the class of a draft sets quark's metadata aside, whatever they say of its modules.

What is expected is what the real releases built of `python -m tools.forge FAMILY DIR --scheme
quark-fp8 --ignore ENTRIES`, seen by `mtpfix verify DIR --engine sglang`.
"""

from pathlib import Path

import pytest

import mtpfix
from tools.forge import forge
from tools.sglang_tiny import reshape


@pytest.mark.parametrize(
    ("family", "release", "entry", "outcome"),
    [
        ("qwen3_5", "0.5.20", "mtp.fc", "clean"),
        ("qwen3_5", "0.5.23", "mtp.fc", "silent_garbage"),
        ("qwen3_5", "0.5.20", "re:.*mtp.fc", "silent_garbage"),
        ("qwen3_5", "0.5.23", "re:.*mtp.fc", "silent_garbage"),
        ("qwen3_5", "0.5.20", "model.mtp.layers.0.mlp.experts", "silent_garbage"),
        ("qwen3_5", "0.5.23", "model.mtp.layers.0.mlp.experts", "silent_garbage"),
        ("deepseek_v3", "0.5.23", r"re:model\.layers\.2$", "clean"),
        ("deepseek_v3", "0.5.23", r"re:model\.layers\.2.*", "clean"),
    ],
)
def test_metadata_are_set_aside_by_the_entry_that_the_class_looks_for(
    tmp_path: Path, family: str, release: str, entry: str, outcome: str
) -> None:
    forge(family, tmp_path, "quark-fp8", ignore=("lm_head", entry))
    reshape(tmp_path, ())  # as Quark stores one scale for a tensor
    report = mtpfix.inspect(tmp_path, sglang=[release])
    assert {found.outcome for found in report.engines} == {outcome}
