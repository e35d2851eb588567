"""Kimi-K3."""
