"""Where draft loaders put the scales of a quantized KV cache: recordings against policies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.destinations import failure
from mtpfix.engines.vllm.loader import loader
from tools import environments, tiny
from tools.cache_scales import FILE
from tools.destinations import spread

RECORDED: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
RELEASES = list(reversed(environments.releases()))
BARE = {
    (f, "mtp.layers.0.self_attn.k_scale")
    for f in ("qwen4_exp", "qwen4_exp_text", "qwen4_exp_sparse")
}
"""Dropped by name where there is no quantization; said to raise, as its like beside it does."""
METHODS = {"none": "", "quantized": "compressed-tensors"}


def answers(family: str, model: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each release, and what it did with every name."""
    spreads = {name: spread(rows, RELEASES) for name, rows in RECORDED[family][model].items()}
    for release in RELEASES:
        found = {name: answer[release] for name, answer in spreads.items() if release in answer}
        if found:
            yield release, found


@pytest.mark.parametrize("model", METHODS)
@pytest.mark.parametrize("family", RECORDED)
def test_scales_of_the_cache_go_where_vllm_puts_them(family: str, model: str) -> None:
    config = tiny.config(family, tiny.BASE)
    known = policy.policy(policy.recognise(config) or "")
    wrong = []
    for release, found in answers(family, model) if model in RECORDED[family] else ():
        context = construction.context(known, config, release, "cuda", METHODS[model])
        rules = loader(known, context)
        told = rules.cache_scales
        for name, answer in found.items():
            fails = failure(name, rules)
            if fails is not None:
                fits = answer == f"!{fails.error}"
            elif told in ("taken", "beside"):
                fits = not answer.startswith("!")
            else:
                fits = answer.startswith("!") or (family, name) in BARE
            if not fits:
                wrong.append(f"{release} {name}: {told!r}, vLLM {answer!r}")
    assert not wrong, "\n".join(wrong)
