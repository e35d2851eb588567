"""compressed-tensors: the list on the construction-time name, then a target. Pure.

Routed experts are asked about by the names of three layers of expert 0, whatever they hold.
Source: `CompressedTensorsConfig.get_quant_method`, `get_linear_scheme`, `get_moe_scheme`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import HalvedError, RaisesError, Setting, plain
from mtpfix.engines.policies.targets import target
from mtpfix.engines.sglang.methods.compressed_tensors.entries import Ignored, naming
from mtpfix.engines.sglang.methods.compressed_tensors.schemes import Said, has, said, scheme
from mtpfix.engines.sglang.methods.records import SchemeRow
from mtpfix.engines.sglang.methods.shared.classes import made
from mtpfix.engines.sglang.methods.shared.rules import rules
from mtpfix.model import Decision, Entry, Group, Json, Kind, Module, QuantView
from mtpfix.patterns import Entries
from mtpfix.quant import arguments

PROBED = ("gate_proj", "up_proj", "down_proj")
"""Layers of expert 0 that are asked about in the place of routed experts."""
_EXPERTS = "FusedMoE"
"""The class that routed experts are targeted by."""
_DIFFER = "ValueError: All MoE projections need to have same quantization scheme but found multiple"
_NO_TARGET = (
    "ValueError: Unable to find matching target for {name} in the compressed-tensors config."
)
_BLOCK_HEAD = (
    "NotImplementedError: Block-quantized lm_head is not supported; use channel or tensor "
    "weight scales for the head."
)


def probes(module: Module) -> tuple[str, ...]:
    """Return the names that are asked in the place of routed experts."""
    return tuple(f"{module.name}.0.{member}" for member in PROBED)


class _Match(NamedTuple):
    """What decided about one name, and the group that it falls under; None: it is exempt."""

    entry: Entry | None
    said: Said | None


class Decider:
    """The decisions of one release for one part.

    Args:
        setting: what is in force.

    Raises:
        PatternError: too many entries are patterns.
    """

    def __init__(self, setting: Setting) -> None:
        self._view, self._packed = setting.view, setting.packed
        self._context = setting.context
        self._release = setting.context.release
        self._ignored = Ignored(self._view.ignore, self._release)
        self._said: dict[str, Said] = {}
        self._rows: dict[tuple[int, Kind], SchemeRow | None] = {}
        targets = self._collected()
        self._named = tuple(targets.values())
        self._targets = Entries(self._named, eager=False)
        self._texts = tuple(targets)
        self._with_experts = Entries(_for_experts(targets), eager=False)
        self._all_fp8 = isinstance(self._view.raw.get("linear_fp8_config"), dict)

    def __call__(self, module: Module) -> Decision:
        """Return what is built for a module."""
        if module.kind == "linear" and self._all_fp8:
            return Decision(module, "quantized", "Fp8LinearMethod", "fp8-block")
        if module.kind == "experts":
            return self._experts(module)
        if module.kind == "lm_head":
            return self._head(module)
        if module.kind == "embedding":
            return plain(module)
        return self._built(module, self._match(module.name, module.cls, self._targets))

    def _experts(self, module: Module) -> Decision:
        if rules("mxfp4_experts", self._release) and self._is_mxfp4():
            return Decision(module, "quantized", "Mxfp4MoEMethod")
        names = probes(module)
        matches = [self._match(name, module.cls, self._with_experts) for name in names]
        if any(match.said != matches[0].said for match in matches[1:]):
            blamed = next((m.entry for m in matches if m.said is None and m.entry), None)
            raise HalvedError(_DIFFER, blamed or matches[0].entry)
        return self._built(module, matches[0])

    def _is_mxfp4(self) -> bool:
        if "mxfp4" in (self._view.format or ""):
            return True
        found = (self._said.get(text) for text in (_EXPERTS, "Linear"))
        return any(stated is not None and has("mxfp4", stated.weights) for stated in found)

    def _head(self, module: Module) -> Decision:
        if not rules("heads_by_name", self._release) or not self._texts:
            return plain(module)
        entry = self._ignored.about(module.name, self._packed)
        if entry is not None:
            return plain(module, entry)
        named = naming(module.name, self._named, self._release)
        if named is None:
            return plain(module)
        stated = self._said[named.text]
        if arguments.block(stated.weights) is not None:
            raise RaisesError(_BLOCK_HEAD, named)
        return self._built(module, _Match(named, stated))

    def _match(self, name: str, cls: str, targets: Entries) -> _Match:
        entry = self._ignored.about(name, self._packed)
        if entry is not None or not self._texts:
            return _Match(entry, None)
        found = target(name, cls, targets, self._packed)
        if found is None:
            raise RaisesError(_NO_TARGET.format(name=name))
        return _Match(found, self._said[found.text])

    def _built(self, module: Module, match: _Match) -> Decision:
        if match.said is None:
            return plain(module, match.entry)
        row = self._row(match.said, module.kind)
        weights = match.said.weights
        strategy = str(weights["strategy"])
        expects = "" if row is None else row.expects or ""
        return made(
            module,
            row,
            strategy,
            match.entry,
            packing=arguments.packing(weights) if expects == "int-pack" else None,
            block=arguments.block(weights) if strategy == "block" else None,
        )

    def _row(self, stated: Said, kind: Kind) -> SchemeRow | None:
        key = id(stated), kind
        if key not in self._rows:
            self._rows[key] = scheme(stated, kind, self._view, self._texts, self._context)
        return self._rows[key]

    def _collected(self) -> dict[str, Entry]:
        """Return the targets by text; of two alike, the last counts in the place of the first."""
        found: dict[str, Entry] = {}
        for group in self._view.groups:
            for entry in group.targets:
                found[entry.text] = entry
                self._said[entry.text] = said(group, self._view, self._release)
        if "Linear" in found:
            self._said.setdefault(_EXPERTS, self._said["Linear"])
        return found


def _for_experts(targets: dict[str, Entry]) -> Iterator[Entry]:
    """Yield the targets, and where `Linear` is one, the classes of experts behind them."""
    yield from targets.values()
    if "Linear" in targets and _EXPERTS not in targets:
        yield replace(targets["Linear"], text=_EXPERTS, written="Linear")


def refusal(view: QuantView, context: Context) -> str | None:
    """Return the exception that reading the metadata ends in, or None."""
    return next(_refusals(view.groups, view, context.release), None)


def _refusals(groups: Iterable[Group], view: QuantView, release: str) -> Iterator[str]:
    for group in groups:
        if group.weights is None:
            yield "ValidationError: 1 validation error for QuantizationArgs"
            continue
        stated = said(group, view, release)
        if stated.format not in rules("activation_formats", release) or stated.inputs is not None:
            continue
        allowed: tuple[Json, ...] = ("float",)
        if rules("int_weights_alone", release):
            allowed = ("float", "int")
        if stated.weights["type"] not in allowed:
            yield "AssertionError: "
