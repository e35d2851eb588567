"""GPTQ: one scheme for every layer, but for the rules of `dynamic`.

Read as `from_config` of vLLM's and of SGLang's configuration classes reads it.
"""

from __future__ import annotations

from mtpfix.model import QuantView
from mtpfix.quant.location import Location, keys

METHOD, KEY = "gptq", "dynamic"
SKIP, CHANGE = "-:", "+:"
"""What a rule begins with: its modules are not quantized, or quantized otherwise."""


def read(location: Location) -> QuantView:
    """Return what metadata says.

    Raises:
        BrokenFileError: the rules are no object.
    """
    where = location.at(KEY)
    rules = keys(location.file, where, location.value.get(KEY))
    return QuantView(
        method=METHOD,
        file=location.file,
        pointer=location.pointer,
        ignore=rules,
        ignore_pointer=where,
        groups=(),
        format="gptq",
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        keyed=True,
        stub={},
        foremost=not all(rule.text.startswith(SKIP) for rule in rules),
        null=KEY in location.value and location.value[KEY] is None,
    )
