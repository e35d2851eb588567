"""What it takes to construct openPangu-Ultra-MoE on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("pangu_ultra_moe")
