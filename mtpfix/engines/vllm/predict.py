"""The dry run: what vLLM builds for every module of one part, and why.

Pure. Four steps, as in the engine: the target's mapper rewrites the entries of
the one quantization config that target and draft share; the ignore test runs on
the construction-time name; a target is matched; experts are probed by member
names of expert 0. Only compressed-tensors is judged so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix.engines.vllm.mapper import mapped, mapped_for_draft
from mtpfix.engines.vllm.match import (
    Entries,
    Packed,
    PatternError,
    ShardsDifferError,
    ignored,
    target,
)
from mtpfix.engines.vllm.policy import Context, Policy, Row, rules
from mtpfix.engines.vllm.rejects import refusal
from mtpfix.engines.vllm.schemes import Scheme, normalised, scheme
from mtpfix.model import Built, Decision, Entry, Group, Json, Kind, Module, Part, QuantView

_UNSUPPORTED_PROBES = (
    "ValueError: All MoE projections need to have same quantization scheme but found multiple"
)


class _RaisesError(Exception):
    """The engine raises while it decides about a module."""

    def __init__(self, message: str, entry: Entry | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.entry = entry


@dataclass(frozen=True, slots=True)
class _Match:
    """Outcome of the ignore test and the target match for one name."""

    group: Group | None
    entry: Entry | None


class Predictor:
    """The decisions of one release for one part of a checkpoint.

    Args:
        policy: the family.
        view: the metadata as the files spell it.
        context: release, platform and configuration.
        part: target (trunk) and draft can be under different packed mappings.
    """

    def __init__(self, policy: Policy, view: QuantView, context: Context, part: Part) -> None:
        own = part == "draft" and policy.pick("own_config", context) is not None
        self._view = view if own else mapped(view, policy, context)
        if part == "draft":
            self._view = mapped_for_draft(self._view, policy, context)
        self._context = context
        self._own_method = policy.pick("own_method", context) if part == "draft" else None
        self.packed = packed_mapping(policy, context, part)
        self._broken: PatternError | None = None
        self._refused = refusal(view, context.release)
        self._schemes: dict[tuple[str, Kind], Scheme] = {}
        self._groups: dict[str, Group] = {}
        try:
            # Since 0.30 every entry is tried; before, and for targets, the first that fits ends it.
            self._ignore = Entries(self._view.ignore, eager=self._rule("fused_name_first"))
            self._targets = Entries(self._collect_targets(), eager=False)
            self._with_experts = Entries(self._collect_targets(experts=True), eager=False)
        except PatternError as error:
            self._broken = error

    def decide(self, module: Module) -> Decision:
        """What is built for `module`, and the entry that decided."""
        if not module.asks:
            return Decision(module, "unquantized", expects="unquantized")
        if self._own_method is not None:
            return _by_kind(module, self._own_method)
        try:
            self._must_be_sound()
            return _accepted(self._decide(module))
        except _RaisesError as error:
            return Decision(module, "error", because=error.entry, error=error.message)
        except ShardsDifferError as error:
            return Decision(module, "error", because=error.entry, error=str(error))
        except PatternError as error:
            built: Built = "unknown" if error.hangs else "error"
            return Decision(module, built, because=error.entry, error=error.reason)

    def _must_be_sound(self) -> None:
        """Raises what the engine raises for the configuration as a whole."""
        if self._refused is not None:
            raise _RaisesError(self._refused)
        if self._broken is not None:
            raise self._broken

    def _decide(self, module: Module) -> Decision:
        if module.kind == "experts":
            return self._experts(module)
        if module.kind == "lm_head":
            return self._head(module)
        if module.kind == "embedding" and not self._rule("embedding_asks_scheme"):
            return Decision(module, "unquantized", expects="unquantized")
        return self._built(module, self._match(module.name, module.cls))

    def _head(self, module: Module) -> Decision:
        """A head swallows ValueError; from 0.23 on it is then asked again as an embedding."""
        try:
            decision = self._built(module, self._match(module.name, module.cls))
        except (ShardsDifferError, _RaisesError) as error:
            if isinstance(error, _RaisesError) and not error.message.startswith("ValueError"):
                raise
            decision = Decision(module, "unquantized")
        if decision.built == "unquantized" and self._rule("embedding_asks_scheme"):
            again = self._match(module.name, module.cls)
            if again.group is not None:
                return self._built(replace(module, kind="embedding"), again, module)
        return decision

    def _experts(self, module: Module) -> Decision:
        matches = [self._match(f"{module.name}.0.{p}", module.cls, True) for p in module.probe]
        if len({repr(self._content(match.group)) for match in matches}) > 1:
            blamed = next((m.entry for m in matches if m.group is None and m.entry), None)
            raise _RaisesError(_UNSUPPORTED_PROBES, blamed or matches[0].entry)
        return self._built(module, matches[0])

    def _match(self, name: str, cls: str, experts: bool = False) -> _Match:
        entry = ignored(name, self._ignore, self.packed, self._context.release)
        if entry is not None or not self._groups:
            return _Match(None, entry)
        targets = self._with_experts if experts else self._targets
        entry = target(name, cls, targets, self.packed, self._context.release)
        if entry is not None:
            return _Match(self._groups[entry.text], entry)
        if self._rule("no_target") == "error":
            where = "in the compressed-tensors config."
            raise _RaisesError(f"ValueError: Unable to find matching target for {name} {where}")
        return _Match(None, None)

    def _built(self, module: Module, match: _Match, shown: Module | None = None) -> Decision:
        shown = shown or module
        if match.group is None:
            return Decision(shown, "unquantized", expects="unquantized", because=match.entry)
        found = self._scheme(match.group, module.kind)
        if found.error is not None:
            raise _RaisesError(found.error, match.entry)
        return Decision(shown, "quantized", found.name, found.expects, match.entry)

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


def _by_kind(module: Module, row: Row) -> Decision:
    """What a draft class with a method of its own builds; kinds that it leaves out stay plain."""
    method = row.get(module.kind)
    if method is None:
        return Decision(module, "unquantized", expects="unquantized")
    return Decision(module, "quantized", method["scheme"], method["expects"])


def packed_mapping(policy: Policy, context: Context, part: Part) -> Packed:
    """The packed-modules mapping in force while `part` is built."""
    row = policy.pick("trunk_packed", context) if part == "trunk" else None
    row = row or policy.pick("packed", context)
    mapping: Packed = row["value"] if row is not None else {}
    return mapping


def asked_names(module: Module, packed: Packed) -> tuple[str, ...]:
    """Every name that the ignore test may compare with an entry, for one module.

    With the names of the modules that its existence hangs on.
    """
    if not module.asks:
        return ()
    if module.kind == "experts":
        return tuple(f"{module.name}.0.{member}" for member in module.probe)
    last = module.name.rpartition(".")[2]
    shards = packed.get(last, ())
    asked = (module.name, *(module.name.replace(last, shard) for shard in shards))
    return tuple(dict.fromkeys((*asked, *module.unless_quantized, *module.if_quantized)))


def predict(
    policy: Policy, view: QuantView, context: Context, modules: Sequence[Module]
) -> tuple[Decision, ...]:
    """Decisions for modules of any part, in the order given.

    A module that hangs on the decision about an earlier one, and is then not built, has none.
    """
    predictors = {
        part: Predictor(policy, view, context, part) for part in {m.part for m in modules}
    }
    decisions: list[Decision] = []
    first: dict[tuple[Part, str], Built] = {}
    for module in modules:
        if _stands(module, first):
            decision = predictors[module.part].decide(module)
            decisions.append(decision)
            first.setdefault((module.part, module.name), decision.built)
    return tuple(decisions)


def _stands(module: Module, first: Mapping[tuple[Part, str], Built]) -> bool:
    """Whether a module is built at all, after the first decision about each name before it."""

    def quantized(names: Iterable[str]) -> bool:
        return any(first.get((module.part, name)) == "quantized" for name in names)

    if module.if_quantized and not quantized(module.if_quantized):
        return False
    return not quantized(module.unless_quantized)


def _accepted(decision: Decision) -> Decision:
    """The decision, or the exception of a class that cannot be quantized."""
    refuses = decision.module.refuses
    if refuses is None or decision.built != "quantized":
        return decision
    return Decision(decision.module, "error", because=decision.because, error=refuses)
