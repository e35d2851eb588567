"""Reads a target as far as it has to be read: configuration, index, some headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mtpfix.checkpoint import strict
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import Source
from mtpfix.engines.vllm import metadata, names, policy
from mtpfix.engines.vllm.drafts import OtherDraft, by_architecture, by_tensors
from mtpfix.engines.vllm.methods.shared.headers import reads_headers
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import BrokenFileError, MtpfixError, UnknownError
from mtpfix.model import Checkpoint, Json, JsonFile, Listing, QuantView, Target
from mtpfix.quant import foreign


@dataclass(frozen=True)
class Draft:
    """The checkpoint that the MTP block is loaded from, where that is not the target.

    Attributes:
        config: its parsed `config.json`.
        method: the quantization method as its own metadata names it; empty if it has none.
        checkpoint: its listing, and the headers of the shards that the draft is in.
        inventory: its tensors by module.
    """

    config: Mapping[str, Json]
    method: str
    checkpoint: Checkpoint
    inventory: Inventory

    @property
    def target(self) -> Target:
        """What the user named."""
        return self.checkpoint.listing.target


@dataclass(frozen=True)
class Opened:
    """A target, read as far as it is needed.

    Attributes:
        config: the parsed `config.json`.
        policy: what is known of its family; None if it is not known.
        view: the quantization metadata; None if there is none, or no dialect for it.
        method: the quantization method as the metadata names it.
        checkpoint: the listing and the headers of the shards that matter.
        inventory: its tensors by module.
        unknown: why the target cannot be judged, or None.
        other: the draft that it holds in the place of an MTP block, or that it is; or None.
        draft: what the MTP block is loaded from; None: from the target itself.
    """

    config: Mapping[str, Json]
    policy: Policy | None
    view: QuantView | None
    method: str | None
    checkpoint: Checkpoint
    inventory: Inventory
    unknown: UnknownError | None = None
    other: OtherDraft | None = None
    draft: Draft | None = None

    @property
    def dialect(self) -> str:
        """The quantization method that is in force; empty where none is known."""
        return "" if self.view is None else self.view.method

    @property
    def listing(self) -> Listing:
        """Files and tensor names."""
        return self.checkpoint.listing

    @property
    def block(self) -> Checkpoint:
        """The checkpoint that the MTP block is loaded from."""
        return self.checkpoint if self.draft is None else self.draft.checkpoint


def open_target(source: Source, *, trunk: bool = False, draft: Source | None = None) -> Opened:
    """Reads configuration and index, then the headers of the shards that matter.

    Args:
        source: folder or repo.
        trunk: whether the headers of all shards are read.
        draft: the checkpoint that the MTP block is loaded from, if that is another one.

    Raises:
        MtpfixError: something that must be there cannot be read.
    """
    found = listing(source, need_all=draft is None)
    config = config_of(found)
    family = policy.recognise(config)
    known = policy.policy(family) if family is not None else None
    place = metadata.find(found.configs)
    block = _block(found, known, config)
    other = by_architecture(config) if known is None else by_tensors(block.tensors)
    unknown: UnknownError | None = None
    view: QuantView | None = None
    method = metadata.method_of(place) if place is not None else None
    if other is not None and draft is None:
        closed = Checkpoint(found, {})
        return Opened(config, known, None, method, closed, Inventory(closed), other=other)
    if place is not None and known is None:
        unknown = unknown_family(config)
    elif place is not None:
        try:
            view = metadata.read(place, found.configs)
        except UnknownError as error:
            unknown = error if method else foreign.unnamed(place)
    else:
        unknown = foreign.beside(found.files)
    every = trunk or (view is not None and reads_headers(view))
    if place is not None and not every:
        unknown = unknown or block.unclear
    if draft is not None:
        block = block._replace(tensors=())  # nothing loads those of the target
    wanted = found.shards.keys() if every and known is not None else block.wanted()
    checkpoint = open_shards(source, found, wanted)
    opened = Opened(config, known, view, method, checkpoint, Inventory(checkpoint), unknown)
    return opened if draft is None else _with_draft(opened, draft)


def _with_draft(opened: Opened, source: Source) -> Opened:
    """A target whose MTP block is that of another checkpoint."""
    try:
        found = listing(source)
        config = config_of(found)
        known = opened.policy
        block = _block(found, known, config)
        checkpoint = open_shards(source, found, block.wanted())
        method, unknown = _own_method(found)
    except UnknownError:
        raise
    except MtpfixError as error:  # whose file it is, its name does not tell
        raise type(error)(f"draft: {error.message}", error.remedy) from None
    draft = Draft(config, method, checkpoint, Inventory(checkpoint))
    if known is not None and policy.recognise(config) != known.family:
        other = by_architecture(config)
        unknown = UnknownError(
            "the draft's checkpoint is of another family than the target",
            "give a draft that was made for this model",
        )
        return replace(opened, draft=draft, other=other, unknown=opened.unknown or unknown)
    other = by_tensors(block.tensors)
    unknown = opened.unknown or unknown or block.unclear
    return replace(opened, draft=draft, other=other, unknown=unknown)


def _own_method(found: Listing) -> tuple[str, UnknownError | None]:
    """What a draft's own metadata names, and why it is not known that vLLM takes it, or None.

    vLLM reads it before it builds anything, and builds by that of the target then.
    """
    place = metadata.find(found.configs)
    if place is None:
        return "", None
    try:
        return metadata.read(place, found.configs).method, None
    except UnknownError as error:
        message = f"vLLM reads the draft's own metadata first: {error.message}"
        return metadata.method_of(place), UnknownError(message, error.remedy)


def config_of(found: Listing) -> Mapping[str, Json]:
    """The parsed `config.json`.

    Raises:
        BrokenFileError: it holds something else than an object.
    """
    config = found.configs["config.json"].value
    if not isinstance(config, dict):
        raise BrokenFileError("config.json: not an object", "give the config.json of a model")
    return config


_SHOWN = 8
"""Architectures that an error names: no honest file has more."""


def unknown_family(config: Mapping[str, Json]) -> UnknownError:
    """The error that says that no policy knows the model."""
    named = config.get("architectures")
    listed = named[:_SHOWN] if isinstance(named, list) else []
    shown = ", ".join(strict.shown(str(name)) for name in listed) or "none"
    reason = policy.reason(config)
    return UnknownError(
        f"no policy for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}" + (f": {reason}" if reason else ""),
        "see `mtpfix families` for what is covered",
        code="MTP901",
    )


class _Block(NamedTuple):
    """Tensors of which the headers are needed, as far as the configuration lets them be named.

    Attributes:
        tensors: what stands on disk where the MTP block of the family belongs.
        alone: weights from elsewhere that the draft may load.
        unclear: why not all of them could be named, or None.
    """

    tensors: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    unclear: UnknownError | None = None

    def wanted(self) -> tuple[str, ...]:
        """All of them, or none where some could not be named."""
        return () if self.unclear else (*self.tensors, *self.alone)


def _block(found: Listing, known: Policy | None, config: Mapping[str, Json]) -> _Block:
    if known is None:
        return _Block()
    tensors: tuple[str, ...] = ()
    try:
        context = names.newest(known, config)
        roots = names.disk_roots(known, context)
        tensors = tuple([name for name in found.shards if name.startswith(roots)])
        modules = names.modules(known, context, "draft")
    except UnknownError as error:
        return _Block(tensors, unclear=error)
    members = (f"{member}.weight" for module in modules for member in module.members)
    return _Block(tensors, tuple([name for name in members if not name.startswith(roots)]))


def patched(opened: Opened, files: Mapping[str, tuple[bytes, bytes]]) -> Opened:
    """The target as it would be read after `files` (old and new bytes) were written."""
    configs = dict(opened.listing.configs)
    for name, (_, new) in files.items():
        configs[name] = JsonFile(name, new, strict.loads(new, name))
    found = replace(opened.listing, configs=configs)
    place = metadata.find(configs)
    return replace(
        opened,
        config=config_of(found),
        view=metadata.read(place, configs) if place is not None else None,
        checkpoint=replace(opened.checkpoint, listing=found),
    )
