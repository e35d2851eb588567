"""Our rules for other readers of a checkpoint answer as these readers themselves do."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from compressed_tensors.utils.match import is_match, match_named_modules
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from mtpfix.repair.readers import (
    Readings,
    Rule,
    compressed_tensors_rule,
    earlier_transformers_rule,
    glob_rule,
    transformers_rule,
)

NAMES = (
    "lm_head",
    "model.layers.1.mlp.gate",
    "model.layers.1.mlp.gate_proj",
    "model.layers.11.mlp.gate_proj",
    "model.layers.2.mlp.experts.0.up_proj",
    "model.language_model.layers.1.self_attn.o_proj",
    "mtp.layers.0.fc",
    "model.mtp_block.0.fc",
    "head",
)
ENTRIES = (
    "",
    "lm_head",
    "head",
    "Linear",
    "Module",
    "linear",
    "model",
    "model.layers.1",
    "model.layers.1.",
    "model.layers.1.*",
    "model.layers.*",
    "layers.1",
    "mlp.gate",
    "gate_proj",
    "mtp",
    "mtp.",
    "mtp*",
    "mtp.layers.0|lm_head",
    "re:^$",
    "re:",
    "re:.*",
    "re:.*mtp.*",
    "re:^mtp\\..*",
    "re:model.layers.1.*",
    r"re:^model\.layers\.1\..*",
    r"re:.*\.mlp\.gate$",
    "re:gate_proj",
    "model.layers.1?.mlp.gate_proj",
    "model.layers.[12].*",
    "*gate*",
)
words = st.lists(st.sampled_from([*"01.*", "mtp", "model", "layers", "gate", "_proj", "fc"]))
texts = words.map("".join)
names = st.lists(
    st.sampled_from(["model", "layers", "mtp", "0", "1", "11", "gate", "gate_proj"]), min_size=1
).map(".".join)

# Releases of transformers differ in one thing: whether a pattern may end in the midst of a word.
BOUNDED = should_convert_module("layers.11", ["layers.1"])
TRANSFORMERS = transformers_rule if BOUNDED else earlier_transformers_rule


def readable(entry: str) -> bool:
    """Whether an entry can be read as a pattern, by itself and as transformers puts it in one."""
    try:
        re.compile(entry)
        should_convert_module("x", [entry])
    except re.error:
        return False
    return True


def asked(rule: Rule, name: str) -> bool:
    return rule(name)


@pytest.mark.parametrize("entry", ENTRIES)
def test_compressed_tensors_matches_alike(entry: str) -> None:
    layer = torch.nn.Linear(1, 1)
    for name in NAMES:
        excluded = not is_match(name, layer, ["Linear"], ignore=[entry])
        assert asked(compressed_tensors_rule(entry), name) == excluded, name


def test_a_module_that_compressed_tensors_finds_is_one_that_no_entry_excludes() -> None:
    model = torch.nn.Module()
    model.add_module("lm_head", torch.nn.Linear(1, 1))
    model.add_module("mtp", torch.nn.Sequential(torch.nn.Linear(1, 1)))
    for ignore in ([], ["lm_head"], [r"re:^mtp\..*"], ["re:^$"], ["Linear"]):
        found = {name for name, _ in match_named_modules(model, ["Linear"], ignore)}
        rules = [compressed_tensors_rule(entry) for entry in ignore]
        linear = {"lm_head", "mtp.0"}
        assert found == {name for name in linear if not any(rule(name) for rule in rules)}


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if readable(entry)])
def test_transformers_converts_alike(entry: str) -> None:
    for name in NAMES:
        assert asked(TRANSFORMERS(entry), name) != should_convert_module(name, [entry]), name


@settings(max_examples=400, deadline=None)
@given(texts, names)
def test_transformers_converts_alike_whatever_the_entry(entry: str, name: str) -> None:
    if readable(entry):
        assert asked(TRANSFORMERS(entry), name) != should_convert_module(name, [entry])


@settings(max_examples=300, deadline=None)
@given(texts, names)
def test_compressed_tensors_matches_alike_whatever_the_entry(entry: str, name: str) -> None:
    layer = torch.nn.Linear(1, 1)
    for spelled in (entry, f"re:{entry}") if readable(entry) else (entry,):
        excluded = not is_match(name, layer, ["Linear"], ignore=[spelled])
        assert asked(compressed_tensors_rule(spelled), name) == excluded


@settings(max_examples=300, deadline=None)
@given(texts, names)
def test_a_glob_fits_a_name_or_a_module_around_it(entry: str, name: str) -> None:
    parts = name.split(".")
    around = [".".join(parts[: end + 1]) for end in range(len(parts))]
    assert asked(glob_rule(entry), name) == any(fnmatchcase(one, entry) for one in around)


class _Model(torch.nn.Module):
    """As much of a model of transformers as decides what a missing list leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.lm_head = torch.nn.Linear(1, 1, bias=False)
        self.all_tied_weights_keys: dict[str, str] = {}

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.lm_head


@pytest.mark.parametrize("given", [None, [], ["mtp.fc"], ["lm_head", "mtp.fc"]])
@pytest.mark.parametrize("method", ["fp8", "awq"])
def test_transformers_leaves_out_the_head_where_there_is_no_list(method: str, given: Any) -> None:
    model: Any = _Model()
    skips = HfQuantizer.get_modules_to_not_convert(
        model, given, None, add_default_skips=method == "awq"
    )
    kept = not should_convert_module("lm_head", skips)
    readings = Readings(method, ("layer", "lm_head"), ("lm_head",))
    before = None if given is None else dict.fromkeys(given)
    changed = {found.module for found in readings.changed(before, {"lm_head": None})}
    # AWQ leaves the head out whatever the list says: our rule asks about the list alone.
    if method == "fp8":
        assert ("lm_head" not in changed) == kept
    else:
        assert kept
    assert should_convert_module("layer", skips)
