"""Reads a target as far as it has to be read, and says what it is to each engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import Engine
from mtpfix.engines.opening import (
    UNQUANTIZED,
    Analyzable,
    Draft,
    Files,
    NoQuantization,
    Opening,
    Reading,
    Unsupported,
)
from mtpfix.engines.registry import DEFAULT, engine
from mtpfix.errors import BrokenFileError, MtpfixError, UnknownError
from mtpfix.model import Json, JsonFile, Listing

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """A target that was read, and what it is to each engine that was asked.

    Attributes:
        files: what was read, whoever the engine.
        readings: what each engine reads in the target's files.
        openings: what the target is to each engine.
    """

    files: Files
    readings: Mapping[Engine, Reading]
    openings: Mapping[Engine, Opening]


def open_subject(
    source: Source,
    engines: Sequence[Engine] = (),
    *,
    trunk: bool = False,
    draft: Source | None = None,
) -> Subject:
    """Read configuration and index, then the headers of the shards that matter to the engines.

    Args:
        source: folder or repo.
        engines: who is asked; none: the default engine.
        trunk: whether the headers of all shards are read.
        draft: the checkpoint that the MTP block is loaded from, if that is another one.

    Raises:
        MtpfixError: something that must be there cannot be read.
    """
    asked = tuple(engines) or (engine(DEFAULT),)
    found = listing(source, need_all=draft is None)
    config = config_of(found)
    readings = {each: each.read(found, config, own_draft=draft is None) for each in asked}
    wanted: dict[str, None] = {}
    for reading in readings.values():
        wanted.update(dict.fromkeys(_wanted(reading, found, trunk=trunk, elsewhere=draft)))
    checkpoint = open_shards(source, found, wanted.keys())
    files = Files(config, checkpoint, Inventory(checkpoint))
    drafts = {} if draft is None else _read_draft(draft, asked)
    openings = {
        each: _opening(each, reading, replace(files, draft=drafts.get(each)), trunk=trunk)
        for each, reading in readings.items()
    }
    return Subject(replace(files, draft=next(iter(drafts.values()), None)), readings, openings)


def _wanted(
    reading: Reading, found: Listing, *, trunk: bool, elsewhere: Source | None
) -> Iterable[str]:
    """Return the tensors whose headers an engine needs."""
    if reading.other is not None and elsewhere is None:
        return ()
    if reading.family is not None and (trunk or reading.reads_headers):
        return found.shards.keys()
    if elsewhere is not None and reading.block.unclear is None:
        return (*reading.block.alone, *reading.block.beside)  # nothing loads the target's block
    return reading.block.wanted()


def _read_draft(source: Source, engines: Iterable[Engine]) -> dict[Engine, Draft]:
    """Return the checkpoint that the MTP block is loaded from, as each engine reads it."""
    try:
        found = listing(source)
        config = config_of(found)
        readings = {each: each.read(found, config) for each in engines}
        wanted = {name: None for reading in readings.values() for name in reading.block.wanted()}
        checkpoint = open_shards(source, found, wanted.keys())
    except UnknownError:
        raise
    except MtpfixError as error:  # whose file it is, its name does not tell
        raise error.of("draft") from None
    inventory = Inventory(checkpoint)
    return {each: Draft(r, config, checkpoint, inventory) for each, r in readings.items()}


def _opening(asked: Engine, reading: Reading, files: Files, *, trunk: bool) -> Opening:
    """Return what a target is to an engine."""
    draft = files.draft
    other = reading.other if draft is None else draft.reading.other
    if other is not None:
        return other
    family = reading.family
    akin = draft is None or _is_akin(reading, draft)
    error = _unknown(asked, reading, draft, trunk=trunk)
    view = reading.view or UNQUANTIZED
    known = None if family is None else Analyzable(asked, files, reading, family, view)
    if error is not None:
        return Unsupported(error, reading, known if akin else None)
    return known or NoQuantization()


def _unknown(
    asked: Engine, reading: Reading, draft: Draft | None, *, trunk: bool
) -> UnknownError | None:
    """Return why a target cannot be judged, or None."""
    if reading.family is None and reading.method is not None:
        return reading.unknown_family
    if reading.unreadable is not None:
        return reading.unreadable
    every = trunk or reading.reads_headers
    if reading.method is not None and not every and reading.block.unclear is not None:
        return reading.block.unclear
    return reading.unknown_family if draft is None else _unknown_draft(asked, reading, draft)


def _unknown_draft(asked: Engine, reading: Reading, draft: Draft) -> UnknownError | None:
    """Return why a draft from elsewhere cannot be judged, or None."""
    if reading.family is not None and not _is_akin(reading, draft):
        return UnknownError(
            "the draft's checkpoint belongs to another family than the target",
            "give a draft that was made for this model",
        )
    theirs = draft.reading.unreadable
    if theirs is not None and draft.reading.method is not None:
        return UnknownError(
            f"{asked.title} reads the draft's own metadata first: {theirs.message}",
            theirs.remedy,
        )
    return draft.reading.block.unclear or reading.unknown_family


def _is_akin(reading: Reading, draft: Draft) -> bool:
    """Return whether a draft from elsewhere is of the target's family."""
    theirs = draft.reading.family
    if reading.family is None or theirs is None:
        return reading.family is theirs
    return reading.family.family == theirs.family


def config_of(found: Listing) -> Mapping[str, Json]:
    """Return the parsed `config.json`.

    Raises:
        BrokenFileError: it holds something else than an object.
    """
    config = found.configs["config.json"].value
    if not isinstance(config, dict):
        raise BrokenFileError("config.json: not an object", "give the config.json of a model")
    return config


def patched(subject: Subject, files: Mapping[str, tuple[bytes, bytes]]) -> Subject:
    """Return the target as it would be read after `files` (old and new bytes) were written."""
    configs = dict(subject.files.listing.configs)
    for name, (_, new) in files.items():
        configs[name] = JsonFile(name, new, strict_json.loads(new, name))
    found = replace(subject.files.listing, configs=configs)
    config = config_of(found)

    def after(old: Files) -> Files:
        return replace(old, config=config, checkpoint=replace(old.checkpoint, listing=found))

    def reopened(opening: Opening) -> Opening:
        if not isinstance(opening, Analyzable):
            return opening
        view = opening.engine.metadata(configs) or UNQUANTIZED
        return replace(opening, files=after(opening.files), view=view)

    openings = {asked: reopened(opening) for asked, opening in subject.openings.items()}
    return Subject(after(subject.files), subject.readings, openings)


def renamed(subject: Subject, names: Mapping[str, str]) -> Subject:
    """Return the target as it would be read if tensors had other names.

    Args:
        subject: the target; it holds its own MTP block.
        names: old -> new name.
    """

    def after(shards: Mapping[str, T]) -> dict[str, T]:
        return {names.get(name, name): each for name, each in shards.items()}

    old = subject.files.checkpoint
    headers = {shard: after(header) for shard, header in old.headers.items()}
    kept = {shard: headers[shard] for shard in old.listing.headers}
    found = replace(old.listing, shards=after(old.listing.shards), headers=kept)
    checkpoint = replace(old, listing=found, headers=headers)
    files = replace(subject.files, checkpoint=checkpoint, inventory=Inventory(checkpoint))
    readings = {each: each.read(found, files.config) for each in subject.readings}
    openings = {each: _opening(each, r, files, trunk=False) for each, r in readings.items()}
    return Subject(files, readings, openings)
