"""Small checkpoints of packed integers, whose MTP block has numbers of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mtpfix.model import Edit, JsonFile
from mtpfix.repair import patch
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan
from tests.unit.engines.small import (
    NEWEST,
    Config,
    Tensors,
    bf16,
    cases,
    configs_of,
    tensors,
    view_of,
)
from tools.sample import Entry

QWEN: Config = {
    "architectures": ["Qwen3_5ForCausalLM"],
    "model_type": "qwen3_5_text",
    "num_hidden_layers": 2,
    "mtp_num_hidden_layers": 1,
    "full_attention_interval": 2,
    "tie_word_embeddings": True,
}
WIDTH = 256
MLP = ("gate_proj", "up_proj", "down_proj")
EVERYTHING = (*MLP, "q_proj", "k_proj", "v_proj", "o_proj", "fc", "eh_proj", "input_proj")


def gptq_layer(bits: int = 4, size: int = 128) -> Mapping[str, Entry]:
    """The tensors of a layer as GPTQ stores them, by suffix."""
    groups = WIDTH // size if size > 0 else 1
    return {
        "qweight": ("I32", (WIDTH * bits // 32, WIDTH)),
        "qzeros": ("I32", (groups, WIDTH * bits // 32)),
        "scales": ("F16", (groups, WIDTH)),
        "g_idx": ("I32", (WIDTH,)),
    }


def without_order(layer: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """The same without the order of its inputs, as auto-round stores it."""
    return {suffix: entry for suffix, entry in layer.items() if suffix != "g_idx"}


def awq_layer(size: int = 128) -> Mapping[str, Entry]:
    """The tensors of a layer as AWQ stores them, by suffix."""
    return {
        "qweight": ("I32", (WIDTH, WIDTH // 8)),
        "qzeros": ("I32", (WIDTH // size, WIDTH // 8)),
        "scales": ("F16", (WIDTH // size, WIDTH)),
    }


def stored(
    config: Config,
    trunk: Mapping[str, Entry],
    block: Mapping[str, Entry],
    quantized: Sequence[str] = EVERYTHING,
    plain: Sequence[str] = (),
) -> Tensors:
    """All tensors of a checkpoint.

    Args:
        config: the model.
        trunk: a quantized layer of the target model.
        block: a quantized layer of the MTP block.
        quantized: ends of the names of modules of the block that are quantized.
        plain: parts of names of the target model that stay unquantized.
    """
    alone, found = tensors(config), tensors(config, quantized)
    new: Tensors = {}
    for name, entry in found.items():
        module, _, suffix = name.rpartition(".")
        if suffix == "weight_scale":
            continue
        if entry[0] != "F8_E4M3":
            new[name] = ("BF16", (WIDTH,)) if "norm" in name else entry
        elif any(part in module for part in plain) and alone.get(name) == entry:
            new.update(bf16(module))
        else:
            layer = trunk if alone.get(name) == entry else block
            new |= {f"{module}.{part}": tensor for part, tensor in layer.items()}
    return new


def files(config: Config, **twins: Any) -> dict[str, JsonFile]:
    """The files of a checkpoint: `config.json`, and others by their stem."""
    raws = {
        f"{stem}.json": (json.dumps(value, indent=2).encode(), value)
        for stem, value in twins.items()
    }
    return {**configs_of(config), **{name: JsonFile(name, *raw) for name, raw in raws.items()}}


def planned(
    config: Config, found: Tensors, releases: Sequence[str] = (NEWEST,), **twins: Any
) -> Plan:
    """The plan for a checkpoint, and for files beside it."""
    configs = files(config, **twins)
    made = cases(config, found, releases)
    view = made[0].engine.metadata(configs)
    assert view is not None
    return plan(made, view, Options(engine_names_only=True), configs)


def failing(config: Config, found: Tensors, made: Plan, release: str = NEWEST) -> list[str]:
    """Modules of the block that are built otherwise than they are stored after a plan."""
    (case,) = cases(config, found, (release,))
    return [r.decision.module.name for r in case.judged(made.view, case.draft) if not r.agrees]


def after(config: Config, edits: Sequence[Edit], file: str = "config.json", **twins: Any) -> Any:
    """What a file says after some edits; of `config.json`, its metadata."""
    raw = files(config, **twins)[file].raw
    value = json.loads(patch.apply(raw, [edit for edit in edits if edit.file == file]))
    return value["quantization_config"] if file == "config.json" else value


def again(config: Config, found: Tensors, made: Plan) -> Plan:
    """The plan for a checkpoint that was repaired."""
    return planned({**config, "quantization_config": after(config, made.edits)}, found)


def trunk_decisions(config: Config, found: Tensors, view: Any = None) -> list[object]:
    """What is built for the target model."""
    (case,) = cases(config, found)
    reports = case.judged(view or view_of(config), case.trunk)
    return [
        (r.decision.built, r.decision.scheme, r.decision.expects, r.decision.packing)
        for r in reports
    ]
