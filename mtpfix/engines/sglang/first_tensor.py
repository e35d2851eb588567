"""The tensor whose dtype tells SGLang how routed experts are stored, before it builds any. Pure.

Of an index it is the first that fits in the order of the file; else the first in the header of the
file that sorts first. Source: `probe_routed_expert_weight_dtype` in `model_loader/weight_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from mtpfix.engines.sglang.records import Probe
from mtpfix.model import Checkpoint, Listing

UNKNOWN = "unknown"
"""What stands for a dtype whose header was not read."""


def tensor(found: Listing, probe: Probe) -> str | None:
    """Return the name of the tensor; None: there is none."""
    names: Iterable[str] = found.shards
    if found.layout != "index":
        names = found.headers[min(found.headers)] if found.headers else ()
    return _first(names, probe.tensors)


_TOGETHER = 4096
"""Names that are searched at once: of 280,000, each alone takes ten times as long."""


def _first(names: Iterable[str], pattern: str) -> str | None:
    """Return the first name that a pattern is found in; None: in none."""
    together, search = re.compile(pattern, re.MULTILINE).search, re.compile(pattern).search
    rest = iter(names)
    while some := list(islice(rest, _TOGETHER)):
        # What is found in a name is found in its line, too; a line break is no end of a name.
        if together("\n".join(some)):
            found = next(filter(search, some), None)
            if found is not None:
                return found
    return None


def probed(checkpoint: Checkpoint | None, probe: Probe) -> str:
    """Return the word for how the tensor is stored.

    Args:
        checkpoint: the files; None: they do not exist yet.
        probe: what is looked for.
    """
    if checkpoint is None:
        return UNKNOWN
    name = tensor(checkpoint.listing, probe)
    if name is None:
        return probe.otherwise
    header = checkpoint.tensor(name)
    return UNKNOWN if header is None else probe.dtypes.get(header.dtype, probe.otherwise)
