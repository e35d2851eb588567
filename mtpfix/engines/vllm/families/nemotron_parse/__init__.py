"""Nemotron-Parse 3.5."""
