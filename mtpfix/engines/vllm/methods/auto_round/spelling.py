"""How keys of auto-round's `extra_config` are written: as a name, or as a regex without a mark."""

from __future__ import annotations

import re

from mtpfix.quant.spelling import patterns

SPELLING = patterns(lambda name: rf"^{re.escape(name)}(\..*)?$")
