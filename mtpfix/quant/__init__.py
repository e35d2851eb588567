"""Quantization metadata as such: where it stands, how its entries are spelled and changed.

Which metadata an engine takes, and how it reads it, is the engine's: `engines/vllm/metadata.py`.
"""

from __future__ import annotations

from mtpfix.quant.edits import Change, changed, edit, listed
from mtpfix.quant.location import Location

__all__ = ["Change", "Location", "changed", "edit", "listed"]
