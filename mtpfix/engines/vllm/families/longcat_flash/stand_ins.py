"""What it takes to construct LongCat-Flash on a CPU."""

from __future__ import annotations

from typing import Any

from ..._child.patch import module, patch


@patch(until=(0, 28))
def longcat_config() -> None:
    """LongCat's configuration may be set freely: the installed transformers checks the type."""
    holder = module("transformers.models.longcat_flash.configuration_longcat_flash")
    if holder is None:
        return
    cls = holder.LongcatFlashConfig
    real = cls.__setattr__

    def put(self: Any, name: str, value: Any) -> None:
        try:
            real(self, name, value)
        except Exception:  # noqa: BLE001 - the checker has an error class of its own
            object.__setattr__(self, name, value)

    cls.__setattr__ = put
