"""The record of one model family, as far as it is the same for every engine."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mtpfix.engines.policies.condition import (
    Condition,
    File,
    Record,
    Releases,
    TextRow,
    every,
)
from mtpfix.engines.policies.expression import Expression, Template
from mtpfix.engines.policies.module import Section
from mtpfix.model import Platform


class UndeclaredRow(Condition, frozen=True, kw_only=True):
    """MTP layers that the engine takes where `config.json` declares none."""

    value: int
    """How many."""


class PerLayerRow(Condition, frozen=True, kw_only=True):
    """A value that is derived for each layer."""

    name: str
    """Its name in expressions."""
    value: Expression
    """The value; `layer` is the number of the layer."""


class PackedRow(Condition, frozen=True, kw_only=True):
    """A packed-modules mapping."""

    value: dict[str, list[str]]
    """Fused name -> the names of its shards."""


class MapperRow(Condition, frozen=True, kw_only=True):
    """Rules of a name mapper.

    A row without rules says that a mapper runs all the same: ModelOpt takes `X*` apart
    wherever one does.
    """

    about: str = ""
    """Remark for readers."""
    substr: dict[str, str] = {}
    """Part of a name -> what it is replaced by, once."""
    prefix: dict[str, str] = {}
    """Beginning of a name -> what it is replaced by."""
    suffix: dict[str, str] = {}
    """End of a name -> what it is replaced by."""


class Family(File, frozen=True, kw_only=True):
    """What is known about one model family, whatever the engine.

    Where one answer is wanted of some rows, the first that holds counts.
    """

    title: str
    """Name of the family, for readers."""
    text: str = ""
    """Key of the nested text configuration."""
    kin: str = ""
    """The family whose MTP block is the same, but for the beginnings of names: a model with and
    without a vision tower."""
    releases: Releases = msgspec.field(default_factory=every)
    """The releases in which the engine has a draft for the family; left out: all."""
    platforms: tuple[Platform, ...] | None = None
    """The platforms on which it has one; left out: all."""
    num_hidden_layers: Expression
    """Number of layers of the target model."""
    mtp_layers: Expression
    """Number of MTP layers."""
    undeclared: tuple[UndeclaredRow, ...] = ()
    """MTP layers that the engine takes where `config.json` declares none."""
    defaults: dict[str, Any] = {}
    """What the engine takes for fields that `config.json` leaves out."""
    derived: dict[str, Expression] = {}
    """Further values of the model, by name."""
    per_layer: tuple[PerLayerRow, ...] = ()
    """Further values of each layer."""
    block_roots: tuple[str, ...] = ()
    """Beginnings of the MTP block's names on disk that the draft's loader takes alike, the usual
    one first: `{block_root}` stands for the one that is on disk."""
    disk_roots: tuple[Template, ...]
    """Beginnings of the names of the MTP block's tensors on disk; `i` counts the MTP layers."""
    draft_class: tuple[TextRow, ...] = ()
    """Class of the draft."""
    packed: tuple[PackedRow, ...] = ()
    """Packed-modules mapping in force while the draft is built."""
    trunk_packed: tuple[PackedRow, ...] = ()
    """That of the target model, where it is another."""
    trunk: tuple[Section, ...]
    """Modules of the target model."""
    draft: tuple[Section, ...]
    """Modules of the draft."""


class Head(Record, frozen=True, kw_only=True):
    """How a family is told."""

    architectures: tuple[str, ...]
    """Architectures in `config.json`."""
    model_types: tuple[str, ...]
    """The `model_type`, which counts where no architecture is named."""
    keys: tuple[str, ...] = ()
    """Keys of `config.json` that it has too, where an architecture is that of several families."""
    markers: tuple[str, ...] = ()
    """Parts of names of the block's tensors that only this one of them has: they count first."""


class Index(File, frozen=True, kw_only=True):
    """`families.json`: which families there are, so that one policy is loaded at a time."""

    families: dict[str, Head]
    """How each family is told, by name of its policy."""
    mtp_keys: tuple[str, ...]
    """Keys of `config.json` that declare MTP layers, in whatever family."""
    unjudged: dict[str, Head] = {}
    """Drafts in the place of an MTP block that no policy speaks of, by what people call them."""

    def recognise(self, config: Mapping[str, Any], tensors: Iterable[str] = ()) -> str | None:
        """Return the family of a `config.json`, by architecture, or None if none is its own.

        Engines resolve the target by `architectures`; `model_type` counts only where a
        configuration names no architecture. Where several families share it, the tensors tell
        which, and the keys of the configuration where they do not.

        Args:
            config: the configuration.
            tensors: names of tensors of the block, as far as they are known.
        """
        return _told(_sharing(self.families, config), config, tensors)

    def unjudged_draft(self, config: Mapping[str, Any], tensors: Iterable[str]) -> str | None:
        """Return what people call the draft of a checkpoint that no policy speaks of, or None.

        Args:
            config: the configuration.
            tensors: names of tensors of the block.
        """
        shared = _sharing({**self.unjudged, **self.families}, config)
        told = _told(shared, config, tensors)
        return told if told in self.unjudged else None

    def declares_mtp(self, config: Mapping[str, Any]) -> bool:
        """Return whether a `config.json`, of whatever family, says that it has MTP layers."""
        nested = (config.get(key) for key in ("text_config", "mtp_config"))
        places = [config, *(value for value in nested if isinstance(value, Mapping))]
        return any(place.get(key) for place in places for key in self.mtp_keys)


def _told(
    shared: Mapping[str, Head], config: Mapping[str, Any], tensors: Iterable[str]
) -> str | None:
    """Return which of the families of one architecture it is: by tensors, else by keys."""
    if len(shared) > 1:
        parts = {part for name in tensors for part in name.split(".")}
        told = next((f for f, head in shared.items() if parts & set(head.markers)), None)
        if told is not None:
            return told
    text = config.get("text_config")
    keys = {*config, *(text if isinstance(text, Mapping) else ())}
    return next((f for f, head in shared.items() if keys.issuperset(head.keys)), None)


def _sharing(families: Mapping[str, Head], config: Mapping[str, Any]) -> dict[str, Head]:
    """Return the families that have the architecture of a `config.json`."""
    named = config.get("architectures")
    architectures = [a for a in named if isinstance(a, str)] if isinstance(named, list) else []
    if architectures:
        wanted = set(architectures)
        return {f: head for f, head in families.items() if wanted & set(head.architectures)}
    model_type = config.get("model_type")
    return {f: head for f, head in families.items() if model_type in head.model_types}
