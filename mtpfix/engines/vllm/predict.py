"""The dry run: what vLLM builds for every module of one part, and why.

Pure. As in the engine, the target's mapper rewrites the entries of the one
quantization config that target and draft share; then the method that is in force
decides about each module by its construction-time name (see `methods`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import (
    Decide,
    HalvedError,
    Packed,
    RaisesError,
    Setting,
    plain,
)
from mtpfix.engines.vllm import methods
from mtpfix.engines.vllm.bypass import find_bypass
from mtpfix.engines.vllm.methods.shared.refusal import refuse
from mtpfix.engines.vllm.name_mapper import in_force
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.records.family import OwnClass, OwnMethodRow
from mtpfix.model import Built, Decision, Module, Part, QuantView
from mtpfix.patterns import PatternError


class Predictor:
    """The decisions of one release for one part of a checkpoint.

    Args:
        policy: the family.
        view: the metadata as the files spell it.
        context: release, platform and configuration.
        part: target (trunk) and draft can be under different packed mappings.
    """

    def __init__(self, policy: Policy, view: QuantView, context: Context, part: Part) -> None:
        packed = packed_mapping(policy, context, part)
        view = _reread(view, policy, context)
        setting = Setting(in_force(view, policy, context, part), context, part, packed)
        self._own_method = first(policy.record.own_method, context) if part == "draft" else None
        self._bypass = find_bypass(policy, view, context) if part == "draft" else None
        self._broken: RaisesError | PatternError | None = None
        try:
            refuse(view.method, context)
            self._ask: Decide = methods.of(view.method).decider(setting)
        except (RaisesError, PatternError) as error:
            self._broken = error

    def decide(self, module: Module) -> Decision:
        """What is built for `module`, and the entry that decided."""
        if not module.asks:
            return plain(module)
        if self._own_method is not None:
            return _by_kind(module, self._own_method)
        try:
            if self._broken is not None:
                raise self._broken
            alone = None if self._bypass is None else self._bypass.decide(module)
            if alone is not None:
                return alone
            return _accepted(self._ask(module))
        except RaisesError as error:
            halved = isinstance(error, HalvedError)
            return Decision(
                module, "error", because=error.entry, error=error.message, halved=halved
            )
        except PatternError as error:
            built: Built = "unknown" if error.hangs else "error"
            return Decision(module, built, because=error.entry, error=error.reason)


def _reread(view: QuantView, policy: Policy, context: Context) -> QuantView:
    """The metadata as another method reads it, where a release hands it on to that."""
    row = first(policy.record.rereads, replace(context, method=view.method))
    if row is None:
        return view
    return replace(
        view,
        method=row.method,
        format=row.format,
        raw=row.metadata,
        groups=(),
        null=False,
    )


def _by_kind(module: Module, row: OwnMethodRow) -> Decision:
    """What a draft class with a method of its own builds; kinds that it leaves out stay plain."""
    built: OwnClass | None = getattr(row, module.kind)
    if built is None:
        return plain(module)
    return Decision(module, "quantized", built.scheme, built.expects)


def packed_mapping(policy: Policy, context: Context, part: Part) -> Packed:
    """The packed-modules mapping in force while `part` is built."""
    row = first(policy.record.trunk_packed, context) if part == "trunk" else None
    row = row or first(policy.record.packed, context)
    return {} if row is None else row.value


def asked_names(module: Module, packed: Packed, method: str) -> tuple[str, ...]:
    """Every name that a quantization method may compare with an entry, for one module.

    With the names of the modules that its existence hangs on.
    """
    if not module.asks:
        return ()
    if module.kind == "experts":
        return methods.of(method).probes(module)
    last = module.name.rpartition(".")[2]
    shards = packed.get(last, ())
    asked = (module.name, *(module.name.replace(last, shard) for shard in shards))
    return tuple(dict.fromkeys((*asked, *module.hangs_on)))


def predict(
    policy: Policy, view: QuantView, context: Context, modules: Sequence[Module]
) -> tuple[Decision, ...]:
    """Decisions for modules of any part, in the order given.

    A module that hangs on the decision about another name, and is then not built, has none.
    """
    predictors = {
        part: Predictor(policy, view, context, part) for part in {m.part for m in modules}
    }
    decisions: list[Decision] = []
    first: dict[tuple[Part, str], Built] = {}
    for module in modules:
        if _stands(module, first, predictors[module.part]):
            decision = predictors[module.part].decide(module)
            decisions.append(decision)
            first.setdefault((module.part, module.name), decision.built)
    return tuple(decisions)


def _stands(module: Module, first: Mapping[tuple[Part, str], Built], predictor: Predictor) -> bool:
    """Whether a module is built at all, after the first decision about each name before it.

    Of a name that nothing was decided about, the class asks the matcher itself.
    """

    def built(name: str) -> Built:
        known = first.get((module.part, name))
        return known or predictor.decide(replace(module, name=name)).built

    def quantized(names: Iterable[str]) -> set[bool]:
        return {built(name) == "quantized" for name in names}

    return (
        (not module.if_quantized or True in quantized(module.if_quantized))
        and True not in quantized(module.unless_quantized)
        and len(quantized(module.alike)) <= 1
        and (not module.unlike or len(quantized(module.unlike)) > 1)
    )


def _accepted(decision: Decision) -> Decision:
    """The decision, or the exception of a class that cannot be quantized."""
    refuses = decision.module.refuses
    if refuses is None or decision.built != "quantized":
        return decision
    return Decision(decision.module, "error", because=decision.because, error=refuses)
