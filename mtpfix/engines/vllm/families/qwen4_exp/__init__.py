"""Qwen4-Exp, with and without the vision wrapper."""
