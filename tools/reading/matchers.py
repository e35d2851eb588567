"""The functions of a release that decide about names, which mtpfix does again in its own code.

They are found by file and name; a table says where releases keep them. Each is normalised
(no comments, docstrings or annotations), so that its hash changes when what it does may have.
"""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from typing import Any

from tools.reading.attributes import digest, normalised
from tools.reading.sources import Function, Sources

_QUANTIZATION = "vllm/model_executor/layers/quantization/"
_PLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "compressed-tensors": (
        (f"{_QUANTIZATION}compressed_tensors/utils.py", "*"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*.get_scheme*"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*.get_quant_method"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*.apply_vllm_mapper"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*._add_fused_moe_*"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*._quantization_scheme_map*"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*.from_config"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py", "*._is_*"),
        (f"{_QUANTIZATION}compressed_tensors/compressed_tensors_moe/*.py", "*.get_moe_method"),
    ),
    "every method": (
        (f"{_QUANTIZATION}utils/config_utils.py", "find_matching_patterns"),
        (f"{_QUANTIZATION}utils/config_utils.py", "is_equal_or_regex_match"),
        (f"{_QUANTIZATION}utils/quant_utils.py", "is_layer_skipped"),
        ("vllm/model_executor/model_loader/utils.py", "configure_quant_config"),
        ("vllm/model_executor/model_loader/weight_utils.py", "get_quant_config"),
        ("vllm/model_executor/models/utils.py", "WeightsMapper.*"),
        ("vllm/model_executor/models/utils.py", "get_draft_quant_config"),
        ("vllm/model_executor/models/interfaces.py", "SupportsQuant.*"),
        ("vllm/config/speculative.py", "*.hf_config_override"),
    ),
    "fp8": (
        (f"{_QUANTIZATION}fp8.py", "Fp8Config.*"),
        ("vllm/models/deepseek_v4/quant_config.py", "*"),
    ),
    "modelopt": tuple(
        (f"{_QUANTIZATION}modelopt.py", f"*Config*.{name}")
        for name in ("is_layer_excluded", "get_quant_method", "apply_vllm_mapper", "from_config")
    ),
    "quark": (
        (f"{_QUANTIZATION}quark/utils.py", "*should_ignore*"),
        (f"{_QUANTIZATION}quark/utils.py", "*equal_or_regex*"),
        (f"{_QUANTIZATION}quark/quark.py", "*.get_quant_method"),
        (f"{_QUANTIZATION}quark/quark.py", "*.apply_vllm_mapper"),
    ),
    "awq, gptq": (
        (f"{_QUANTIZATION}utils/gptq_utils.py", "*"),
        *(
            (f"{_QUANTIZATION}{file}.py", f"*Config.{name}")
            for file in ("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq")
            for name in ("get_quant_method", "apply_vllm_mapper", "is_*")
        ),
    ),
    "auto-round": tuple(
        (f"{_QUANTIZATION}{file}", f"*.{name}")
        for file in ("inc.py", "inc/inc.py", "inc/config_parser.py")
        for name in ("get_layer_config", "get_quant_method", "apply_vllm_mapper", "resolve*")
    ),
}


def matchers(sources: Sources) -> dict[str, Any]:
    """Every matcher of the release: `method: name` to its file, hash and source."""
    found: dict[str, Any] = {}
    for method, places in _PLACES.items():
        for glob, name in places:
            for path in sorted(sources.root.glob(glob)):
                module = ".".join(path.relative_to(sources.root).with_suffix("").parts)
                for key, node in _functions(sources, module):
                    if fnmatch.fnmatchcase(key, name):
                        text = normalised(node)
                        row = {"where": module, "hash": digest(text), "source": text}
                        found[f"{method}: {key}"] = row
    return dict(sorted(found.items()))


def _functions(sources: Sources, module: str) -> Iterator[tuple[str, Function]]:
    """The functions at the top of a module and in its classes, by their qualified names."""
    tree = sources.tree(module)
    for node in sources.statements(tree.body if tree else ()):
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Function):
                    yield f"{node.name}.{inner.name}", inner
