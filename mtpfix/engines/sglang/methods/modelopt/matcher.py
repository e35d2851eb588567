"""ModelOpt with one algorithm: every layer, unless the list excludes it. Pure.

A release may hand the same metadata on to another method. Source:
`ModelOptQuantConfig._get_quant_method`.
"""

from __future__ import annotations

from functools import lru_cache

from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.policies.method import Decide, Setting, plain
from mtpfix.engines.sglang.methods.fp8 import matcher as fp8
from mtpfix.engines.sglang.methods.modelopt import mixed, w4afp8
from mtpfix.engines.sglang.methods.modelopt.selection import (
    FP4,
    FP8,
    MIXED,
    MXFP8,
    W4AFP8,
    algorithm,
    in_force,
)
from mtpfix.engines.sglang.methods.records import Classes, ClassRow
from mtpfix.engines.sglang.methods.shared.classes import chosen, made
from mtpfix.engines.sglang.methods.shared.rules import DEPTH, rules, table
from mtpfix.engines.sglang.methods.shared.wildcards import Excluded
from mtpfix.model import Decision, Entry, Module
from mtpfix.quant.readers.modelopt import BESIDE


def decider(setting: Setting) -> Decide:
    """Return the decisions of one release for one part.

    Raises:
        PatternError: too many entries are patterns.
    """
    method = in_force(setting.view.raw, setting.context)
    if method == MXFP8:
        return fp8.decider(setting)
    if method == W4AFP8:
        return w4afp8.decider(setting)
    if method == MIXED:
        return mixed.decider(setting, Excluded(in_force_entries(setting)), classes())
    if setting.view.file == BESIDE and not readable(method, setting):
        return plain  # SGLang takes the model for one without quantization
    return _one(setting, method)


def in_force_entries(setting: Setting) -> tuple[Entry, ...]:
    """Return the entries, where the release looks for them."""
    unread = setting.view.unread
    release = setting.context.release
    late = unread is not None and in_releases(unread.releases, release, DEPTH)
    return () if late else setting.view.ignore


def readable(method: str, setting: Setting) -> bool:
    """Return whether a release knows the algorithm."""
    known = "modelopt_fp4_algorithms" if method == FP4 else "modelopt_fp8_algorithms"
    return algorithm(setting.view.raw) in rules(known, setting.context.release)


def _one(setting: Setting, method: str) -> Decide:
    excluded = Excluded(in_force_entries(setting))
    algo = "FP8" if method == FP8 else str(algorithm(setting.view.raw)).upper()
    heads = rules("modelopt_heads", setting.context.release)

    def decide(module: Module) -> Decision:
        if module.kind == "embedding" or (module.kind == "lm_head" and not heads):
            return plain(module)
        entry = excluded.about(module, setting.packed)
        if entry is not None:
            return plain(module, entry)
        return made(module, chosen(classes(), module.kind, algo, setting.context))

    return decide


@lru_cache(maxsize=1)
def classes() -> tuple[ClassRow, ...]:
    """Return what is built for layers that no entry exempts."""
    return table("modelopt/modelopt.json", Classes).classes
