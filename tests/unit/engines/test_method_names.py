"""Which releases have which quantization methods: data against what vLLM's sources list."""

from __future__ import annotations

import pytest

from mtpfix.engines.sglang import policy as sglang
from mtpfix.engines.vllm import methods, policy

GONE = {"bitsandbytes": "0.28.0", "cpu_awq": "0.23.0", "gguf": "0.24.0"}
OWN = ("auto-round",)


@pytest.mark.parametrize("method", GONE)
def test_a_method_that_is_gone_is_lacked_from_then_on(method: str) -> None:
    lacking = [r for r in policy.covered_releases() if policy.lacks_method(method, r)]
    assert lacking[0] == GONE[method]
    assert lacking == [r for r in policy.covered_releases() if r in lacking or r > GONE[method]]


def test_what_nobody_has_is_lacked_by_all_that_are_known() -> None:
    assert all(policy.lacks_method("hqq", release) for release in policy.covered_releases())
    assert all(sglang.lacks_method("hqq", release) for release in sglang.covered_releases())
    assert not policy.lacks_method("hqq", "0.99.0")
    assert not sglang.lacks_method("hqq", "0.99.0")


def test_sglang_serves_w4afp8_and_vllm_up_to_0_33_does_not() -> None:
    assert policy.lacks_method("w4afp8", "0.32.0")
    assert not any(sglang.lacks_method("w4afp8", r) for r in sglang.covered_releases())


def test_every_method_that_is_read_is_one_of_some_release() -> None:
    read = (name for name in methods.BY_QUANT_METHOD if name not in OWN)
    lost = [n for n in read if all(policy.lacks_method(n, r) for r in policy.covered_releases())]
    assert lost == []
