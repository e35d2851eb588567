"""The packages of the methods: each is known, and has its facts beside its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtpfix.engines.policies.files import RecordError
from mtpfix.engines.vllm import metadata, methods, policy

HOME = Path(methods.__file__).parent


def test_each_method_has_one_file_of_facts() -> None:
    tables = {"schemes"}  # of compressed-tensors
    found = sorted(path.stem for path in HOME.glob("*/*.json"))
    assert sorted({*found} - tables) == list(methods.names())
    assert len(found) == len(methods.names()) + len(tables)


def test_an_unknown_method_has_no_facts() -> None:
    with pytest.raises(RecordError, match=r"no package of a quantization method holds petit\.json"):
        policy.method("petit")


@pytest.mark.parametrize("package", [p for p in HOME.iterdir() if (p / "__init__.py").is_file()])
def test_each_package_is_registered(package: Path) -> None:
    if package.name == "shared":
        return
    facts = {path.stem for path in package.glob("*.json")}
    assert facts & set(methods.names())


@pytest.mark.parametrize(
    ("method", "other", "alike"),
    [
        ("gptq", "gptq_marlin", True),
        ("auto-round", "inc", True),
        ("fp8", "deepseek_v4_fp8", True),
        ("modelopt", "modelopt_mixed", True),
        ("mxfp4", "gpt_oss_mxfp4", True),
        ("online", "fp8_per_block", True),
        ("modelopt", "mxfp8", False),
        ("fp8", "fbgemm_fp8", False),
        ("experts_int8", "moe_wna16", False),
        ("awq", "gptq", False),
        ("awq", "petit", False),
        ("", "petit", True),
    ],
)
def test_methods_whose_metadata_is_read_alike(method: str, other: str, alike: bool) -> None:
    assert metadata.akin(method, other) is metadata.akin(other, method) is alike
