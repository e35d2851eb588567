"""Nemotron-3.5-Transcribe."""
