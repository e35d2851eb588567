"""What it takes to construct MiMo on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("mimo", base="Qwen2Config")
