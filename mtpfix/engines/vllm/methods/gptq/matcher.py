"""GPTQ: the linear layers that the list names, unless a rule of `dynamic` skips them. Pure.

Experts are not asked about in the list, only in the rules. Source:
`AutoGPTQConfig.get_quant_method` (`GPTQMarlinConfig` before 0.22), and
`get_linear_quant_method` in `quantization/utils/gptq_utils.py`.
"""

from __future__ import annotations

from mtpfix.engines.policies.dynamic_rules import Rule, Rules, packing
from mtpfix.engines.policies.method import Decide, Setting, ShardsDifferError, plain
from mtpfix.engines.vllm.methods.gptq.rules import check, skips
from mtpfix.engines.vllm.methods.shared.classes import quantized
from mtpfix.engines.vllm.methods.shared.moe_wna16 import fallback, falls_back
from mtpfix.engines.vllm.methods.shared.names import HALF, Parts
from mtpfix.engines.vllm.policy import rules
from mtpfix.model import Decision, Module


def decider(setting: Setting) -> Decide:
    """The decisions of one release for one part."""
    return _Decider(setting)


class _Decider:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._view = setting.view
        values = setting.view.raw.get("dynamic") or {}
        self._rules = Rules(setting.view.ignore, values)
        self._targets = Parts(entry for group in setting.view.groups for entry in group.targets)
        self._falls_back = falls_back(setting.view, setting.context)
        self._heads = bool(setting.view.raw.get("lm_head"))

    def __call__(self, module: Module) -> Decision:
        if module.kind == "embedding" or (module.kind == "lm_head" and not self._heads):
            return plain(module)
        if module.kind == "experts" and self._falls_back:
            return fallback(module, self._view)
        listed = module.kind == "experts" or self._listed(module.name)
        rule = self._rules.rule(module.name)
        if rule is not None and skips(rule):
            return plain(module, rule.entry)
        return self._built(module, rule) if listed else plain(module)

    def _built(self, module: Module, rule: Rule | None) -> Decision:
        if rule is not None and module.name:
            check(rule, self._view.raw, marlin=self._view.format == "gptq")
        entry = None if rule is None else rule.entry
        packed = packing(rule if module.name else None, self._view.raw)
        return quantized(module, self._view, self._setting.context, entry, packed)

    def _listed(self, name: str) -> bool:
        """Whether the list names a linear layer.

        Raises:
            ShardsDifferError: it names only some shards of a fused layer.
        """
        if not self._targets:
            return bool(rules("empty_list_is_all", self._setting.context.release))
        last = name.rpartition(".")[2]
        shards = self._setting.packed.get(last)
        if shards is None:
            return self._targets.fits(name) is not None
        found = [self._targets.fits(name.replace(last, shard)) for shard in shards]
        if len({entry is None for entry in found}) > 1:
            raise ShardsDifferError(HALF.format(name=name), next(filter(None, found)))
        return found[0] is not None
