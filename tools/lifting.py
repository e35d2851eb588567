"""Functions of a vLLM release, lifted out of its sources and run on their own.

Nothing of vLLM is imported: what is asked, and what it calls, is cut out by `ast` and run in
an empty module that may import only a few others.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

YES, NO = "+", "-"
"""An answer about one name; anything else is the name of an exception."""

_QUANTIZATION = "vllm/model_executor/layers/quantization/"
_FILES = (
    f"{_QUANTIZATION}compressed_tensors/utils.py",
    f"{_QUANTIZATION}utils/config_utils.py",
)
_CONFIG = f"{_QUANTIZATION}compressed_tensors/compressed_tensors.py"
_MODELS = "vllm/model_executor/models/utils.py"
_ROOTS = ("should_ignore_layer", "find_matched_target")
_IMPORTED = frozenset({"collections", "dataclasses", "fnmatch", "regex", "types", "typing"})
"""Modules that lifted functions may use."""

Packed = Mapping[str, Sequence[str]]
Tables = Mapping[str, Mapping[str, str]]
"""Rules of a name mapper: `prefix`, `substr`, `suffix` -> old to new."""


@dataclass(frozen=True)
class Matchers:
    """The functions of one release."""

    should_ignore: Callable[..., bool]
    find_target: Callable[..., str | None]
    mapper: Callable[..., Any]
    """The class `WeightsMapper`."""
    apply: Callable[..., None]
    """`CompressedTensorsConfig.apply_vllm_mapper`."""

    def ignored(self, name: str, ignore: Sequence[str], packed: Packed) -> tuple[str, str]:
        """Whether a name is ignored: `YES`, `NO` or an exception's name; and its message."""
        try:
            return YES if self.should_ignore(name, list(ignore), packed) else NO, ""
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return type(error).__name__, str(error)

    def target(self, name: str, cls: str, targets: Sequence[str], packed: Packed) -> str:
        """The index of the target that a module falls under, `NO` or an exception's name."""
        module = type(cls, (), {})()
        try:
            found = self.find_target(name, module, dict.fromkeys(targets).keys(), packed)
        except Exception as error:  # noqa: BLE001
            return type(error).__name__
        return NO if found is None else str(list(targets).index(found))

    def mapped(self, entries: Sequence[str], tables: Tables) -> list[str]:
        """An ignore list after a name mapper has run over it."""
        config = SimpleNamespace(ignore=list(entries), target_scheme_map={}, kv_cache_scheme=None)
        config.sparsity_scheme_map, config.sparsity_ignore_list = {}, []  # up to 0.21
        named = {f"orig_to_new_{kind}": dict(table) for kind, table in tables.items()}
        self.apply(config, self.mapper(**named))
        found: list[str] = config.ignore
        return found


def lifted(sources: Path) -> Matchers:
    """The matchers of the release that is unpacked in `sources`."""
    trees = [parsed(sources / name) for name in (*_FILES, _MODELS, _CONFIG)]
    nodes: dict[str, ast.stmt] = {}
    for each in trees:
        for node in each.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                nodes.setdefault(node.name, node)
    imports = [node for each in trees for node in each.body if allowed(node)]
    method = method_of(nodes["CompressedTensorsConfig"], "apply_vllm_mapper")
    body = [*imports, *closure(nodes, _ROOTS), nodes["WeightsMapper"], method]
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    module = ast.fix_missing_locations(ast.Module([future, *body], []))
    space: dict[str, Any] = {"__name__": "builtins"}  # a module that dataclasses find
    exec(compile(module, str(sources), "exec"), space)  # noqa: S102 - that is what this is for
    ignored, target = (space[name] for name in _ROOTS)
    return Matchers(ignored, target, space["WeightsMapper"], space[method.name])


def parsed(path: Path) -> ast.Module:
    """Return a source file, parsed; nothing of it where there is none."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return ast.parse(text)


def allowed(node: ast.stmt) -> bool:
    """Whether a statement imports nothing but modules that lifted functions may use."""
    if isinstance(node, ast.Import):
        names: list[str | None] = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [None if node.level else node.module]
    else:
        return False
    return all((name or "").split(".")[0] in _IMPORTED for name in names)


def method_of(cls: ast.stmt, name: str) -> ast.FunctionDef:
    """Return a method of a class."""
    body = cls.body if isinstance(cls, ast.ClassDef) else []
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)


def closure(nodes: Mapping[str, ast.stmt], roots: Iterable[str]) -> Iterator[ast.stmt]:
    """The functions that are asked, and all that they call."""
    wanted, seen = list(roots), set(roots)
    while wanted:
        node = nodes[wanted.pop()]
        yield node
        called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & nodes.keys()
        wanted += sorted(called - seen)
        seen |= called
