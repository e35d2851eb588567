"""What it takes to construct Ling and Ring 3 (Bailing MoE V3) on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("bailing_moe_v3", "bailing_hybrid_v3")
