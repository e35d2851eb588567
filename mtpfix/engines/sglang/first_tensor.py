"""The tensor whose dtype tells SGLang how routed experts are stored, before it builds any. Pure.

Of an index it is the first that fits in the order of the file; else the first in the header of the
file that sorts first. Source: `probe_routed_expert_weight_dtype` in `model_loader/weight_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mtpfix.engines.sglang.records import Probe
from mtpfix.model import Checkpoint, Listing

UNKNOWN = "unknown"
"""What stands for a dtype whose header was not read."""


def tensor(found: Listing, probe: Probe) -> str | None:
    """Return the name of the tensor; None: there is none."""
    names: Iterable[str] = found.shards
    if found.layout != "index":
        names = found.headers[min(found.headers)] if found.headers else ()
    search = re.compile(probe.tensors).search
    return next((name for name in names if search(name)), None)


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
