"""Reads a target as far as it has to be read: configuration, index, some headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix import quant
from mtpfix.checkpoint import strict
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import Source
from mtpfix.engines.vllm import names, policy
from mtpfix.engines.vllm.drafts import OtherDraft, by_architecture, by_tensors
from mtpfix.engines.vllm.methods.scan import reads_headers
from mtpfix.engines.vllm.policy import Policy
from mtpfix.errors import BrokenFileError, UnknownError
from mtpfix.model import Checkpoint, Json, JsonFile, Listing, QuantView
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
    """

    config: Mapping[str, Json]
    policy: Policy | None
    view: QuantView | None
    method: str | None
    checkpoint: Checkpoint
    inventory: Inventory
    unknown: UnknownError | None = None
    other: OtherDraft | None = None

    @property
    def dialect(self) -> str:
        """The quantization method that is in force; empty where none is known."""
        return "" if self.view is None else self.view.method

    @property
    def listing(self) -> Listing:
        """Files and tensor names."""
        return self.checkpoint.listing


def open_target(source: Source, *, trunk: bool = False) -> Opened:
    """Reads configuration and index, then the headers of the shards that matter.

    Args:
        source: folder or repo.
        trunk: whether the headers of all shards are read.

    Raises:
        MtpfixError: something that must be there cannot be read.
    """
    found = listing(source)
    config = config_of(found)
    family = policy.recognise(config)
    known = policy.policy(family) if family is not None else None
    place = quant.find(found.configs)
    block: Sequence[str] = ()
    unclear: UnknownError | None = None
    if known is not None:
        try:
            block = _block(found, known, config)
        except UnknownError as error:
            unclear = error
    other = by_architecture(config) if known is None else by_tensors(block)
    unknown: UnknownError | None = None
    view: QuantView | None = None
    method = quant.method_of(place) if place is not None else None
    if other is not None:
        closed = Checkpoint(found, {})
        return Opened(config, known, None, method, closed, Inventory(closed), other=other)
    if place is not None and known is None:
        unknown = unknown_family(config)
    elif place is not None:
        try:
            view = quant.read(place, found.configs)
        except UnknownError as error:
            unknown = error if method else foreign.unnamed(place)
    else:
        unknown = foreign.beside(found.files)
    wanted: Sequence[str] = ()
    if known is not None and (trunk or (view is not None and reads_headers(view))):
        wanted, unclear = tuple(found.shards), None
    elif known is not None and unclear is None:
        try:
            wanted = (*block, *_alone(known, config))
        except UnknownError as error:
            unclear = error
    if place is not None:
        unknown = unknown or unclear
    checkpoint = open_shards(source, found, wanted)
    return Opened(config, known, view, method, checkpoint, Inventory(checkpoint), unknown)


def config_of(found: Listing) -> Mapping[str, Json]:
    """The parsed `config.json`.

    Raises:
        BrokenFileError: it holds something else than an object.
    """
    config = found.configs["config.json"].value
    if not isinstance(config, dict):
        raise BrokenFileError("config.json: not an object", "give the config.json of a model")
    return config


def unknown_family(config: Mapping[str, Json]) -> UnknownError:
    """The error that says that no policy knows the model."""
    named = config.get("architectures")
    shown = ", ".join(str(a)[:80] for a in named) if isinstance(named, list) else "none"
    return UnknownError(
        f"no policy for this model: architectures {shown}, "
        f"model_type {config.get('model_type')!r:.80}",
        "see `mtpfix families` for what is covered",
        code="MTP901",
    )


def _block(found: Listing, known: Policy, config: Mapping[str, Json]) -> tuple[str, ...]:
    """Names of the tensors that stand where the MTP block of the family belongs.

    Raises:
        UnknownError: the configuration does not fit the policy.
    """
    roots = names.disk_roots(known, names.newest(known, config))
    return tuple([name for name in found.shards if name.startswith(roots)])


def _alone(known: Policy, config: Mapping[str, Json]) -> Iterator[str]:
    """Names of the weights that the draft may load from outside of its block.

    Raises:
        UnknownError: the configuration does not fit the policy.
    """
    for module in names.modules(known, names.newest(known, config), "draft"):
        yield from (f"{member}.weight" for member in module.members if "*" not in member)


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
