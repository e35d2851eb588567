"""Quantizes one weight the way a dialect stores it, one module a dialect."""

from __future__ import annotations

from tools.quantizers import compressed_tensors as ct
from tools.quantizers import fp8, modelopt, packed
from tools.quantizers.rounding import GROUP, Quantizer

QUANTIZERS: dict[str, Quantizer] = {
    "ct-fp8-channel": ct.fp8_channel,
    "ct-fp8-tensor": ct.fp8_tensor,
    "ct-fp8-block": ct.fp8_block,
    "ct-int8": ct.int8_channel,
    "ct-w4a16": ct.packed(4, GROUP),
    "ct-w8a16": ct.packed(8, None),
    "ct-nvfp4": ct.nvfp4,
    "ct-w4a16-group-64": ct.packed(4, 2 * GROUP),
    "ct-mxfp4": ct.mxfp4,
    "ct-mxfp8": modelopt.mxfp8,
    "fp8-block": fp8.block,
    "fp8-tensor": fp8.static,
    "fp8-tensor-dynamic": fp8.tensor,
    "fbgemm-fp8": fp8.row,
    "deepseek-v4-fp8": fp8.deepseek_v4,
    "deepseek-v4-fp8-powers": fp8.deepseek_v4_powers,
    "deepseek-v4-fp4-expert": fp8.deepseek_v4_expert,
    "deepseek-v4-mxfp8": fp8.deepseek_v41,
    "modelopt-fp8": fp8.static,
    "modelopt-fp8-channel": modelopt.fp8_channel,
    "modelopt-fp8-block": modelopt.fp8_block,
    "modelopt-nvfp4": modelopt.nvfp4,
    "modelopt-w4a16": modelopt.nvfp4_weights,
    "modelopt-mxfp8": modelopt.mxfp8,
    "awq": packed.awq,
    "gptq": packed.gptq(4, GROUP),
    "gptq-8-bit": packed.gptq(8, GROUP),
    "gptq-group-64": packed.gptq(4, 2 * GROUP),
    "auto-round": packed.gptq(4, GROUP),
    "auto-round-8-bit": packed.gptq(8, GROUP),
    "auto-round-group-64": packed.gptq(4, 2 * GROUP),
    "quark-fp8": fp8.static,
    "quark-fp8-block": ct.fp8_block,
    "quark-mxfp4": modelopt.mxfp4,
    "mxfp4": modelopt.mxfp4,
}
"""By the name of the scheme in `schemes.json`, or of a part of one."""
