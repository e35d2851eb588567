"""Writes the checkpoint of a case: real safetensors files, made of the patterns of `headers.json`.

`shards` maps each file to patterns of module names, and these to a format of `formats.json`
and the shape of the matrix: `"model.layers.{0..2}.mlp.{up,down}_proj": "bf16 256x128"`.
Braces hold words, numbers, ranges `first..last` and ranges with a step `first..last..step`.
The files are holes of zeros: only the headers matter. What is said of a case names matrices:
the norms of an MTP layer are added beside them, unless `"norms": false` says that they are lost.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from tools.sample import Tensors, dump, write_shard

CASES = Path(__file__).resolve().parent
INDEX = "model.safetensors.index.json"
KEPT_BACK = ("headers.json", "expected.json")


def materialise(case: Path, folder: Path) -> Path:
    """Writes the checkpoint of the folder `case` into `folder`.

    An index is written unless there is one shard alone. Its files and tensors that fit a
    pattern of `unindexed` are left out of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in case.glob("*.json"):
        if file.name not in KEPT_BACK:
            shutil.copyfile(file, folder / file.name)
    stated = json.loads((case / "headers.json").read_text(encoding="utf-8"))
    weight_map: dict[str, str] = {}
    size = 0
    shards = {shard: tensors(patterns) for shard, patterns in stated["shards"].items()}
    if stated.get("norms", True):
        add_norms(shards, json.loads((case / "config.json").read_text(encoding="utf-8")))
    for shard, found in shards.items():
        size += write_shard(folder / shard, found)
        weight_map.update(dict.fromkeys(found, shard))
    if len(stated["shards"]) > 1:
        hidden = stated.get("unindexed", [])
        listed = {
            name: shard
            for name, shard in weight_map.items()
            if not any(fnmatchcase(name, p) or fnmatchcase(shard, p) for p in hidden)
        }
        dump(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": listed})
    return folder


def add_norms(shards: dict[str, Tensors], config: dict[str, Any]) -> None:
    """Adds what an MTP layer holds beside its matrices, in the file that they are in."""
    family = policy.recognise(config)
    if family is None:
        return
    known = policy.policy(family)
    context = construction.newest(known, config)
    roots = construction.disk_roots(known, context)
    present = {name for found in shards.values() for name in found}
    for each in construction.plain(known, context):
        if each.optional or each.name in present:
            continue
        layer = [root for root in roots if each.name.startswith(root)] or roots
        for found in shards.values():
            if any(name.startswith(tuple(layer)) for name in found):
                found[each.name] = ("BF16", (8,))
                break


def tensors(patterns: dict[str, str]) -> Tensors:
    """The tensors of one shard, by name."""
    found: Tensors = {}
    for pattern, text in patterns.items():
        form, _, size = text.partition(" ")
        shape = tuple(int(n) for n in size.split("x"))
        for module in spelled_out(pattern):
            if form.isupper():
                found[module] = (form, shape)
                continue
            for suffix, (dtype, *sizes) in formats()[form].items():
                found[f"{module}.{suffix}"] = (dtype, tuple(_sizes(sizes, shape)))
    return found


@cache
def formats() -> dict[str, Any]:
    """The formats by name."""
    found: dict[str, Any] = json.loads((CASES / "formats.json").read_text(encoding="utf-8"))
    return found


def spelled_out(pattern: str) -> Iterator[str]:
    """Every name that a pattern with braces stands for."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        yield pattern
        return
    for item in braces[1].split(","):
        for word in _words(item):
            yield from spelled_out(pattern[: braces.start()] + word + pattern[braces.end() :])


def _words(item: str) -> Iterator[str]:
    if ".." not in item:
        yield item
        return
    first, last, *step = (int(number) for number in item.split(".."))
    yield from (str(number) for number in range(first, last + 1, *step))


def _sizes(sizes: list[Any], shape: tuple[int, ...]) -> Iterator[int]:
    """The shape of one tensor of a module, whose unquantized matrix has `shape`."""
    sides = {"out": shape[0], "in": shape[-1]}
    for size in sizes:
        if size == "whole":
            yield from shape
        elif isinstance(size, int):
            yield size
        else:
            side, _, divisor = size.partition("/")
            yield -(-sides[side] // int(divisor or 1))
