"""compressed-tensors: `config_groups` with targets, and the list `ignore`.

Read as `CompressedTensorsConfig.from_config` of vLLM and of SGLang reads it
(`quantization/compressed_tensors/compressed_tensors.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.errors import BrokenFileError
from mtpfix.model import Group, QuantView
from mtpfix.quant.location import Location, entries, mapping, text

METHOD = "compressed-tensors"
MAX_GROUPS = 256
"""Groups of the longest metadata that is read; recipes have a handful."""


def read(location: Location) -> QuantView:
    """Reads the metadata.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    where = location.at("ignore")
    return QuantView(
        method=METHOD,
        file=location.file,
        pointer=location.pointer,
        ignore=entries(location.file, where, location.value.get("ignore")),
        ignore_pointer=where,
        groups=tuple(_groups(location)),
        format=text(location.file, location.at("format"), location.value.get("format")),
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        null="ignore" in location.value and location.value["ignore"] is None,
    )


def _groups(location: Location) -> Iterable[Group]:
    file, groups = location.file, location.at("config_groups")
    found = mapping(file, groups, location.value.get("config_groups")) or {}
    if len(found) > MAX_GROUPS:
        raise BrokenFileError(
            f"{file}: {groups} has {len(found):,} groups; mtpfix reads at most {MAX_GROUPS:,}",
            "give modules of one scheme one group, with a target for each",
        )
    for name, value in found.items():
        here = location.at("config_groups", name)
        group = mapping(file, here, value)
        if group is None:
            raise BrokenFileError(f"{file}: {here} is not an object", "remove the empty group")
        targets = entries(file, f"{here}/targets", group.get("targets", ""))
        # Attention groups only carry KV-cache scales; vLLM leaves them out.
        if len(targets) == 1 and targets[0].text.endswith("Attention"):
            continue
        sides = {
            side: mapping(file, f"{here}/{side}", group.get(side))
            for side in ("weights", "input_activations", "output_activations")
        }
        format = text(file, f"{here}/format", group.get("format"))  # noqa: A001
        yield Group(name=name, targets=targets, format=format, **sides)
