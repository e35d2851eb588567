"""Ling and Ring 3 (Bailing MoE V3)."""
