"""Ling and Ring 2.5 (Bailing MoE V2.5)."""
