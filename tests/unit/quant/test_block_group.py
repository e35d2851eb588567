"""mtpfix.quant.block_group: a config group for a block that stays FP8, and what it is given to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mtpfix.checkpoint.load import CONFIG
from mtpfix.model import QuantView
from mtpfix.quant.block_group import METHOD, with_block_group
from mtpfix.repair import patch

WEIGHTS = {"num_bits": 4, "type": "int"}


def after(quantization: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the quantization with the group for some modules."""
    view = QuantView(
        method=METHOD,
        raw=quantization,
        file=CONFIG,
        pointer="/quantization_config",
        ignore=(),
        ignore_pointer="/quantization_config/ignore",
        groups=(),
        format=quantization.get("format"),
    )
    raw = json.dumps({"quantization_config": quantization}).encode()
    made = json.loads(patch.apply(raw, with_block_group(view, names)))
    found: dict[str, Any] = made["quantization_config"]
    return found


def one(*groups: str, **more: Any) -> dict[str, Any]:
    return {
        "format": "pack-quantized",
        "config_groups": {name: {"targets": ["Linear"], "weights": WEIGHTS} for name in groups},
        **more,
    }


NAMES = (
    "model.layers.61.self_attn.q_proj",
    "model.layers.61.self_attn.o_proj",
    "model.layers.61.mlp.experts",
    "model.layers.61.eh_proj",
)


def test_the_group_and_a_format_for_each() -> None:
    made = after(one("group_0"), *NAMES)
    assert made["format"] == "mixed-precision"
    old, new = made["config_groups"]["group_0"], made["config_groups"]["mtp"]
    assert old == {"targets": ["Linear"], "weights": WEIGHTS, "format": "pack-quantized"}
    assert new["format"] == "float-quantized"
    assert new["weights"]["strategy"] == "block"
    assert new["weights"]["block_structure"] == [128, 128]
    assert new["input_activations"]["group_size"] == 128


def test_formats_that_are_said_stay() -> None:
    quantization = one("a", "b", format="mixed-precision")
    quantization["config_groups"]["a"]["format"] = "nvfp4-pack-quantized"
    made = after(quantization, *NAMES)
    assert made["config_groups"]["a"]["format"] == "nvfp4-pack-quantized"
    assert made["format"] == "mixed-precision"


def test_the_name_of_the_group_is_free() -> None:
    made = after(one("mtp", "mtp_1"), *NAMES)
    assert list(made["config_groups"]) == ["mtp", "mtp_1", "mtp_2"]


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (NAMES[:2], [r"re:^model\.layers\.61\.self_attn\..*"]),
        (
            NAMES[:3],
            [r"re:^model\.layers\.61\.self_attn\..*", r"re:^model\.layers\.61\.mlp\..*"],
        ),
        (NAMES[3:], ["model.layers.61.eh_proj"]),
        (["mtp.fc"], ["mtp.fc"]),
        (["mtp.layers.0.mlp.up-proj.x"], [r"re:^mtp\.layers\.0\.mlp\..*"]),
        (["a.0.b+c.d"], [r"re:^a\.0\.b\+c\..*"]),
        ([], []),
    ],
)
def test_targets(names: list[str], targets: list[str]) -> None:
    assert after(one("g"), *names)["config_groups"]["mtp"]["targets"] == targets


def test_targets_fit_their_modules_and_no_layer_of_the_target_model() -> None:
    targets = after(one("g"), *NAMES)["config_groups"]["mtp"]["targets"]

    def fits(name: str) -> bool:
        return any(re.match(t[3:], name) if t.startswith("re:") else t == name for t in targets)

    assert all(map(fits, NAMES))
    others = [name.replace("61", other) for name in NAMES for other in ("6", "60", "610", "0")]
    assert not any(map(fits, (*others, "model.layers.61.shared_head.head", "lm_head")))
