"""How entries of compressed-tensors are written: as a name, or as a pattern behind `re:`."""

from __future__ import annotations

import re

from mtpfix.quant.spelling import patterns

SPELLING = patterns(lambda name: rf"re:^{re.escape(name)}\..*", mark="re:")
