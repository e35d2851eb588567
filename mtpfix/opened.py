"""Reads a target as far as it has to be read: configuration, index, some headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mtpfix import quant
from mtpfix.checkpoint import strict
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.pair import paired
from mtpfix.checkpoint.source import Source
from mtpfix.engines.vllm import names, policy
from mtpfix.engines.vllm.drafts import OtherDraft, by_architecture, by_tensors
from mtpfix.engines.vllm.methods.scan import reads_headers
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Checkpoint, Json, JsonFile, Listing, QuantView, Target
from mtpfix.quant import foreign


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
        draft: what the MTP block is loaded from, if not from the target; else None.
    """

    config: Mapping[str, Json]
    policy: Policy | None
    view: QuantView | None
    method: str | None
    checkpoint: Checkpoint
    inventory: Inventory
    unknown: UnknownError | None = None
    other: OtherDraft | None = None
    draft: Target | None = None

    @property
    def dialect(self) -> str:
        """The quantization method that is in force; empty where none is known."""
        return "" if self.view is None else self.view.method

    @property
    def listing(self) -> Listing:
        """Files and tensor names."""
        return self.checkpoint.listing


def open_target(source: Source, *, trunk: bool = False, draft: Source | None = None) -> Opened:
    """Reads configuration and index, then the headers of the shards that matter.

    Args:
        source: folder or repo.
        trunk: whether the headers of all shards are read.
        draft: the checkpoint that the MTP block is loaded from, if that is another one.

    Raises:
        MtpfixError: something that must be there cannot be read.
    """
    found = listing(source)
    config = config_of(found)
    family = policy.recognise(config)
    known = policy.policy(family) if family is not None else None
    place = quant.find(found.configs)
    theirs = found if draft is None else listing(draft)
    block = _draft(theirs, known, config)
    other = by_architecture(config) if known is None else by_tensors(block.tensors)
    unknown: UnknownError | None = None
    view: QuantView | None = None
    method = quant.method_of(place) if place is not None else None
    beside = None if draft is None else draft.target()
    if other is not None:
        closed = Checkpoint(found, {})
        return Opened(
            config, known, None, method, closed, Inventory(closed), other=other, draft=beside
        )
    if place is not None and known is None:
        unknown = unknown_family(config)
    elif place is not None:
        try:
            view = quant.read(place, found.configs)
        except UnknownError as error:
            unknown = error if method else foreign.unnamed(place)
    else:
        unknown = foreign.beside(found.files)
    if draft is not None and known is not None:
        unknown = unknown or _unlike(known, config, config_of(theirs)) or _scanning(view)
    every = trunk or (view is not None and reads_headers(view))
    if place is not None and not every:
        unknown = unknown or block.unclear
    wanted = found.shards.keys() if every and known is not None else block.wanted()
    checkpoint = open_shards(source, found, wanted)
    if draft is not None:
        brought = open_shards(draft, theirs, block.wanted())
        checkpoint = paired(checkpoint, brought, block.roots, block.alone)
    inventory = Inventory(checkpoint)
    return Opened(config, known, view, method, checkpoint, inventory, unknown, draft=beside)


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
    return UnknownError(
        f"no policy for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}",
        "see `mtpfix families` for what is covered",
        code="MTP901",
    )


class _Draft(NamedTuple):
    """Tensors of which the headers are needed, as far as the configuration lets them be named.

    Attributes:
        roots: what the names of tensors begin with where the MTP block of the family belongs.
        tensors: those that stand there.
        alone: modules on disk from elsewhere that the draft may load.
        unclear: why not all of them could be named, or None.
    """

    roots: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    unclear: UnknownError | None = None

    def wanted(self) -> tuple[str, ...]:
        """Tensors to be read, or none where some could not be named."""
        return () if self.unclear else (*self.tensors, *(f"{name}.weight" for name in self.alone))


def _draft(found: Listing, known: Policy | None, config: Mapping[str, Json]) -> _Draft:
    if known is None:
        return _Draft()
    roots: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    try:
        context = names.newest(known, config)
        roots = names.disk_roots(known, context)
        tensors = tuple([name for name in found.shards if name.startswith(roots)])
        modules = names.modules(known, context, "draft")
    except UnknownError as error:
        return _Draft(roots, tensors, unclear=error)
    members = dict.fromkeys(member for module in modules for member in module.members)
    alone = [name for name in members if "*" not in name and not f"{name}.".startswith(roots)]
    return _Draft(roots, tensors, tuple(alone))


def _unlike(
    known: Policy, config: Mapping[str, Json], other: Mapping[str, Json]
) -> UnknownError | None:
    """Why the draft of another checkpoint is not built as the target's would be, or None."""
    remedy = "give a draft that was made for this model"
    if policy.recognise(other) != known.family:
        return UnknownError("the draft's checkpoint is of another family than the target", remedy)
    for release in policy.known_releases(known, ["all"]):
        of = [names.context(known, each, release, "cuda") for each in (config, other)]
        ours, theirs = (names.modules(known, context, "draft") for context in of)
        if ours != theirs:
            return UnknownError(
                "the draft's config.json names other modules than the target's", remedy
            )
    return None


def _scanning(view: QuantView | None) -> UnknownError | None:
    """Why a draft from elsewhere cannot be judged where headers stand for a list, or None."""
    if view is None or not reads_headers(view):
        return None
    return UnknownError(
        f"vLLM takes the list of {view.method} from the headers of the target, which do not show "
        "the draft",
        "write the list into the target's config.json",
    )


def patched(opened: Opened, files: Mapping[str, tuple[bytes, bytes]]) -> Opened:
    """The target as it would be read after `files` (old and new bytes) were written."""
    configs = dict(opened.listing.configs)
    for name, (_, new) in files.items():
        configs[name] = JsonFile(name, new, strict.loads(new, name))
    found = replace(opened.listing, configs=configs)
    place = quant.find(configs)
    return replace(
        opened,
        config=config_of(found),
        view=quant.read(place, configs) if place is not None else None,
        checkpoint=replace(opened.checkpoint, listing=found),
    )
