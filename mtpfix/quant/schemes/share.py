"""What a proposal is made of, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mtpfix.checkpoint.scheme import Scheme
from mtpfix.model import Edit, JsonFile, Kind, QuantView


class Names(NamedTuple):
    """The names of some modules of the MTP block.

    Attributes:
        on_disk: those on disk, expert by expert.
        built: construction-time names, of a fused module its own.
        asked: all that engines ask about: those, and names of shards.
    """

    on_disk: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


NO_NAMES = Names()


@dataclass(frozen=True, slots=True)
class Share:
    """Modules of the MTP block that are stored alike.

    Names that end in a dot stand for all that is below them.

    Attributes:
        scheme: how they are stored; None: unquantized.
        names: all that engines ask about, release by release.
        modules: kind and construction-time name of each; some ask under other methods alone.
        selectors: ways to name them, the narrowest first: those alone that are built otherwise than
            they are stored, and all of them; each by the fewest names that stand for no other
            module, and by fewer, which stand for others of the block too.
        on_disk: names of the modules on disk.
        wrong: the names of those that a release builds otherwise than they are stored.
    """

    scheme: Scheme | None
    names: tuple[str, ...]
    modules: tuple[tuple[Kind, str], ...]
    selectors: tuple[tuple[str, ...], ...]
    on_disk: tuple[str, ...]
    wrong: Names = NO_NAMES


@dataclass(frozen=True, slots=True)
class Block:
    """An MTP block, and the metadata that do not fit it.

    Attributes:
        view: the metadata.
        configs: the files that state them, by name.
        shares: what is stored in it, share by share.
        trunk: modules of the target model that are quantized, as on disk.
        plain: those that are not.
        trunk_names: construction-time names of those that are built quantized.
        cache_scales: whether tensors of the checkpoint scale a KV cache.
        latent: whether its attention caches a latent vector instead of keys and values.
    """

    view: QuantView
    configs: Mapping[str, JsonFile]
    shares: tuple[Share, ...]
    trunk: tuple[str, ...]
    plain: tuple[str, ...] = ()
    trunk_names: tuple[str, ...] = ()
    cache_scales: bool = False
    latent: bool = False

    @property
    def quantized(self) -> tuple[Share, ...]:
        """The shares that are quantized."""
        return tuple(share for share in self.shares if share.scheme is not None)


class Proposal(NamedTuple):
    """Edits that say how modules of an MTP block are quantized.

    Attributes:
        edits: of the metadata, all in terms of the files as they are.
        schemes: those that they give the block, in a few words: one for each share.
        entries: how many names and patterns they add.
        whole: whether they say anew how the target model is quantized, which only a release that
            decides is worth.
    """

    edits: tuple[Edit, ...]
    schemes: tuple[str, ...]
    entries: int = 0
    whole: bool = False
