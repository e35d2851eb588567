"""Methods in which no list has a say: they differ in values alone.

Source: `get_quant_method` of `Mxfp4Config` and `ExpertsInt8Config`, whose `from_config` drop
what the metadata holds; `MoeWNA16Config.from_config`, which looks for `gptq` or `awq` under the
very key that chose it; and `OnlineQuantizationConfig.from_config`, which refuses a checkpoint.
The keys of the lists are those that transformers and other readers go by. What vLLM refuses is
in the data (`refused`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.engines.policies.method import Decide, Setting, UnmappedMethod, plain
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.names import Names
from mtpfix.model import Decision, Entry, Module


class Nothing(UnmappedMethod):
    """A method that quantizes nothing: it is refused, or there is no metadata."""

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decision that is the same for every module."""
        return plain

    def listed(self, entries: Iterable[Entry], release: str) -> Names:
        """Return no entry: none is read."""
        return Names(())

    def exact(self, entry: Entry) -> bool:
        """Return True: no entry is a pattern."""
        return True

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return no name: none is compared."""
        return ()


class ExpertsOnly(Nothing):
    """A method that quantizes all routed experts and nothing else."""

    def make_decider(self, setting: Setting) -> Decide:
        """Return the decisions of one release for one part."""

        def decide(module: Module) -> Decision:
            if module.kind != "experts":
                return plain(module)
            return quantized(module, setting.view, setting.context)

        return decide

    def probes(self, module: Module) -> tuple[str, ...]:
        """Return the name of the experts themselves."""
        return (module.name,)


_EXPERTS = "no list has an effect: routed experts are always quantized, all else never"
_REFUSED = "no list has an effect: vLLM refuses the method for every draft"

METHODS = (
    ExpertsOnly(name="experts_int8", compares=_EXPERTS, format="unquantized"),
    ExpertsOnly(name="mxfp4", compares=_EXPERTS, format="quark-mxfp4"),
    ExpertsOnly(name="gpt_oss_mxfp4", compares=_EXPERTS, format="quark-mxfp4", dialect="mxfp4"),
    ExpertsOnly(name="moe_wna16", compares=_EXPERTS, format="gptq"),
    Nothing(name="fp_quant", compares=_REFUSED),
    Nothing(
        name="online",
        compares=_REFUSED,
        aliases=(
            "fp8_per_block",
            "fp8_per_channel",
            "fp8_per_tensor",
            "int8_per_channel_weight_only",
            "lut_b_moe",
            "mxfp4_hadamard32",
            "nvfp4_per_token",
        ),
        key="ignore",
    ),
)

UNQUANTIZED = Nothing(name="", compares="no list has an effect: there is no quantization metadata")
"""No quantization metadata: every module is built unquantized, and no name is compared.

Source: `VllmConfig._get_quantization_config`, which returns None where `ModelConfig` finds no
metadata, and `LinearBase`, `FusedMoE` and `VocabParallelEmbedding`, which then ask nothing.
"""
