"""llm-compressor: vLLM's own names in the recipe, and the check right after `save_pretrained`.

    python examples/after_llm_compressor.py MODEL FOLDER

A recipe ignores by the names of the modules in memory. vLLM asks about others, so an MTP block
that was left alone is often built quantized. Both ends are fixed here: the recipe gets the
names that vLLM asks about, and what was saved is judged, repaired and judged again.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

import mtpfix

VLLM = (">=0.28",)
"""The releases that the checkpoint is to be served with."""


def ignored(model: str | Path, *others: str) -> list[str]:
    """What `ignore` of a recipe needs so that vLLM leaves the MTP block unquantized."""
    return [*others, *mtpfix.names_of(model, vllm=VLLM).entries]


def saving(folder: str | Path) -> AbstractContextManager[None]:
    """Repairs what is saved meanwhile, if it needs that, and makes sure that it is right.

    Raises:
        GateError: no metadata makes it right.
    """
    return mtpfix.saving(folder, vllm=VLLM, repair=True)


def main(model: str, folder: str) -> None:
    """FP8 without calibration data, the MTP block left as it is."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    recipe = QuantizationModifier(
        targets="Linear", scheme="FP8_DYNAMIC", ignore=ignored(model, "lm_head")
    )
    with saving(folder):
        oneshot(model=model, recipe=recipe, output_dir=folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
