"""The base that a block is taken from: read, and compared with the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mtpfix.checkpoint.inventory import FLOATS
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.checkpoint.strict_json import shown
from mtpfix.engines.base import Engine
from mtpfix.engines.opening import Family, Reading
from mtpfix.errors import MtpfixError, RefusedError
from mtpfix.grafts import lineage
from mtpfix.grafts.fields import Section, text_section
from mtpfix.grafts.pieces import Stored, stored
from mtpfix.model import Checkpoint, Json, Target
from mtpfix.subject import config_of


@dataclass(frozen=True)
class Donor:
    """A checkpoint with an MTP block.

    Attributes:
        source: its files.
        config: its parsed `config.json`.
        checkpoint: its listing, and the headers of the shards that hold the block.
        reading: what the engine reads in it.
        family: what the engine knows of its family.
    """

    source: Remembered
    config: Mapping[str, Json]
    checkpoint: Checkpoint
    reading: Reading
    family: Family

    @property
    def target(self) -> Target:
        """What the user named, with its commit."""
        return self.checkpoint.listing.target

    @property
    def text(self) -> Section:
        """The fields of the text model."""
        return text_section(self.config, self.family.text)

    @property
    def roots(self) -> tuple[str, ...]:
        """Beginnings of the names of the block's tensors."""
        return self.reading.block.roots or ()

    def block(self) -> tuple[Stored, ...]:
        """Return the tensors of the block, where they lie."""
        shards = self.checkpoint.listing.shards
        names = [name for name in shards if name.startswith(self.roots)]
        starts = {shard: self.source.data_start(shard) for shard in {shards[n] for n in names}}
        return tuple(stored(name, self.checkpoint, starts) for name in names)


def read(source: Source, engine: Engine) -> Donor:
    """Read what has to be known of a base.

    Raises:
        RefusedError: it has no MTP block.
        MtpfixError: it cannot be read.
    """
    kept = Remembered(source)
    try:
        found = listing(kept)
        config = config_of(found)
        reading = engine.read(found, config)
        checkpoint = open_shards(kept, found, reading.block.tensors)
    except MtpfixError as error:  # whose file it is, its name does not tell
        raise error.of("base") from None
    name = shown(found.target.name)
    if reading.family is None:
        why = reading.unknown_family
        raise RefusedError(
            f"base: {name}: {'no policy for this model' if why is None else why.message}",
            "give the model that this checkpoint was made from",
        )
    if reading.other is not None:
        raise RefusedError(
            f"base: {name}: its draft is {reading.other.title}, not MTP",
            "give a base with an MTP block",
        )
    if not reading.block.tensors:
        raise RefusedError(
            f"base: {name}: it has no tensor of an MTP block either",
            "give the original model, or take the declaration out: mtpfix graft --drop",
        )
    return Donor(kept, config, checkpoint, reading, reading.family)


# --- lineage ----------------------------------------------------------------------------

AT_ONCE = 8
"""Pairs that are compared side by side."""


def compare(
    ours: Remembered, target: Checkpoint, roots: tuple[str, ...], base: Donor
) -> lineage.Lineage:
    """Return what the base is to the target, by bytes of small tensors.

    Args:
        ours: the target's files.
        target: the target, all of its headers read.
        roots: beginnings of the names of MTP tensors in the target.
        base: the base.

    Raises:
        RefusedError: tensors of one name have other shapes.
    """
    theirs = base.checkpoint.listing.shards
    near = [name for header in base.checkpoint.headers.values() for name in header]
    pairs = lineage.chosen(
        [name for name in target.listing.shards if not name.startswith(roots)],
        [name for name in theirs if not name.startswith(base.roots)],
        near,
    )
    opened = open_shards(base.source, base.checkpoint.listing, {pair.theirs for pair in pairs})
    found = list(_comparable(target, opened, pairs))

    def equal(pair: lineage.Pair) -> bool:
        mine = _slice(ours, target, pair.ours)
        return mine == _slice(base.source, opened, pair.theirs)

    with ThreadPoolExecutor(AT_ONCE) as pool:  # over a network nearly all of it is waiting
        return lineage.judged(zip(found, pool.map(equal, found), strict=True))


def _comparable(
    target: Checkpoint, base: Checkpoint, pairs: Iterable[lineage.Pair]
) -> Iterator[lineage.Pair]:
    """Yield the pairs whose bytes can be equal; refuse a base of other shapes."""
    for pair in pairs:
        one, other = target.tensor(pair.ours), base.tensor(pair.theirs)
        if one is None or other is None or one.dtype not in FLOATS or one.dtype != other.dtype:
            continue
        if one.shape != other.shape:
            if pair.kind == "embedding":  # a vocabulary that was extended
                continue
            raise RefusedError(
                f"{pair.ours!r:.120} is of shape {list(one.shape)} here and {list(other.shape)} in "
                "the base",
                "give the model that this checkpoint was made from",
            )
        yield pair


def _slice(source: Remembered, checkpoint: Checkpoint, name: str) -> bytes:
    """Return some bytes from the middle of a tensor."""
    shard = checkpoint.listing.shards[name]
    tensor = checkpoint.headers[shard][name]
    begin = source.data_start(shard) + tensor.begin
    middle = begin + max(0, (tensor.end - tensor.begin - lineage.SLICE) // 2)
    return b"".join(
        source.stream(shard, middle, min(middle + lineage.SLICE, begin + tensor.end - tensor.begin))
    )
