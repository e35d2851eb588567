"""How entries of compressed-tensors are written: as a name, or as a pattern behind `re:`."""

from __future__ import annotations

import re

from mtpfix.quant.spelling import Spelling

SPELLING = Spelling(
    name=lambda name: name or "re:^$",
    experts=lambda name: rf"re:^{re.escape(name)}\..*",
    block=lambda root: f"re:^{re.escape(root)}.*",
    unmapped=lambda name: f"re:^{re.escape(name)}$",
    mark="re:",
    syntax="pattern",
)
