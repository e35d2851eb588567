"""Reads the sources of a vLLM release: names, constructions, rewrites and matchers; runs none."""
