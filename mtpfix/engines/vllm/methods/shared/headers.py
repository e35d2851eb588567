"""What vLLM makes of safetensors headers where the metadata names no modules. Pure.

AWQ and GPTQ then take their list from the dtypes of the tensors: whatever stands before the
last part of a tensor's name is a module, quantized where anything in it is no plain float.
Such names are compared as parts of names, like written ones: one that holds a bare parameter
beside its layers (`A_log`, `e_score_correction_bias`) speaks of all these layers too. Source:
`maybe_update_config` of `AutoAWQConfig` and `AutoGPTQConfig`, unchanged from 0.20 to 0.33.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.model import HEADERS, Entry, Group, QuantView

EXEMPTS, NAMES = "awq", "gptq"
"""Methods whose scan yields what is not quantized, and what is."""


def reads_headers(view: QuantView) -> bool:
    """Whether vLLM reads headers under this metadata: it names no modules, or there is no list."""
    if view.method == EXEMPTS:
        return not view.ignore
    return view.method == NAMES and not any(group.targets for group in view.groups)


def scanned(view: QuantView, inventory: Inventory) -> QuantView:
    """The metadata with the list that vLLM takes from the headers, where it reads them."""
    if not reads_headers(view):
        return view
    found = tuple(derived(view, inventory))
    if view.method == EXEMPTS:
        return replace(view, ignore=found)
    return replace(view, groups=(Group("", found, None, None),))


def derived(view: QuantView, inventory: Inventory) -> Iterator[Entry]:
    """The list: of plain modules for AWQ, of quantized ones for GPTQ.

    Routed experts are never asked about by their own names, so that expert 0 stands for all.
    """
    plain = view.method == EXEMPTS
    for name, parent in inventory.parents.items():
        if parent.plain == plain:
            yield Entry(name, HEADERS, "")
