"""What it takes to construct Nemotron-H and Nemotron 3 on a CPU."""

from __future__ import annotations

from ..._child.patch import generic_config

generic_config("nemotron_h_puzzle")
