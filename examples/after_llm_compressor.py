"""llm-compressor: vLLM's own names in the recipe, and the check right after `save_pretrained`.

    python examples/after_llm_compressor.py MODEL FOLDER

A recipe ignores by the names of the modules in memory. vLLM asks about others, so an MTP block
that was left alone is often built quantized. Both ends are fixed here: the recipe gets the
names that vLLM asks about, and what was saved is judged, repaired and judged again.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import mtpfix

VLLM = (">=0.28",)
"""The releases that the checkpoint is to be served with."""


def ignored(model: str | Path, *others: str) -> list[str]:
    """What `ignore` of a recipe needs so that vLLM leaves the MTP block unquantized."""
    return [*others, *mtpfix.names_of(model, vllm=VLLM).entries]


def finish(folder: str | Path) -> mtpfix.Report:
    """Repairs what `save_pretrained` wrote, if it needs that, and makes sure that it is right.

    Raises:
        SystemExit: no metadata makes it right.
    """
    report = mtpfix.check(folder, vllm=VLLM)
    if report.exit_code:
        with suppress(mtpfix.RefusedError):  # what stays wrong is said below
            mtpfix.rewrite(folder, vllm=VLLM, backup=False)
        report = mtpfix.check(folder, vllm=VLLM)
    if report.exit_code:
        raise SystemExit("\n".join(f"{found.code}: {found.message}" for found in report.findings))
    return report


def main(model: str, folder: str) -> None:
    """FP8 without calibration data, the MTP block left as it is."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    recipe = QuantizationModifier(
        targets="Linear", scheme="FP8_DYNAMIC", ignore=ignored(model, "lm_head")
    )
    oneshot(model=model, recipe=recipe, output_dir=folder)
    finish(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
