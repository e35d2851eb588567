"""Writes the sample in `examples/`: a checkpoint like DeepSeek-V4, 43 layers, tiny matrices.

    python -m tools.sample examples/deepseek-v4-like

Names, dtypes and formats are those of the real artifact: experts of the trunk in NVFP4,
its other layers in FP8 blocks, the MTP block in BF16, and an ignore list whose author took
the name of the block from the module tree. The matrices are zeros: only headers are read.
Standard library only, so that the bytes are the same everywhere.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LAYERS = 43
EXPERTS = 2
WIDTH = 32
"""Rows and columns of most matrices."""
BLOCK = 128
"""Rows and columns that one scale in FP8 is for."""
BYTES = {
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "I64": 8,
    "BF16": 2,
    "F16": 2,
    "F8_E4M3": 1,
    "F8_E8M0": 1,
    "U8": 1,
    "I8": 1,
}
Entry = tuple[str, tuple[int, ...]]
Tensors = dict[str, Entry]

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 128,
    "qk_rope_head_dim": 64,
    "q_lora_rank": 128,
    "o_lora_rank": 64,
    "o_groups": 2,
    "moe_intermediate_size": 128,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "routed_scaling_factor": 1.5,
    "scoring_func": "sqrtsoftplus",
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "num_hash_layers": 1,
    "index_topk": 64,
    "index_n_heads": 4,
    "index_head_dim": 128,
    "hc_mult": 4,
    "hc_sinkhorn_iters": 2,
    "hc_eps": 1e-6,
    "sliding_window": 64,
    "swiglu_limit": 10.0,
    "rope_theta": 10000.0,
    "compress_rope_theta": 160000.0,
    "rope_scaling": {
        "type": "yarn",
        "factor": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "original_max_position_embeddings": 65536,
    },
}
"""Fields without which vLLM builds no such model; the matrices in the files are smaller."""

ATTENTION = ("wq_a", "wkv", "wq_b", "wo_a", "wo_b")
SHARED = ("w1", "w2", "w3")


def bf16(module: str) -> Iterator[tuple[str, Entry]]:
    """An unquantized matrix."""
    yield f"{module}.weight", ("BF16", (WIDTH, WIDTH))


def fp8_block(module: str) -> Iterator[tuple[str, Entry]]:
    """A matrix in FP8 with one scale for each block, two of them below each other."""
    yield f"{module}.weight", ("F8_E4M3", (2 * BLOCK, WIDTH // 2))
    yield f"{module}.weight_scale", ("F32", (2, 1))


def nvfp4(module: str) -> Iterator[tuple[str, Entry]]:
    """A matrix in NVFP4: two values a byte, a scale for each 16, a scale for all."""
    yield f"{module}.weight_packed", ("U8", (WIDTH, WIDTH // 2))
    yield f"{module}.weight_scale", ("F8_E4M3", (WIDTH, WIDTH // 16))
    yield f"{module}.weight_global_scale", ("F32", (1,))
    yield f"{module}.input_global_scale", ("F32", (1,))


def layer(prefix: str, *, quantized: bool, indexer: bool) -> Iterator[tuple[str, Entry]]:
    """The tensors of one decoder layer."""
    linear = fp8_block if quantized else bf16
    expert = nvfp4 if quantized else bf16
    for name in ATTENTION:
        yield from linear(f"{prefix}.attn.{name}")
    if indexer:
        yield from linear(f"{prefix}.attn.indexer.wq_b")
        yield from bf16(f"{prefix}.attn.indexer.weights_proj")
    for name in ("attn.kv_norm", "attn.q_norm", "attn_norm", "ffn_norm"):
        yield f"{prefix}.{name}.weight", ("BF16", (WIDTH,))
    for name in ("fn", "base", "scale"):
        yield f"{prefix}.hc_attn_{name}", ("F32", (WIDTH,))
        yield f"{prefix}.hc_ffn_{name}", ("F32", (WIDTH,))
    yield f"{prefix}.attn.attn_sink", ("F32", (WIDTH,))
    yield from bf16(f"{prefix}.ffn.gate")
    yield f"{prefix}.ffn.gate.bias", ("F32", (EXPERTS,))
    for name in SHARED:
        yield from linear(f"{prefix}.ffn.shared_experts.{name}")
        for expert_id in range(EXPERTS):
            yield from expert(f"{prefix}.ffn.experts.{expert_id}.{name}")


def trunk() -> Tensors:
    """The tensors of the target model."""
    tensors: Tensors = {**dict(bf16("embed")), **dict(bf16("head"))}
    tensors["norm.weight"] = ("BF16", (WIDTH,))
    for index in range(LAYERS):
        tensors.update(layer(f"layers.{index}", quantized=True, indexer=index % 2 == 0))
    return tensors


def mtp() -> Tensors:
    """The tensors of the MTP block."""
    tensors: Tensors = dict(layer("mtp.0", quantized=False, indexer=False))
    for name in ("e_proj", "h_proj", "emb.tok_emb", "head"):
        tensors.update(bf16(f"mtp.0.{name}"))
    for name in ("enorm", "hnorm", "norm"):
        tensors[f"mtp.0.{name}.weight"] = ("BF16", (WIDTH,))
    for name in ("fn", "base", "scale"):
        tensors[f"mtp.0.hc_head_{name}"] = ("F32", (WIDTH,))
    return tensors


def config() -> dict[str, Any]:
    """`config.json`: the fields that name modules, and the quantization of the artifact."""
    return {
        "architectures": ["DeepseekV4ForCausalLM"],
        "model_type": "deepseek_v4",
        "torch_dtype": "bfloat16",
        "num_hidden_layers": LAYERS,
        "num_nextn_predict_layers": 1,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "num_experts_per_tok": 1,
        **SIZES,
        "compress_ratios": [4 if i % 2 == 0 else 128 for i in range(LAYERS)] + [0],
        "expert_dtype": "fp4",
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "mixed-precision",
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "format": "nvfp4-pack-quantized",
                    "targets": [
                        r"re:.*\.ffn\.experts\.\d+\.(w1|w2|w3|gate_proj|up_proj|down_proj)$"
                    ],
                    "weights": _args(4, "tensor_group", group_size=16),
                    "input_activations": _args(4, "tensor_group", group_size=16, dynamic="local"),
                },
                "group_1": {
                    "format": "float-quantized",
                    # From vLLM 0.34 on, `wo_a` is of a class whose name has no "Linear" in it.
                    "targets": ["Linear", r"re:.*\.attn\.wo_a$"],
                    "weights": _args(8, "block", block_structure=[BLOCK, BLOCK]),
                    "input_activations": _args(8, "group", group_size=BLOCK, dynamic=True),
                },
            },
            "ignore": ["head", "re:.*ffn\\.gate$", "re:.*compressor.*", "re:.*mtp_block.*"],
        },
    }


def _args(bits: int, strategy: str, *, dynamic: bool | str = False, **more: Any) -> dict[str, Any]:
    args = {"num_bits": bits, "type": "float", "strategy": strategy, "symmetric": True}
    return {**args, "dynamic": dynamic, **more}


def write_shard(path: Path, tensors: Mapping[str, Entry]) -> int:
    """Writes one safetensors file of zeros, as a hole; returns the size of its data in bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size]}
        begin += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + begin)
    return begin


def write(folder: Path) -> None:
    """Writes the whole sample: configuration, index, a trunk shard and an MTP shard."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = {
        "model-00001-of-00002.safetensors": trunk(),
        "model-00002-of-00002.safetensors": mtp(),
    }
    size = sum(write_shard(folder / name, tensors) for name, tensors in shards.items())
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    dump(folder / "model.safetensors.index.json", index)
    dump(folder / "config.json", config())


def dump(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON as the Hub's libraries do: two spaces, a final newline."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
