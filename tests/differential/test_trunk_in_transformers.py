"""A repair changes nothing of the target model for transformers, which reads the same list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers.quantizers.quantizers_utils import should_convert_module

import mtpfix
from tools import schemes, tiny
from tools.forge import forge

KEYS = {
    "fp8-block": ("modules_to_not_convert", "ignored_layers"),
    "awq": ("modules_to_not_convert",),
    "fbgemm-fp8": ("modules_to_not_convert",),
}
"""The keys of a list that transformers reads, by recipe."""
PAIRS = [
    (family, scheme)
    for scheme in KEYS
    for family in tiny.families()
    if scheme not in tiny.unfit(family) and schemes.fits(scheme, family)
]


def converted(folder: Path, names: list[str], keys: tuple[str, ...]) -> set[str]:
    """The modules that transformers quantizes, of some names."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    metadata = config["quantization_config"]
    listed = next((metadata[key] for key in keys if metadata.get(key)), ["lm_head"])
    return {name for name in names if should_convert_module(name, listed)}


@pytest.mark.parametrize(("family", "scheme"), PAIRS)
def test_the_layers_of_the_target_model_that_are_converted_stay_the_same(
    family: str, scheme: str, tmp_path: Path
) -> None:
    folder, variant = tmp_path / "model", tiny.variant(family, scheme)
    forge(family, folder, scheme, variant=variant)
    trunk = [s.name.removesuffix(".weight") for s in tiny.tensors(family, variant, "trunk")]
    before = converted(folder, trunk, KEYS[scheme])
    mtpfix.rewrite(folder, allow_partial=True, write=True)
    assert converted(folder, trunk, KEYS[scheme]) == before
