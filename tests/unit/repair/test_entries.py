"""What is written for every family and method: entries for the MTP block, and for nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from compressed_tensors.utils.match import is_match
from transformers.quantizers.quantizers_utils import should_convert_module

from mtpfix import quant
from mtpfix.engines.policies.construction import disk_roots
from mtpfix.engines.vllm import metadata, methods, policy, recipe_cases
from mtpfix.engines.vllm.case import Case
from mtpfix.model import Entry, QuantView
from mtpfix.quant import Location, recipes
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from mtpfix.repair.readers import Readings
from mtpfix.repair.target_model import TargetModel
from tools import tiny

MORE: dict[str, dict[str, Any]] = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "fbgemm_fp8": {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0},
    "humming": {"quant_method": "humming"},
}
"""Metadata of methods that no recipe is named for."""
METHODS = [m for m in methods.names() if m in recipes.names() or m in MORE]
BY_TRANSFORMERS = {
    "awq": "modules_to_not_convert",
    "bitsandbytes": "llm_int8_skip_modules",
    "deepseek_v4_fp8": "ignored_layers",
    "fbgemm_fp8": "modules_to_not_convert",
    "fp8": "ignored_layers",
    "torchao": "modules_to_not_convert",
}
"""Methods whose list transformers asks `should_convert_module` about, and its key."""


@dataclass(frozen=True)
class Repaired:
    """An unquantized block beside a quantized target model, and what is planned for it."""

    cases: list[Case]
    view: QuantView
    made: Plan

    @property
    def target(self) -> list[str]:
        """Modules of the target model on disk."""
        return list(TargetModel(self.cases, self.view.method).modules())


@cache
def repaired(family: str, method: str, listed: str = "absent", *, chosen: bool = False) -> Repaired:
    """A tiny checkpoint; `listed` says what list it has before. Without one: in every release."""
    config = tiny.config(family)
    raw = dict(MORE.get(method) or recipes.metadata(method))
    key = BY_TRANSFORMERS.get(method)
    if key is not None:
        raw.pop(key, None)
    if key is not None and listed != "absent":
        raw[key] = {"null": None, "empty": [], "head": ["lm_head"]}[listed]
    place = Location("config.json", "/quantization_config", raw, str(config.get("model_type")))
    view = metadata.read(place)
    releases = policy.select_releases(("all" if listed == "absent" else "newest",))
    found = recipe_cases.under(view, config, releases, ["cuda"])
    return Repaired(found, view, plan(found, view, Options(chosen_releases=chosen)))


# --- every entry is prefix-exact --------------------------------------------------


def spelled_out(entry: str) -> str:
    """What an entry spells out of the names that it fits."""
    bare = re.sub(r"^re:|^-:", "", entry)
    bare = re.sub(r"\(\\\.\.\*\)\?\$$|\.\*$|\*$|\$$", "", bare.removeprefix("^"))
    return re.sub(r"\[(\w)\]", r"\1", bare).replace("\\", "")


def target_names(done: Repaired) -> set[str]:
    """The target model's names on disk and in vLLM, and as other models of its kind are named."""
    names = set(done.target)
    for case in done.cases:
        for module in case.trunk:
            names.update((module.name, *case.asked(module)))
    numbers = {layer_number(m.name) for case in done.cases for m in case.draft}
    for name in list(names):
        below = re.search(r"(?:^|\.)(layers\.(\d+)\..*)", name)
        if below is None:
            continue
        heads = ("model.", "language_model.model.", "model.language_model.")
        # Where vLLM numbers the block from 0 by such a name, it cannot be told from the target.
        names.update(h + below[1] for h in heads if f"{h}layers.{below[2]}." not in numbers)
    return {name for name in names if name}


def layer_number(name: str) -> str:
    """The beginning of a name up to the number of its layer."""
    found = re.match(r".*?layers\.\d+\.", name)
    return "" if found is None else found[0]


def marked(entry: str, done: Repaired) -> bool:
    """Whether an entry has an MTP layer's number, a word of its own, or is a whole MTP name."""
    text = spelled_out(entry)
    words = text.strip(".").split(".")
    numbers = {
        f"layers.{m.layer}" for case in done.cases for m in case.draft if m.layer is not None
    }
    pairs = {f"{one}.{two}" for one, two in pairwise(words)}
    own = {m.name for case in done.cases for m in case.draft}
    own |= {name for case in done.cases for m in case.draft for name in m.members}
    roots = {r.rstrip(".") for c in done.cases for r in disk_roots(c.policy, c.context)}
    theirs = {word for name in done.target for word in name.split(".")}
    special = {"transformer_block", "draft_model"} - theirs
    return (
        any(word.startswith("mtp") for word in words)
        or not special.isdisjoint(words)
        or not numbers.isdisjoint(pairs)
        or text in own - set(done.target)
        or any(text.startswith(f"{root}.") for root in roots if re.search(r"\d$", root))
    )


def hits(entries: Sequence[str], names: set[str], done: Repaired) -> Iterator[str]:
    """Names that vLLM's own rule finds an entry for."""
    for case in (done.cases[0], done.cases[-1]):
        listed = case.valid(done.view, [Entry(entry, "", "") for entry in entries])
        yield from (name for name in names if listed.first(name) is not None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", tiny.families())
def test_every_entry_names_the_block_and_nothing_wider(family: str, method: str) -> None:
    done = repaired(family, method)
    made = done.made
    assert made.refused is None
    stated = (*made.defaults, *made.headers)  # what was read elsewhere, or done without a list
    entries = [entry for entry in made.added if entry not in stated]
    assert "" not in made.added
    assert [entry for entry in entries if not marked(entry, done)] == []
    assert list(hits(entries, target_names(done), done)) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_chosen_release_gets_a_pattern_for_the_empty_name_and_no_empty_entry(
    method: str,
) -> None:
    made = repaired("deepseek_v4", method, chosen=True).made
    empty = [entry for entry in made.added if not spelled_out(entry)]
    patterns = {
        "compressed-tensors": "re:^$",
        "quark": "re:^$",
        "gptq": "-:^$",
        "auto-round": "^$",
    }
    assert empty == ([patterns[method]] if method in patterns else [])


@pytest.mark.parametrize("method", ["compressed-tensors", "awq", "modelopt", "gptq", "torchao"])
def test_several_layers_have_an_entry_each(method: str) -> None:
    config = {**tiny.config("glm_ocr")}
    text = {**config["text_config"], "num_nextn_predict_layers": 2}
    raw = recipes.metadata(method)
    view = metadata.read(Location("config.json", "/quantization_config", raw, "glm_ocr"))
    releases = policy.select_releases(("newest",))
    found = recipe_cases.under(view, {**config, "text_config": text}, releases, ["cuda"])
    added = [spelled_out(entry) for entry in plan(found, view).added]
    layers = {layer_number(f"{text.strip('.')}.") for text in added}
    assert len(layers) == len(added)
    assert {layer.rsplit(".", 2)[1] for layer in layers} == {"2", "3"}


# --- other readers do the same to the target model --------------------------------------


def skips(done: Repaired, view: QuantView) -> list[str]:
    """What transformers does not convert: the head too where there is no list, in AWQ always."""
    listed = quant.listed(view)
    heads = (
        TargetModel(done.cases, done.view.method).heads
        if listed is None or view.method == "awq"
        else ()
    )
    return [*heads, *(listed or ())]


def filled_in(done: Repaired, name: str) -> bool:
    """Whether a first entry has to say of a module what only vLLM reads in tensor headers."""
    return bool(done.made.headers) and TargetModel(done.cases, done.view.method).is_plain(name)


@pytest.mark.parametrize("listed", ["absent", "null", "empty", "head"])
@pytest.mark.parametrize("method", BY_TRANSFORMERS)
@pytest.mark.parametrize("family", tiny.families())
def test_transformers_converts_the_same_layers_of_the_target_model(
    family: str, method: str, listed: str
) -> None:
    done = repaired(family, method, listed)
    assert done.made.refused is None
    suffix = ".weight" if method == "torchao" else ""
    before, after = (
        {name for name in done.target if should_convert_module(name + suffix, skips(done, view))}
        for view in (done.view, done.made.view)
    )
    assert after <= before
    assert [name for name in before - after if not filled_in(done, name)] == []
    assert after or not done.target


@pytest.mark.parametrize("family", tiny.families())
def test_compressed_tensors_finds_the_same_layers_of_the_target_model(family: str) -> None:
    done = repaired(family, "compressed-tensors")
    layer = torch.nn.Linear(1, 1)
    found = [
        [
            name
            for name in done.target
            if is_match(name, layer, ["Linear"], ignore=[e.text for e in view.ignore])
        ]
        for view in (done.view, done.made.view)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", tiny.families())
def test_no_reader_treats_the_target_model_otherwise(family: str, method: str) -> None:
    done = repaired(family, method)
    readings = Readings(
        done.view.method, done.target, TargetModel(done.cases, done.view.method).heads
    )
    old, new = (quant.listed(view) for view in (done.view, done.made.view))
    moved = [
        m for m in readings.changed(old, new) if not (m.excluded and filled_in(done, m.module))
    ]
    assert moved == []
