"""What it takes to construct Ling and Ring 2.5 (Bailing MoE V2.5) on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("bailing_hybrid", "bailing_moe_linear")
