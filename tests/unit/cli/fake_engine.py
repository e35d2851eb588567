"""A second engine, in as few lines as the interface allows: the proof that there is a seam."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mtpfix.engines.base import Engine, EngineCase
from mtpfix.engines.opening import Analyzable, Block, Reading
from mtpfix.model import Decision, Entry, Json, JsonFile, Listing, Module, Part, Platform, QuantView
from mtpfix.patterns import Entries
from mtpfix.quant import Location, lists
from mtpfix.quant.spelling import Spelling

ROOT = "model.mtp_layers."


@dataclass(frozen=True)
class Family:
    family: str = "fakes"
    title: str = "Fakes"


class Case(EngineCase):
    """It builds each projection that is on disk, by the name that it has there."""

    family, method, layers, mtp_layers, disk_roots = "fakes", "compressed-tensors", 2, 1, (ROOT,)
    spelling = Spelling(
        name=lambda name: name,
        experts=lambda name: name,
        block=lambda root: rf"re:^{re.escape(root)}.*",
        mark="re:",
        syntax="pattern",
    )
    engine = release = platform = draft = trunk = cast("Any", None)

    def __init__(self, subject: Analyzable, release: str, platform: Platform) -> None:
        self.engine, self.release, self.platform = ENGINE, release, platform
        self.view, self.inventory = subject.view, subject.files.inventory
        self.draft, self.trunk = self._modules("draft"), self._modules("trunk")

    def _modules(self, part: Part) -> tuple[Module, ...]:
        names = [name for name in self.inventory.modules() if name.endswith("_proj")]
        ours = [name for name in names if name.startswith(ROOT) == (part == "draft")]
        return tuple(Module(part, name, "linear", "Linear", (name,), param=name) for name in ours)

    def listed(self, view: QuantView, entries: Iterable[Entry]) -> Entries:
        return Entries(entries)

    def decide(self, view: QuantView, modules: Sequence[Module]) -> Iterable[Decision]:
        ignore = self.listed(view, view.ignore)
        for module in modules:
            entry = ignore.first(module.name)
            built = "quantized" if entry is None else "unquantized"
            yield Decision(module, built, because=entry)


class Fake(Engine):
    name, title, releases = "fake", "Fake", ("1.0.0", "1.1.0")

    def read(
        self, found: Listing, config: Mapping[str, Json], *, own_draft: bool = True
    ) -> Reading:
        block = Block((ROOT,), tuple(found.shards))
        view = self.metadata(found.configs)
        return Reading(Family(), None, view, view and view.method, None, None, block)

    def metadata(self, configs: Mapping[str, JsonFile]) -> QuantView | None:
        stated = configs["config.json"].value["quantization_config"]
        location = Location("config.json", "/quantization_config", stated)
        return lists.view(location, "compressed-tensors", "ignore", format=None)

    def cases(
        self,
        subject: Analyzable,
        releases: Sequence[str],
        platforms: Sequence[Platform],
        *,
        by_names: bool = False,
    ) -> tuple[EngineCase, ...]:
        return tuple(Case(subject, r, p) for r in releases for p in platforms)


ENGINE = Fake()
