"""Where the class of a draft sets the metadata aside, by how an entry of its list begins.

What is expected is what SGLang 0.5.20 and 0.5.23 built of `python -m tools.forge qwen3_5 DIR
--scheme quark-fp8 --ignore ENTRIES`, seen by `mtpfix verify DIR --engine sglang`.
"""

from pathlib import Path

import pytest

import mtpfix
from tools.forge import forge


@pytest.mark.parametrize(
    ("release", "entry", "outcome"),
    [
        ("0.5.20", "mtp.fc", "clean"),
        ("0.5.23", "mtp.fc", "silent_garbage"),
        ("0.5.20", "re:.*mtp.fc", "silent_garbage"),
        ("0.5.23", "re:.*mtp.fc", "silent_garbage"),
        ("0.5.20", "model.mtp.layers.0.mlp.experts", "silent_garbage"),
        ("0.5.23", "model.mtp.layers.0.mlp.experts", "silent_garbage"),
    ],
)
def test_only_an_entry_that_begins_with_the_block_sets_the_metadata_aside(
    tmp_path: Path, release: str, entry: str, outcome: str
) -> None:
    forge("qwen3_5", tmp_path, "quark-fp8", ignore=("lm_head", entry))
    report = mtpfix.inspect(tmp_path, sglang=[release])
    assert {found.outcome for found in report.engines} == {outcome}
