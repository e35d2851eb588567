"""auto-round: bits for every layer of some blocks, and other bits by name in `extra_config`.

Read as `INCConfig.from_config` of vLLM (`quantization/inc/`, `inc.py` before 0.24) and
`AutoRoundConfig.from_config` of SGLang (`quantization/auto_round.py`) read it. A key of
`extra_config` is a name, the end of one, or a regex; with 16 bits or more it exempts what it fits.
"""

from __future__ import annotations

from mtpfix.errors import BrokenFileError
from mtpfix.model import Entry, Group, Json, QuantView
from mtpfix.quant.location import Location, entries, keys, mapping, refuse_too_many

METHOD = "auto-round"
KEY = "extra_config"
BLOCKS = ("block_name_to_quantize", "to_quant_block_names")
"""The keys for the names of the blocks; the first that is there counts."""
PLAIN = {"bits": 16}
"""What auto-round writes about a layer that it leaves as it is."""


def read(location: Location) -> QuantView:
    """Reads the metadata.

    The names of the blocks are the targets of one group; what the keys say stays in `raw`.

    Raises:
        BrokenFileError: a part has another type than the format allows.
    """
    where = location.at(KEY)
    bits = location.value.get("bits")
    if bits is not None and not _is_number(bits):
        raise _without_bits(location.file, location.at("bits"))
    extra = mapping(location.file, where, location.value.get(KEY)) or {}
    found = keys(location.file, where, location.value.get(KEY))
    for entry in found:
        said = mapping(location.file, entry.pointer, extra[entry.text])
        if said is None or not _is_number(said.get("bits", 16)):
            raise _without_bits(location.file, entry.pointer)
    return QuantView(
        method=METHOD,
        file=location.file,
        pointer=location.pointer,
        ignore=found,
        ignore_pointer=where,
        groups=_blocks(location),
        format=None,
        files=(f"{location.file}#{location.pointer}",),
        raw=location.value,
        keyed=True,
        stub=dict(PLAIN),
        null=KEY in location.value and location.value[KEY] is None,
    )


def _blocks(location: Location) -> tuple[Group, ...]:
    key = next((key for key in BLOCKS if key in location.value), None)
    if key is None:
        return ()
    value, where = location.value[key], location.at(key)
    if isinstance(value, str):
        refuse_too_many(location.file, where, value.count(",") + 1)
        names = tuple(Entry(name, location.file, where) for name in value.split(","))
    else:
        names = entries(location.file, where, value)
    return (Group(key, names, None, None),) if names else ()


def _without_bits(file: str, pointer: str) -> BrokenFileError:
    hint = 'write "bits": 4, or as many as a weight has; 16 where none is quantized'
    return BrokenFileError(f"{file}: {pointer} has no number of bits", hint)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float)
