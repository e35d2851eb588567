"""How vLLM's parameters are named and cut on disk, by the rules of `disk_names.json`."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from tools import tiny

if TYPE_CHECKING:
    from collections.abc import Iterable

Shape = tuple[int, ...]
Tensors = dict[str, tuple[Shape, str]]
"""Name -> shape and dtype."""

EXPERTS = ("gate_proj", "up_proj", "down_proj")
"""Names of an expert's weights where the family has no others."""


@cache
def _rules() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((tiny.HERE / "disk_names.json").read_text(encoding="utf-8"))
    return data


def on_disk(parameters: Tensors, part: str, family: str, config: tiny.Config) -> Tensors:
    """The tensors on disk that fill the parameters of one part of the model.

    Args:
        parameters: vLLM's parameters of an unquantized model.
        part: `trunk` or `draft`.
        family: the family of the model.
        config: its configuration.
    """
    tensors: Tensors = {}
    for name, (shape, dtype) in parameters.items():
        for piece, piece_shape in cut(name, shape, family, tiny.text(config)):
            renamed = rename(piece, part, family, tiny.text(config)["num_hidden_layers"])
            if renamed is not None:
                tensors[renamed] = (piece_shape, dtype)
    return tensors


def rename(name: str, part: str, family: str, layers: int) -> str | None:
    """The name on disk of one piece; None for what is not stored."""
    if part == "draft":
        name = re.sub(r"(?<=layers\.)(\d+)(?=\.)", lambda m: draft_index(m[1], layers), name)
    for pattern, replacement in _rules()[part].get(family, ()):
        if replacement is None:
            if re.search(pattern, name):
                return None
        else:
            name = re.sub(pattern, replacement, name)
    return re.sub(r"\bN(\d)\b", lambda m: str(layers + int(m[1])), name)


def draft_index(number: str, layers: int) -> str:
    """`N0` for the first layer past the trunk, `N1` for the next; smaller numbers stay."""
    past = int(number) - layers
    return f"N{past}" if past >= 0 else number


def cut(name: str, shape: Shape, family: str, text: tiny.Config) -> list[tuple[str, Shape]]:
    """The pieces that one parameter is stored in, by module names that vLLM still uses."""
    experts = re.fullmatch(r"(.*)\.routed_experts\.(w13|w2)_weight", name)
    if experts:
        return cut_experts(experts[1], experts[2], shape, family)
    for fused, parts in fused_layers(family).items():
        if f".{fused}." in name:
            rows = part_rows(fused, shape[0], text)
            return [
                (name.replace(fused, part), (count, *shape[1:]))
                for part, count in zip(parts, rows, strict=True)
            ]
    if family == "deepseek_v4":
        name = name.replace("shared_experts.down_proj", "shared_experts.w2")
        if name.endswith(".attn_sink"):
            shape = (text["num_attention_heads"],)
    return [(name, shape)]


def expert_names(family: str) -> tuple[str, str, str]:
    """What the weights of an expert are called."""
    gate, up, down = _rules()["experts"].get(family, EXPERTS)
    return gate, up, down


def cut_experts(base: str, which: str, shape: Shape, family: str) -> list[tuple[str, Shape]]:
    """The weights of each expert."""
    gate, up, down = expert_names(family)
    count, rows, columns = shape
    if which == "w2":
        return [(f"{base}.{i}.{down}.weight", (rows, columns)) for i in range(count)]
    half = (rows // 2, columns)
    return [(f"{base}.{i}.{name}.weight", half) for i in range(count) for name in (gate, up)]


def fused_layers(family: str) -> dict[str, tuple[str, ...]]:
    """Fused layers and what they are stored as."""
    layers: dict[str, tuple[str, ...]] = {
        "qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
        "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
        "wk_weights_proj": ("wk", "weights_proj"),
    }
    if family == "deepseek_v4":
        layers["gate_up_proj"] = ("w1", "w3")
        layers["fused_wqa_wkv"] = ("wq_a", "wkv")
        layers["fused_wkv_wgate"] = ("wkv", "wgate")
    if family.startswith("qwen3_5"):
        layers["in_proj_qkvz"] = ("in_proj_qkv", "in_proj_z")
        layers["in_proj_ba"] = ("in_proj_b", "in_proj_a")
    return layers


def part_rows(fused: str, rows: int, text: tiny.Config) -> Iterable[int]:
    """How many rows each part of a fused layer has."""
    if fused == "qkv_proj":
        heads = text.get("num_key_value_heads") or text["num_attention_groups"]
        head = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
        return rows - 2 * heads * head, heads * head, heads * head
    if fused == "in_proj_qkvz":
        values = text["linear_num_value_heads"] * text["linear_value_head_dim"]
        return rows - values, values
    first = {
        "fused_qkv_a_proj": text.get("q_lora_rank"),
        "fused_wqa_wkv": text.get("q_lora_rank"),
        "wk_weights_proj": text.get("index_head_dim"),
    }.get(fused) or rows // 2
    return first, rows - first
