"""An engine that names, fuses and spells otherwise than vLLM, in the place of SGLang."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from mtpfix.checkpoint.inventory import Inventory
from mtpfix.engines.opening import Analyzable, Block, Reading
from mtpfix.errors import UnknownError
from mtpfix.model import (
    Checkpoint,
    Json,
    Listing,
    Module,
    Part,
    Platform,
    QuantView,
    Target,
    Tensor,
)
from mtpfix.quant import Location, lists
from mtpfix.quant.spelling import Spelling

from .fake_engine import ROOT, Fake, Family
from .fake_engine import Case as Plain

_FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


class Case(Plain):
    """Its draft has names of its own, fused, and dots of its patterns are bare."""

    prefix = "model.decoder."
    """What the names of draft modules begin with."""
    draft_roots = ("model.decoder.",)
    family = "mimo"
    spelling = Spelling(
        name=lambda name: name,
        experts=lambda name: name,
        block=lambda root: rf"re:^{root.removesuffix('.')}\..*",
        mark="re:",
        syntax="pattern",
    )

    def __init__(self, subject: Analyzable, release: str, platform: Platform) -> None:
        super().__init__(subject, release, platform)
        self.engine = ENGINE

    def _modules(self, part: Part) -> tuple[Module, ...]:
        found = super()._modules(part)
        if part == "trunk":
            return found
        members = {member: f"{fused}" for fused, held in _FUSED.items() for member in held}
        names: dict[str, list[str]] = {}
        for module in found:
            above, _, last = module.name.removeprefix(f"{ROOT}0.").rpartition(".")
            name = f"{self.prefix}{f'{above}.' if above else ''}{members.get(last, last)}"
            names.setdefault(name, []).append(module.name)
        return tuple(
            Module(part, name, "linear", "Linear", tuple(held), param=name)
            for name, held in names.items()
        )


class FakeSglang(Fake):
    """Knows MiMo alone."""

    name, title = "sglang", "SGLang"
    releases = ("0.5.21", "0.5.22", "0.5.23")
    depth = 3

    def read(
        self, found: Listing, config: Mapping[str, Json], *, own_draft: bool = True
    ) -> Reading:
        reading = super().read(found, config, own_draft=own_draft)
        if config.get("model_type") == "mimo":
            return replace(reading, family=Family("mimo", "MiMo"))
        unknown = UnknownError("SGLang knows no such family", "see `mtpfix families`")
        return replace(reading, family=None, unknown_family=unknown, block=Block())

    def cases(
        self,
        subject: Analyzable,
        releases: Sequence[str],
        platforms: Sequence[Platform],
        *,
        by_names: bool = False,
    ) -> tuple[Case, ...]:
        return tuple(Case(subject, r, p) for r in releases for p in platforms)

    def imagined(
        self,
        config: Mapping[str, Json],
        releases: Sequence[str],
        platforms: Sequence[Platform],
        method: str,
        stored: str | None = None,
    ) -> tuple[Case, ...]:
        names = [f"{ROOT}0.self_attn.{name}_proj.weight" for name in "qkvo"]
        header = {name: Tensor("BF16", (1, 1), 0, 0) for name in names}
        header |= {"model.layers.0.mlp.up_proj.weight": Tensor("F8_E4M3", (1, 1), 0, 0)}
        shards = dict.fromkeys(header, "model.safetensors")
        found = Listing(Target("local", ""), tuple(set(shards.values())), {}, shards, "headers")
        inventory = Inventory(Checkpoint(found, {"model.safetensors": header}))
        subject = SimpleNamespace(view=_view(), files=SimpleNamespace(inventory=inventory))
        return self.cases(cast("Any", subject), releases, platforms)


def _view() -> QuantView:
    location = Location("config.json", "/quantization_config", {"ignore": []})
    return lists.view(location, "compressed-tensors", "ignore", format=None)


def entries(texts: Iterable[str]) -> list[str]:
    """Return what a list holds beside the head."""
    return [text for text in texts if text != "lm_head"]


ENGINE = FakeSglang()
