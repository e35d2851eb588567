"""How keys of auto-round's `extra_config` are written: as a name, or as a regex without a mark."""

from __future__ import annotations

import re

from mtpfix.quant.spelling import Spelling

SPELLING = Spelling(
    name=lambda name: name or "^$",
    experts=lambda name: rf"^{re.escape(name)}(\..*)?$",
    block=lambda root: f"^{re.escape(root)}.*",
    unmapped=lambda name: f"^{re.escape(name)}$",
    syntax="pattern",
)
