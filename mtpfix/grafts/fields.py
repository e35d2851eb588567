"""What `config.json` says of the MTP block, taken over from the base. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from mtpfix.checkpoint.load import CONFIG
from mtpfix.errors import RefusedError
from mtpfix.model import Edit, Json
from mtpfix.quant.location import escape

_ABOUT = re.compile(r"(?:^|_)(?:mtp|nextn)(?:_|$)")
"""Names of fields that describe the MTP block, in whatever family."""
_SIZE = re.compile(r"_(?:size|heads|dim|rank|experts|layers)$")
"""Names of fields that shapes of the MTP block rest on."""
_LAYERS = "num_hidden_layers"
_VOCABULARY = "vocab_size"
_ABSENT = object()


class Section(NamedTuple):
    """An object of `config.json` that describes the text model, or the whole.

    Attributes:
        pointer: where it stands; empty: at the top.
        fields: what it holds.
    """

    pointer: str
    fields: Mapping[str, Json]


def text_section(config: Mapping[str, Json], key: str) -> Section:
    """Return the object that the fields of the text model stand in.

    Args:
        config: the parsed `config.json`.
        key: where the family nests them; they may stand at the top all the same.
    """
    nested = config.get(key) if key else None
    return (
        Section(f"/{escape(key)}", nested) if isinstance(nested, Mapping) else Section("", config)
    )


def refuse_other_sizes(ours: Section, theirs: Section, *, vocabulary: bool) -> None:
    """Refuse a base whose layers are of other sizes.

    Args:
        ours: the text model of the target.
        theirs: that of the base.
        vocabulary: whether the block has tensors of the size of the vocabulary.

    Raises:
        RefusedError: a size differs.
    """
    for key, value in theirs.fields.items():
        mine = ours.fields.get(key, value)
        counts = _SIZE.search(key) and not _ABOUT.search(key)
        if not counts or (key == _VOCABULARY and not vocabulary):
            continue
        if isinstance(value, int) and isinstance(mine, int) and mine != value:
            raise RefusedError(
                f"config.json: {key} is {mine} here and {value} in the base",
                "give the model that this checkpoint was made from",
            )


def taken_over(ours: Section, theirs: Section) -> Iterator[Edit]:
    """Yield the edits of `config.json` that declare the block as the base does.

    These are the fields that are about MTP and say something else here, and lists with one
    value a layer that were cut to the layers of the target model.

    Args:
        ours: an object of the target's `config.json`.
        theirs: the same of the base's.
    """
    for key, value in theirs.fields.items():
        mine = ours.fields.get(key, _ABSENT)
        if mine == value or not (_ABOUT.search(key) or _was_cut(mine, value, ours)):
            continue
        yield Edit(CONFIG, f"{ours.pointer}/{escape(key)}", "add", value)
    for key, mine in ours.fields.items():
        if _ABOUT.search(key) and mine == 0 and mine is not False and key not in theirs.fields:
            yield Edit(CONFIG, f"{ours.pointer}/{escape(key)}", "remove")


def _was_cut(mine: Json, value: Json, ours: Section) -> bool:
    """Return whether a list of the base lost its end, which is about the MTP layers."""
    layers = ours.fields.get(_LAYERS)
    if not (isinstance(mine, list) and isinstance(value, list) and layers == len(mine)):
        return False
    return len(value) > len(mine) and value[: len(mine)] == mine


# --- the other way --------------------------------------------------------------------


def declarations(config: Mapping[str, Json], text: str, keys: Collection[str]) -> Iterator[str]:
    """Yield the pointers of all fields that count MTP layers.

    Args:
        config: the parsed `config.json`.
        text: key of the nested text model.
        keys: fields that declare MTP layers, in whatever family.
    """
    places = [Section("", config)]
    if text and isinstance(config.get(text), Mapping):
        places.append(Section(f"/{escape(text)}", config[text]))
    for place in tuple(places):
        nested = place.fields.get("mtp_config")
        if isinstance(nested, Mapping):
            places.append(Section(f"{place.pointer}/mtp_config", nested))
    for place in places:
        for key, value in place.fields.items():
            if key in keys and isinstance(value, int):
                yield f"{place.pointer}/{escape(key)}"
