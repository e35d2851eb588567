"""Patterns of strangers, compared with names in bounded time. Knows no engine."""

from __future__ import annotations

from mtpfix.patterns.entries import (
    Entries,
    Listed,
    PatternError,
    bounded,
    fits_start,
    fits_whole,
    found_in,
    is_pattern,
    shared_answers,
)

__all__ = [
    "Entries",
    "Listed",
    "PatternError",
    "bounded",
    "fits_start",
    "fits_whole",
    "found_in",
    "is_pattern",
    "shared_answers",
]
