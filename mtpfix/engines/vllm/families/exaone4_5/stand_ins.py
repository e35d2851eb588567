"""What it takes to construct EXAONE 4.5 on a CPU."""

from __future__ import annotations

from ..._child.patch import module, patch


@patch(until=(0, 22), only=("exaone4_5",))
def exaone_image_processor() -> None:
    """EXAONE-4.5 gets a dummy image processor: the installed transformers has none to import."""
    holder = module("transformers.models.exaone4_5")
    if holder is not None and not hasattr(holder, "Exaone4_5_ImageProcessor"):
        holder.Exaone4_5_ImageProcessor = type("Exaone4_5_ImageProcessor", (), {})
