"""From a source to a checkpoint: metadata files, index, and only the headers that matter.

Which weight files count is decided as vLLM 0.20 to 0.33 decide it: the `*.safetensors` at
the top of the folder; only `consolidated*.safetensors` where there are any; and, with an
index, only the files that it names.
Source: vllm/model_executor/model_loader/{default_loader,weight_utils}.py
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NoReturn

from mtpfix.checkpoint.header import JOURNAL, parse_header
from mtpfix.checkpoint.source import READ_LIMIT, Source, climbs_out
from mtpfix.checkpoint.strict_json import loads, quick_table, shown
from mtpfix.errors import BrokenFileError, TargetError
from mtpfix.model import Checkpoint, JsonFile, Listing, Problem, Tensor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

CONFIG = "config.json"
CONFIGS = (
    CONFIG,
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
)
"""Files that may say how the weights are quantized, as vLLM's methods name them."""

SINGLE = "model.safetensors"
CONFIG_LIMIT = 16_000_000
"""Bytes of the longest configuration file; lists with an entry per expert have about 1 million."""

_ENTRY = 110
"""Bytes of an entry of a header besides the name, at most, if not written with blanks."""

OTHER_FORMAT = (
    "serve it with `--load-format safetensors`, or move consolidated*.safetensors out of the folder"
)
"""What helps where these files have the engine read another format."""

MAX_STRAYS = 64
"""Files outside the index whose headers are read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The weight files at the top of a folder, as the engine sorts them."""

    used: tuple[str, ...]
    """Files that may count, in the order in which they are loaded."""
    strays: tuple[str, ...]
    """Other safetensors files: no engine release reads them."""
    index: str | None
    """The index file that chooses among `used`."""


def listing(
    source: Source,
    *,
    need_config: bool = True,
    need_weights: bool = True,
    need_all: bool = True,
) -> Listing:
    """Reads the metadata of a checkpoint, and where each tensor is.

    Args:
        source: folder or repo.
        need_config: whether a missing `config.json` is an error.
        need_weights: whether it is an error that there are no safetensors files.
        need_all: whether it is one that shards are missing which the index names.

    Returns:
        The listing. Without an index, all headers have been read to make it.

    Raises:
        TargetError: a file that must be there is not, or cannot be read.
        BrokenFileError: a file is malformed.
    """
    target, files = source.target(), source.list()
    if need_config and CONFIG not in files:
        raise TargetError(
            f"{shown(target.name)}: no config.json", "Give the folder or repo of a whole model."
        )
    present = [name for name in CONFIGS if name in files]
    layout = layout_of(files)
    source.expect([*present, *filter(None, [layout.index])])
    found = Listing(
        target, files, {name: _json(source, name, CONFIG_LIMIT) for name in present}, {}, "none"
    )
    if need_weights and layout.used and all(map(_is_of_adapter, layout.used)):
        raise TargetError(
            f"{shown(target.name)}: the weights of an adapter ({shown(layout.used[0])}), no model",
            "Merge the adapter into its base model, and give that.",
        )
    if layout.index is not None:
        return _with_index(source, found, layout, layout.index, need_all)
    if layout.used:
        return _with_headers(source, found, layout)
    if need_weights:
        raise TargetError(
            f"{shown(target.name)}: no safetensors files",
            "mtpfix reads safetensors only: convert the weights, or give another target.",
        )
    return found


def _is_of_adapter(shard: str) -> bool:
    """Return whether a weight file is that of an adapter, such as a LoRA, by its name."""
    return shard.startswith("adapter_")


def open_shards(source: Source, listing: Listing, names: Collection[str]) -> Checkpoint:
    """Reads the headers of the shards that hold the named tensors, and of no others.

    Where one of them lacks such a tensor, it is looked for in all others. What an opened header
    says overrules the index: `shards` of the returned listing loses the tensors that are not
    there, and gains those the engine would load from an opened file although the index does not
    name them. `problems` has those of the listing, too.

    Args:
        source: where `listing` came from.
        listing: as `listing()` returned it.
        names: tensor names; those that no shard holds are passed over.

    Returns:
        The checkpoint, with the headers of the opened shards.

    Raises:
        TargetError: a shard cannot be read.
        BrokenFileError: a header is malformed.
    """
    wanted = sorted({listing.shards[name] for name in names if name in listing.shards})
    headers, mapped = _opened(source, listing, wanted)
    lost = {name for shard, its in mapped.items() for name in its - headers[shard].keys()}
    if not lost.isdisjoint(names):  # the engine reads them all: another one may hold it
        there = set(listing.files).intersection(listing.shards.values())
        headers, mapped = _opened(source, replace(listing, headers=headers), there)
    problems, shards = _compare(listing, headers, mapped)
    if problems:
        listing = replace(listing, shards=shards)
    return Checkpoint(listing, headers, (*listing.problems, *problems))


def _opened(
    source: Source, listing: Listing, wanted: Iterable[str]
) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, set[str]]]:
    """Reads more headers; returns all that were read, and the names that are mapped to each."""
    unread = [shard for shard in sorted(set(wanted)) if shard not in listing.headers]
    mapped: dict[str, set[str]] = {shard: set() for shard in (*listing.headers, *unread)}
    items = listing.shards.items()
    for name, shard in [(name, shard) for name, shard in items if shard in mapped]:
        mapped[shard].add(name)
    source.expect((), {shard: _length(mapped[shard]) for shard in unread})
    opened = {shard: _header(source, shard) for shard in unread}
    return {**listing.headers, **opened}, mapped


def _length(names: Collection[str]) -> int:
    """About how many bytes a header has that holds these names."""
    return 1024 + sum(map(len, names)) + _ENTRY * len(names)


def _json(source: Source, name: str, limit: int) -> JsonFile:
    return _parsed(source.read(name, limit=limit), name)


def _parsed(raw: bytes, name: str) -> JsonFile:
    value = loads(raw, name)
    if type(value) is not dict:
        _broken(name, "is not a JSON object", "Restore the file from the original repo.")
    return JsonFile(name, raw, value)


def _header(source: Source, shard: str) -> dict[str, Tensor]:
    raw, data_size = source.read_header(shard)
    try:
        return parse_header(raw, data_size=data_size, file=shard)
    except BrokenFileError as error:
        if f".{shard}{JOURNAL}" in source.list():
            raise BrokenFileError(error.message, _HALF) from None
        raise


_HALF = (
    "A run that gave tensors other names was cut short: `mtpfix rewrite --write` takes it back, in "
    "the folder where it ran. Elsewhere download the file again."
)


def layout_of(files: Iterable[str]) -> Layout:
    """Return the weight files among all files of a checkpoint, as the engine sorts them."""
    top = {name for name in files if "/" not in name}
    weights = {name for name in top if fnmatchcase(name, "[!.]*.safetensors")}
    used = {name for name in weights if name.startswith("consolidated")} or weights
    stem = "model" if used is weights else "consolidated"
    index = f"{stem}.safetensors.index.json"
    return Layout(
        used=tuple(sorted(used, key=_natural)),
        strays=tuple(sorted(weights - used)),
        index=index if index in top else None,
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key with numbers by value: the engine loads shard 2 before shard 10."""
    parts = re.findall(r"(\d{1,18})|(\D+)", name)
    return [(int(digits or 0), text) for digits, text in parts]


# --- with an index -----------------------------------------------------------


def _with_index(
    source: Source, found: Listing, layout: Layout, index: str, need_all: bool
) -> Listing:
    shards = weight_map(source, index)
    named = set(shards.values())
    missing = sorted(named.difference(layout.used))
    if missing and need_all:
        tensor = next(name for name, shard in shards.items() if shard == missing[0])
        raise TargetError(
            f"{shown(index)}: tensor {shown(tensor)} is in {shown(missing[0])}, which is not there"
            + (f" ({len(missing)} files are missing)" if len(missing) > 1 else ""),
            OTHER_FORMAT
            if missing[0] in layout.strays
            else "Download the missing shard. If its tensors are in another file of the folder, "
            "`mtpfix rewrite` corrects the index.",
        )
    unnamed = [name for name in layout.used if name not in named]
    problems, strays = _strays(source, [*unnamed, *layout.strays], index)
    return replace(
        found, shards=shards, layout="index", problems=problems, index=index, strays=strays
    )


_REMEDY = "Rebuild the index from the headers of the shards."


def _slow_table(raw: bytes, index: str) -> dict[str, str]:
    """Return the `weight_map`, or say what is wrong with it."""
    table = _parsed(raw, index).value.get("weight_map")
    if type(table) is not dict or not table:
        _broken(index, "has no weight_map that names a tensor", _REMEDY)
    if set(map(type, table.values())) != {str}:
        tensor = next(name for name, shard in table.items() if type(shard) is not str)
        _broken(index, f"tensor {shown(tensor)} is mapped to no file name", _REMEDY)
    return table


def weight_map(source: Source, index: str) -> dict[str, str]:
    """Return the `weight_map` of an index: tensor -> shard.

    Raises:
        BrokenFileError: it has none, or names what is no file of the folder.
    """
    raw = source.read(index, limit=READ_LIMIT)
    table = quick_table(raw, "weight_map", index) or _slow_table(raw, index)
    for shard in sorted(set(table.values())):
        if climbs_out(shard) or "/" in shard or "\\" in shard or not shard.endswith(".safetensors"):
            what = "is not the plain name of a safetensors file in the same folder"
            _broken(index, f"weight_map names {shown(shard)}, which {what}", _REMEDY)
    return table


# --- without one -------------------------------------------------------------


def _with_headers(source: Source, found: Listing, layout: Layout) -> Listing:
    source.expect((), dict.fromkeys(layout.used, 0))
    headers = {shard: _header(source, shard) for shard in layout.used}
    shards: dict[str, str] = {}
    twice: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for shard, header in headers.items():
        for name in header:
            if name in shards:
                twice[shards[name], shard].append(name)
            shards[name] = shard  # the file that is loaded last wins
    problems, strays = _strays(source, layout.strays, None)
    problems += tuple(
        _disagrees(later, f"holds tensors that are also in {shown(earlier)}", names)
        for (earlier, later), names in twice.items()
    )
    return replace(
        found, shards=shards, layout="headers", headers=headers, problems=problems, strays=strays
    )


# --- files that no engine reads ------------------------------------------------


def _strays(
    source: Source, names: Iterable[str], index: str | None
) -> tuple[tuple[Problem, ...], dict[str, dict[str, Tensor]]]:
    """Describes the safetensors files that the engine drops, and what they hold."""
    first = sorted(names, key=lambda name: name != SINGLE)
    source.expect((), dict.fromkeys(first[:MAX_STRAYS], 0))
    headers: dict[str, dict[str, Tensor]] = {}
    problems = []
    for number, shard in enumerate(first):
        why = ""
        if number >= MAX_STRAYS:
            why = f"of files that no engine loads only {MAX_STRAYS} headers are read"
        else:
            try:
                headers[shard] = _header(source, shard)
            except TargetError as error:  # no engine minds a broken leftover
                why = error.message
        problems.append(_stray(shard, index, tuple(headers.get(shard, ())), why))
    return tuple(problems), headers


def _stray(shard: str, index: str | None, tensors: tuple[str, ...], unread: str) -> Problem:
    """Describe a file that no engine loads; `unread` says why its header was not read."""
    said = f"{shown(index)} does not name it" if index else "consolidated*.safetensors are loaded"
    what = f"{shown(shard)}: {said}" + (
        f", and its header was not read: {unread}" if unread else ""
    )
    shadowed = shard == SINGLE and index is not None
    kind: Literal["shadowed_index", "not_in_index"] = (
        "shadowed_index" if shadowed else "not_in_index"
    )
    return Problem(kind, what, shard, tensors, unread=bool(unread))


# --- index against headers ---------------------------------------------------


def _compare(
    listing: Listing,
    headers: Mapping[str, Mapping[str, Tensor]],
    mapped: Mapping[str, set[str]],
) -> tuple[list[Problem], dict[str, str]]:
    """Sets opened headers against the index; returns the problems and the corrected map."""
    if listing.layout != "index":
        return [], {}
    if all(names == headers[shard].keys() for shard, names in mapped.items()):
        return [], {}
    shards = dict(listing.shards)
    problems = []
    for shard, names in mapped.items():
        lost = names - headers[shard].keys()
        for name in lost:
            del shards[name]
        if lost:
            problems.append(_disagrees(shard, "lacks tensors that the index maps to it", lost))
    for shard, names in mapped.items():
        extra = headers[shard].keys() - names
        for name in sorted(extra):
            shards.setdefault(name, shard)
        if extra:
            what = "holds tensors that the index does not map to it, and whole files are loaded"
            problems.append(_disagrees(shard, what, extra))
    return problems, shards


def _disagrees(shard: str, what: str, names: Iterable[str]) -> Problem:
    tensors = tuple(sorted(names))
    first = f"{len(tensors)}, the first is {shown(tensors[0])}"
    return Problem("header_disagrees", f"{shown(shard)}: {what} ({first})", shard, tensors)


def _broken(file: str, what: str, remedy: str) -> NoReturn:
    raise BrokenFileError(f"{shown(file)}: {what}", remedy)
