"""How keys of GPTQ's `dynamic` are written: as a pattern behind `-:`."""

from __future__ import annotations

import re

from mtpfix.quant.readers.gptq import SKIP
from mtpfix.quant.spelling import Spelling


def _whole(name: str) -> str:
    return f"{SKIP}^{re.escape(name)}$"


SPELLING = Spelling(
    name=_whole,
    experts=_whole,
    block=lambda root: f"{SKIP}^{re.escape(root)}.*",
    mark=SKIP,
    syntax="pattern",
)
