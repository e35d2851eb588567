"""What it takes to construct MiMo-V2: Flash, Pro, V2.5 and Omni on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("mimo_v2", "mimo_v2_pro")
