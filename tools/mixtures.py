"""Layers with an algorithm each, as ModelOpt's `quantized_layers` names them, to ask about.

What is not named there is plain; so the questions are about how a name is found: whole, by
its shards, by what lies below it or beside it, in the words of another wrapper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Keys = dict[str, Any]
"""Keys of a quantization configuration."""

ALGORITHMS = (
    "FP8",
    "NVFP4",
    "MXFP8",
    "W4A16_NVFP4",
    "FP8_PB_WO",
    "FP8_PER_CHANNEL_PER_TOKEN",
    "nvfp4",
    "INT4_AWQ",
)
"""Algorithms that a layer can have, one that is not known among them."""
WRAPPERS = (
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("model.language_model.", "language_model.model."),
    ("language_model.", ""),
)
"""How other wrappers begin names that begin like this."""
BESIDE = ("shared_experts.down_proj", "shared_expert.down_proj", "gate")
"""What may stand beside routed experts."""


def questions(
    *,
    trunk: Sequence[str],
    disk: Sequence[str],
    shards: Sequence[Sequence[str]],
    fused: Sequence[str],
    experts: Sequence[str],
    weights: Sequence[str],
) -> dict[str, Keys]:
    """Metadata to ask about, by name.

    Args:
        trunk: modules of the trunk on disk.
        disk: modules of the draft on disk.
        shards: for each linear layer of the draft the names of its shards, as vLLM forms them.
        fused: the linear layers of the draft, by the names that vLLM asks about.
        experts: the fused experts of the draft.
        weights: names of the weights of an expert.
    """
    spread = [shard for names in shards for shard in names]
    members = [f"{name}.{i}.{w}" for name in experts for i in range(4) for w in weights]
    first = [names[0] for names in shards]
    rotated = {
        name: ALGORITHMS[i % len(ALGORITHMS)]
        for i, names in enumerate((*shards, *([e] for e in experts)))
        for name in names
    }
    beside = [f"{name.removesuffix('experts')}{end}" for name in experts for end in BESIDE]
    wrapped = [new + n.removeprefix(old) for n in spread for new, old in WRAPPERS if _is(n, old)]
    found = {
        "layers_trunk": layers(trunk),
        "layers_disk": layers([*trunk, *disk]),
        "layers_shards": layers([*trunk, *spread, *members]),
        "layers_fused": layers([*fused, *experts], "NVFP4"),
        "layers_half": layers(first),
        "layers_differ": layers(spread) | layers(first, "NVFP4"),
        "layers_all_kinds": _rows(rotated),
        "layers_expert_0": layers([*trunk[:1], *members[: len(weights)]], "NVFP4"),
        "layers_beside": layers([*trunk[:1], *beside]),
        "layers_parents": layers([*trunk[:1], *{name.rpartition(".")[0] for name in fused}]),
        "layers_wrapped": layers([*trunk[:1], *wrapped, "lm_head", "model.lm_head"], "NVFP4"),
    }
    asked = {name: {"quantized_layers": rows} for name, rows in found.items()}
    spared = {"ignore": [*spread, *experts], **asked["layers_shards"]}
    return {**asked, "layers_spared": spared, "layers_none": {"quantized_layers": {}}}


def _is(name: str, start: str) -> bool:
    return name.startswith(start)


def layers(names: Iterable[str], algorithm: str = "FP8") -> Keys:
    """Return rows of `quantized_layers` that give modules one algorithm."""
    return _rows(dict.fromkeys(names, algorithm))


def _rows(algorithms: Mapping[str, str]) -> Keys:
    return {name: {"quant_algo": algorithm} for name, algorithm in algorithms.items()}


NAMES = tuple(questions(trunk=(), disk=(), shards=(), fused=(), experts=(), weights=()))
"""Names of all of them; the last is refused."""
