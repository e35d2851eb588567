"""compressed-tensors: the ignore test on the construction-time name, then a target.

Experts are probed by member names of expert 0. Source: `CompressedTensorsConfig` and
`CompressedTensorsMoEMethod` of each release.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.method import Decide, HalvedError, RaisesError, Setting, plain
from mtpfix.engines.vllm.methods.compressed_tensors.entries import ignored, target
from mtpfix.engines.vllm.methods.compressed_tensors.schemes import Scheme, scheme
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Entry, Group, Json, Kind, Module, QuantView
from mtpfix.patterns import Entries
from mtpfix.quant.arguments import normalised

_UNSUPPORTED_PROBES = (
    "ValueError: All MoE projections need to have same quantization scheme but found multiple"
)
_KINDS: tuple[Kind, ...] = ("linear", "experts", "embedding", "lm_head")


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part.

    Raises:
        PatternError: a pattern of the list is invalid, and the release compiles all at once.
    """
    return _Decider(setting)


def probes(module: Module) -> tuple[str, ...]:
    """The member names of expert 0 that are asked in the place of routed experts."""
    return tuple(f"{module.name}.0.{member}" for member in module.probe)


def traits(view: QuantView, context: Context) -> Hashable:
    """The schemes that the release takes for the groups."""
    return tuple(
        scheme(group, view.format, kind, context)
        for group in view.groups
        for kind in _KINDS
        if group.weights is not None
    )


@dataclass(frozen=True, slots=True)
class _Match:
    """Outcome of the ignore test and the target match for one name."""

    group: Group | None
    entry: Entry | None


class _Decider:
    def __init__(self, setting: Setting) -> None:
        self._view = setting.view
        self._context = setting.context
        self._packed = setting.packed
        self._schemes: dict[tuple[str, Kind], Scheme] = {}
        self._groups: dict[str, Group] = {}
        # Since 0.30 every entry is tried; before, and for targets, the first that fits ends it.
        self._ignore = Entries(self._view.ignore, eager=self._rule("fused_name_first"))
        self._targets = Entries(self._collect_targets(), eager=False)
        self._with_experts = Entries(self._collect_targets(experts=True), eager=False)

    def __call__(self, module: Module) -> Decision:
        if module.kind == "experts":
            return self._experts(module)
        if module.kind == "lm_head":
            return self._head(module)
        if module.kind == "embedding" and not self._rule("embedding_asks_scheme"):
            return plain(module)
        return self._built(module, self._match(module.name, module.cls))

    def _head(self, module: Module) -> Decision:
        """A head swallows ValueError; from 0.23 on it is then asked again as an embedding."""
        try:
            decision = self._built(module, self._match(module.name, module.cls))
        except RaisesError as error:
            if not error.message.startswith("ValueError"):
                raise
            decision = plain(module)
        if decision.built == "unquantized" and self._rule("embedding_asks_scheme"):
            again = self._match(module.name, module.cls)
            if again.group is not None:
                return self._built(replace(module, kind="embedding"), again, module)
        return decision

    def _experts(self, module: Module) -> Decision:
        matches = [self._match(name, module.cls, True) for name in probes(module)]
        if len({repr(self._content(match.group)) for match in matches}) > 1:
            blamed = next((m.entry for m in matches if m.group is None and m.entry), None)
            raise HalvedError(_UNSUPPORTED_PROBES, blamed or matches[0].entry)
        return self._built(module, matches[0])

    def _match(self, name: str, cls: str, experts: bool = False) -> _Match:
        entry = ignored(name, self._ignore, self._packed, self._context.release)
        if entry is not None or not self._groups:
            return _Match(None, entry)
        targets = self._with_experts if experts else self._targets
        entry = target(name, cls, targets, self._packed, self._context.release)
        if entry is not None:
            return _Match(self._groups[entry.text], entry)
        if self._rule("no_target") == "error":
            where = "in the compressed-tensors config."
            raise RaisesError(f"ValueError: Unable to find matching target for {name} {where}")
        return _Match(None, None)

    def _built(self, module: Module, match: _Match, shown: Module | None = None) -> Decision:
        shown = shown or module
        if match.group is None:
            return plain(shown, match.entry)
        found = self._scheme(match.group, module.kind)
        if found.error is not None:
            raise RaisesError(found.error, match.entry)
        return Decision(
            shown,
            "quantized",
            found.name,
            found.expects,
            match.entry,
            packing=found.packing,
            block=found.block,
        )

    def _scheme(self, group: Group, kind: Kind) -> Scheme:
        key = (group.name, kind)
        if key not in self._schemes:
            self._schemes[key] = scheme(group, self._view.format, kind, self._context)
        return self._schemes[key]

    def _collect_targets(self, experts: bool = False) -> Iterable[Entry]:
        """Target entries, one for each text; the engine keeps them in one mapping.

        For experts the engine adds its own class name with the scheme of `Linear`.
        """
        entries: dict[str, Entry] = {}
        for group in self._view.groups:
            for entry in group.targets:
                entries[entry.text] = entry
                self._groups[entry.text] = group
        name: str = self._rule("experts_target")
        if experts and "Linear" in entries and name not in entries:
            entries[name] = replace(entries["Linear"], text=name, written="Linear")
            self._groups[name] = self._groups["Linear"]
        return entries.values()

    def _content(self, group: Group | None) -> Json:
        """What vLLM compares when it asks whether two projections share a scheme."""
        if group is None:
            return None
        sides = (group.weights, group.input_activations, group.output_activations)
        values = [None if side is None else sorted(normalised(side).items()) for side in sides]
        return [*values, group.format or self._view.format]

    def _rule(self, key: str) -> Json:
        return rules(key, self._context.release)
