"""Functions of an SGLang release, lifted out of its sources and run on their own.

Nothing of SGLang is imported: what is asked, and what it calls, is cut out by `ast`. Methods are
asked with stand-ins for their objects, and imports within them are left out.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from tools.lifting import NO, YES, closure, method_of, parsed

_SRT = "sglang/srt"
_QUANTIZATION = f"{_SRT}/layers/quantization"
_SKIPPED = (ast.Import, ast.ImportFrom)
Packed = Mapping[str, Sequence[str]]


class FusedMoE:
    """Stands for routed experts."""


class ParallelLMHead:
    """Stands for a head."""


class Linear:
    """Stands for a linear layer."""


LAYERS: Mapping[str, type] = {
    "experts": FusedMoE,
    "lm_head": ParallelLMHead,
    "linear": type("QKVParallelLinear", (Linear,), {}),
}
"""What stands for a layer, by kind."""


class Release:
    """The matchers of one release.

    Args:
        sources: the folder that its wheel is unpacked in.
    """

    def __init__(self, sources: Path) -> None:
        self._sources = sources
        utils = "compressed_tensors/utils.py"
        self._ignored = self._function(utils, "should_ignore_layer")
        self._target = self._function(utils, "find_matched_target")
        self._skipped = self._function("utils.py", "is_layer_skipped")
        self._override = self._function("utils.py", "get_dynamic_override")
        self._part = self._function("awq/awq.py", "is_layer_skipped_awq")
        self._excluded_by_quark = self._function("quark/utils.py", "should_ignore_layer")
        self._compare = self._function("quark/utils.py", "deep_compare")

    def ask(self, kind: str, question: Sequence[Any]) -> str:
        """Return the answer to a question: a mark, a number or the name of an exception."""
        try:
            return str(getattr(self, kind)(*question))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return type(error).__name__

    def text(self, kind: str, question: Sequence[Any]) -> str:
        """Return the message of the exception that a question ends in; empty: it ends in none."""
        try:
            getattr(self, kind)(*question)
        except Exception as error:  # noqa: BLE001
            return str(error)
        return ""

    # --- questions by kind -------------------------------------------------------

    def ct_ignore(self, name: str, entries: list[str], packed: Packed) -> str:
        """Return whether compressed-tensors ignores a name."""
        return _mark(self._ignored(name, entries, packed))

    def ct_target(self, name: str, cls: str, targets: list[str], packed: Packed) -> str:
        """Return the number of the target that a module falls under."""
        found = self._target(name, type(cls, (), {})(), dict.fromkeys(targets).keys(), packed)
        return str(list(dict.fromkeys(targets)).index(found))

    def fp8(self, name: str, entries: list[str], packed: Packed, table: Mapping[str, str]) -> str:
        """Return whether fp8 skips a name, after a name mapper with some rules."""
        config = self._fp8_config({"quant_method": "fp8", "ignored_layers": entries})
        if table:
            self._method("fp8.py", "Fp8Config", "apply_weight_name_mapper")(
                config, self._mapper(table)
            )
        return _mark(self._skipped(name, config.ignored_layers, packed))

    def modelopt(self, name: str, entries: list[str], packed: Packed, experts: bool) -> str:
        """Return whether ModelOpt excludes a name."""
        config = SimpleNamespace(exclude_modules=entries)
        excludes = self._method("modelopt_quant.py", "ModelOptQuantConfig", "is_layer_excluded")
        if not experts and self._skipped(name, entries, packed):
            return YES
        return _mark(excludes(config, name))

    def mixed(self, name: str, layers: Mapping[str, str], packed: Packed) -> str:
        """Return the algorithm that mixed precision has for a name."""
        cls, file = "ModelOptMixedPrecisionConfig", "modelopt_quant.py"
        candidates = "_quantized_layer_prefix_candidates"
        config = SimpleNamespace(
            quantized_layers={key: {"quant_algo": algo} for key, algo in layers.items()},
            packed_modules_mapping=packed,
        )
        with suppress(StopIteration):  # there is none before 0.5.15
            setattr(config, candidates, self._method(file, cls, candidates))
        return self._method(file, cls, "_resolve_quant_algo")(config, name) or NO

    def awq(self, name: str, entries: list[str]) -> str:
        """Return whether AWQ skips a name."""
        return _mark(self._part(name, entries))

    def gptq(self, name: str, rules: Mapping[str, Any]) -> str:
        """Return what GPTQ's rules say: to skip, which bits, or nothing."""
        config = SimpleNamespace(dynamic=dict(rules))
        if self._override(config, name) is False:
            return YES
        return str(self._override(config, name, "bits", 4))

    def quark(self, name: str, entries: list[str], packed: Packed) -> str:
        """Return whether quark excludes a name."""
        return _mark(self._excluded_by_quark(name, entries, packed))

    def quark_layer(self, name: str, layers: Mapping[str, Any], packed: Packed) -> str:
        """Return the configuration that quark has for a name."""
        file, cls = "quark/quark.py", "QuarkConfig"
        config = SimpleNamespace(
            packed_modules_mapping=packed,
            quant_config={
                "layer_quant_config": layers,
                "layer_type_quant_config": {},
                "global_quant_config": {"n": "whole"},
            },
        )
        find = self._method(file, cls, "_find_matched_config")
        config._find_matched_config = lambda *args: find(config, *args)
        with suppress(StopIteration):  # there is none before 0.5.21
            config._fused_expert_config = self._method(file, cls, "_fused_expert_config")
        return str(find(config, name, Linear())["n"])

    def auto_round(self, name: str, kind: str, config: Mapping[str, Any], packed: Packed) -> str:
        """Return the bits that auto-round has for a module."""
        stand_in = SimpleNamespace(
            weight_bits=4,
            group_size=128,
            sym=True,
            extra_config=config["extra"],
            block_name_to_quantize=config["blocks"],
            packed_modules_mapping=packed,
        )
        get = self._method("auto_round.py", "AutoRoundConfig", "get_layer_config")
        return str(get(stand_in, LAYERS[kind](), name)[0])

    # --- how functions are cut out -----------------------------------------------

    def _function(self, file: str, name: str) -> Callable[..., Any]:
        tree = parsed(self._sources / _QUANTIZATION / file)
        nodes = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        space = self._run([*_constants(tree), *closure(nodes, (name,))])
        found: Callable[..., Any] = space[name]
        return found

    @cache  # noqa: B019 - a release lives as long as the process
    def _method(self, file: str, cls: str, name: str) -> Callable[..., Any]:
        tree = parsed(self._sources / _QUANTIZATION / file)
        body = _class(self._sources / _QUANTIZATION / file, cls)
        helpers = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        wanted = {"_compile_exclusion_pattern"}
        function = method_of(body, name)
        function.decorator_list = []
        function.body = [node for node in function.body if not isinstance(node, _SKIPPED)]
        chosen = [n for n in helpers if n.name in wanted]
        found: Callable[..., Any] = self._run([*chosen, function])[name]
        return found

    def _fp8_config(self, metadata: Mapping[str, Any]) -> Any:
        read = self._method("fp8.py", "Fp8Config", "from_config")
        return read(self._config(), {"activation_scheme": "dynamic", **metadata})

    @lru_cache(maxsize=1)  # noqa: B019
    def _config(self) -> Callable[..., Any]:
        """Return what stands for a configuration class."""

        def config(**said: Any) -> Any:
            return SimpleNamespace(**said)

        for name in ("get_from_keys", "get_from_keys_or"):
            file = self._sources / _QUANTIZATION / "base_config.py"
            function = method_of(_class(file, "QuantizationConfig"), name)
            function.decorator_list = []
            setattr(config, name, self._run([function], QuantizationConfig=config)[name])
        return config

    @lru_cache(maxsize=1)  # noqa: B019
    def _map_name(self) -> Callable[..., str]:
        file = self._sources / _SRT / "models" / "utils.py"
        rename = method_of(_class(file, "WeightsMapper"), "_map_name")
        found: Callable[..., str] = self._run([rename])[rename.name]
        return found

    def _mapper(self, table: Mapping[str, str]) -> Any:
        rules = SimpleNamespace(
            orig_to_new_substr=table, orig_to_new_prefix={}, orig_to_new_suffix={}
        )

        def renamed(names: Sequence[str]) -> list[str]:
            return [self._map_name()(rules, name) for name in names]

        return SimpleNamespace(apply_list=renamed)

    def _run(self, body: Sequence[ast.stmt], **more: Any) -> dict[str, Any]:
        future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
        module = ast.fix_missing_locations(ast.Module([future, *body], []))
        space: dict[str, Any] = {
            "__name__": "builtins",
            "re": re,
            "fnmatch": fnmatch,
            "lru_cache": lru_cache,
            "MappingProxyType": MappingProxyType,
            "cast": lambda _, value: value,
            "FusedMoE": FusedMoE,
            "ParallelLMHead": ParallelLMHead,
            "deep_compare": getattr(self, "_compare", None),
            **more,
        }
        for name in ("Any", "Dict", "List", "Mapping", "Optional", "Set", "Tuple", "Union"):
            space[name] = Any
        exec(compile(module, str(self._sources), "exec"), space)  # noqa: S102 - its purpose
        return space


def _class(file: Path, name: str) -> ast.ClassDef:
    body = parsed(file).body
    return next(node for node in body if isinstance(node, ast.ClassDef) and node.name == name)


def _constants(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield what is assigned to names in capitals from nothing but literals."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            yield ast.Assign([node.target], node.value)


def _mark(answer: object) -> str:
    return YES if answer else NO
