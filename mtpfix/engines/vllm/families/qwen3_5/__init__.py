"""Qwen3.5 with the vision wrapper, dense and MoE."""
