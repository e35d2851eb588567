"""How keys of GPTQ's `dynamic` are written: as a pattern behind `-:`."""

from __future__ import annotations

import re

from mtpfix.quant.spelling import Spelling


def _whole(name: str) -> str:
    return f"-:^{re.escape(name)}$"


SPELLING = Spelling(
    name=_whole,
    experts=_whole,
    block=lambda root: f"-:^{re.escape(root)}.*",
    mark="-:",
    syntax="pattern",
)
