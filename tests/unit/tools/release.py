"""A small release: sources as vLLM writes them, for what reads and never runs them."""

from __future__ import annotations

from pathlib import Path

from tools.reading.sources import Sources

FILES = {
    "model_executor/models/registry.py": """
_TEXT = {"DemoForCausalLM": ("demo", "DemoForCausalLM")}
_SPECULATIVE = {
    "DemoMTPModel": ("demo_mtp", "DemoMTP"),
    "DemoMoeMTPModel": ("demo_mtp", "DemoMoeMTP"),
    "SplitMTPModel": ("vllm.models.split", "SplitMTP"),
}
""",
    "config/speculative.py": """
class SpeculativeConfig:
    @staticmethod
    def hf_config_override(hf_config):
        if hf_config.model_type in ("demo", "demo_moe"):
            is_moe = hf_config.model_type == "demo_moe"
            hf_config.model_type = "demo_mtp"
            n_predict = getattr(hf_config, "num_demo_layers", None)
            hf_config.update(
                {
                    "n_predict": n_predict,
                    "architectures": ["DemoMoeMTPModel" if is_moe else "DemoMTPModel"],
                }
            )
        if hf_config.architectures[0] == "SplitForCausalLM" and hasattr(hf_config, "split"):
            hf_config.update({"n_predict": 1, "architectures": ["SplitMTPModel"]})
        return hf_config
""",
    "model_executor/models/demo.py": """
class DemoAttention(nn.Module):
    def __init__(self, config, quant_config=None, prefix=""):
        self.qkv_proj = QKVParallelLinear(
            config.hidden_size, quant_config=quant_config, prefix=f"{prefix}.qkv_proj"
        )
        self.o_proj = RowParallelLinear(
            quant_config=quant_config if "mtp" not in prefix else None,
            prefix=f"{prefix}.o_proj",
        )


class DemoLayer(nn.Module):
    def __init__(self, vllm_config, prefix, attention=DemoAttention):
        quant_config = vllm_config.quant_config
        self.self_attn = attention(config, quant_config=quant_config, prefix=f"{prefix}.self_attn")
        if config.experts:
            self.experts = FusedMoE(quant_config=quant_config, prefix=f"{prefix}.experts")


class DemoForCausalLM(nn.Module, SupportsLoRA):
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"language.": "model.", "mtp.": None})

    def __init__(self, *, vllm_config, prefix=""):
        if config.wide:
            self.packed_modules_mapping["wide_proj"] = ["a_proj", "b_proj"]
""",
    "model_executor/models/demo_mtp.py": """
from .demo import DemoLayer
from .utils import maybe_prefix


class DemoPredictor(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        self.layers = {
            str(i): DemoLayer(vllm_config, f"{prefix}.layers.{i}") for i in range(start, end)
        }
        self.eh_proj = nn.Linear(8, 8)
        fc_quant = None if quant_config.get_name() == "modelopt_fp4" else quant_config
        self.fc = ColumnParallelLinear(quant_config=fc_quant, prefix="fc")


class DemoMTP(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        self.model = DemoPredictor(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))


class DemoMoeMTP(DemoMTP):
    packed_modules_mapping = DemoMTP.other | {}
""",
    "models/split/__init__.py": """
from typing import TYPE_CHECKING

from vllm.platforms import current_platform

if TYPE_CHECKING:
    from .nvidia.mtp import SplitMTP


def __getattr__(name):
    if name == "SplitMTP":
        if current_platform.is_xpu():
            raise NotImplementedError
        if current_platform.is_rocm():
            from .amd import mtp as amd_mtp

            return amd_mtp.SplitMTP
        from .nvidia.mtp import SplitMTP

        return SplitMTP
""",
    "models/split/nvidia/mtp.py": """
class SplitMTP(nn.Module):
    packed_modules_mapping = {"w13": ["w1"]} | {"w2": ["w2"]}
""",
    "models/split/amd/mtp.py": "class SplitMTP(nn.Module):\n    pass\n",
    "model_executor/layers/quantization/compressed_tensors/utils.py": """
def should_ignore_layer(layer_name: str, ignore=()) -> bool:
    '''Says whether.'''
    return layer_name in ignore  # exactly
""",
}


def write(root: Path, changed: dict[str, str] | None = None) -> Sources:
    """The release below `root`, some files changed."""
    for name, text in {**FILES, **(changed or {})}.items():
        path = root / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Sources(root)
