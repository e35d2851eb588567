"""ModelOpt: the check right after `export_hf_checkpoint`.

    python examples/after_modelopt.py MODEL FOLDER

ModelOpt excludes by the names of the modules in memory. vLLM asks about others, so an MTP
block that was left alone is often built quantized.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mtpfix

VLLM = (">=0.28",)
"""The releases that the checkpoint is to be served with."""


def finish(folder: str | Path) -> str:
    """Repairs what was exported and returns the diff; empty if it was right already.

    Raises:
        SystemExit: no metadata makes it right.
    """
    repair = mtpfix.plan(folder, vllm=VLLM)
    if repair.exit_code:
        left = [f"{found.code}: {found.message}" for found in repair.after.findings]
        raise SystemExit("\n".join(["not to be repaired:", *left]))
    if repair.files:
        mtpfix.rewrite(folder, vllm=VLLM, backup=False, write=True)
    return repair.diff


def main(model: str, folder: str) -> None:
    """FP8 of everything but the MTP block and the head."""
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, torch_dtype="auto")
    mtq.quantize(loaded, mtq.FP8_DEFAULT_CFG)
    export_hf_checkpoint(loaded, export_dir=folder)
    print(finish(folder), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
