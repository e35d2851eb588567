"""The sources of a release, parsed and never imported.

A name is looked up as Python would at import time: through `from ... import`, through
packages that choose by platform (`if current_platform.is_rocm()`), and through a module's
lazy `__getattr__`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mtpfix.model import Platform

Function = ast.FunctionDef | ast.AsyncFunctionDef

_ASKED_AS = {"is_cuda": {"cuda"}, "is_rocm": {"rocm"}, "is_xpu": {"xpu"}, "is_cpu": {"cpu"}}
_ASKED_AS |= {"is_cuda_alike": {"cuda", "rocm"}, "is_tpu": set()}
_DEEPEST = 20
"""More re-exports than lie between a name and its definition."""


class Defined(NamedTuple):
    """A class, function or value at the top of a module."""

    module: str
    name: str
    node: ast.AST

    @property
    def id(self) -> str:
        """Names the definition within its release."""
        return f"{self.module}:{self.name}"


class _Import(NamedTuple):
    module: str
    name: str


class Sources:
    """The sources of one release, as one platform sees them.

    Args:
        root: the folder that holds the package.
        platform: what `current_platform` answers to.
        trees: parsed modules; given by `on`, so that platforms share them.
    """

    def __init__(
        self,
        root: Path,
        platform: Platform = "cuda",
        trees: dict[str, ast.Module | None] | None = None,
    ) -> None:
        self.root = root
        self.platform = platform
        self._trees = {} if trees is None else trees
        self._bound: dict[str, dict[str, ast.AST | _Import]] = {}

    def on(self, platform: Platform) -> Sources:
        """The same sources, as another platform sees them."""
        return Sources(self.root, platform, self._trees)

    def path(self, module: str) -> Path | None:
        """The file of a module, or None if there is none."""
        base = self.root.joinpath(*module.split("."))
        found = (base / "__init__.py", base.with_name(base.name + ".py"))
        return next((path for path in found if path.is_file()), None)

    def tree(self, module: str) -> ast.Module | None:
        """The parsed module, or None if the release has no such module."""
        if module not in self._trees:
            path = self.path(module)
            text = None if path is None else path.read_text(encoding="utf-8")
            self._trees[module] = None if text is None else ast.parse(text)
        return self._trees[module]

    def find(self, module: str, name: str, depth: int = _DEEPEST) -> Defined | None:
        """Where a name of a module is defined, or None if it comes from elsewhere."""
        if not depth or self.tree(module) is None:
            return None
        bound = self._bindings(module).get(name)
        if isinstance(bound, _Import):
            return self._imported(bound, depth)
        if isinstance(bound, ast.Name) and bound.id != name:
            return self.find(module, bound.id, depth - 1)
        return self._lazy(module, name, depth) if bound is None else Defined(module, name, bound)

    def bases(self, cls: Defined) -> Iterator[Defined]:
        """A class and the classes of the release that it inherits from, nearest first."""
        yield cls
        if not isinstance(cls.node, ast.ClassDef):
            return
        for base in cls.node.bases:
            found = self.expression(cls.module, base)
            if found is not None and isinstance(found.node, ast.ClassDef):
                yield from self.bases(found)

    def expression(self, module: str, node: ast.expr) -> Defined | None:
        """The definition that `name` or `module.name` in some module speaks of."""
        if isinstance(node, ast.Subscript):  # a generic base class
            return self.expression(module, node.value)
        if isinstance(node, ast.Name):
            return self.find(module, node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            bound = self._bindings(module).get(node.value.id)
            inside = f"{bound.module}.{bound.name}" if isinstance(bound, _Import) else ""
            return self.find(inside, node.attr) if inside else None
        return None

    def statements(self, body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        """The statements that run on this platform; both branches where that is not known."""
        for node in body:
            if isinstance(node, ast.If):
                answer = self._decide(node.test)
                chosen = node.body if answer is True else node.orelse
                both = [*node.body, *node.orelse]
                sure = chosen if answer is not None else [n for n in both if not _raises(n)]
                yield from self.statements(sure)
            elif isinstance(node, ast.Try):
                yield from self.statements(node.body)
            else:
                yield node

    def _imported(self, bound: _Import, depth: int) -> Defined | None:
        found = self.find(bound.module, bound.name, depth - 1)
        inner = f"{bound.module}.{bound.name}"
        tree = None if found is not None else self.tree(inner)
        return found if tree is None else Defined(inner, "", tree)

    def _lazy(self, module: str, name: str, depth: int) -> Defined | None:
        """A name that the module's `__getattr__` takes from another module when asked."""
        hook = self._bindings(module).get("__getattr__")
        if not isinstance(hook, ast.FunctionDef):
            return None
        chosen = _for_name(hook.body, name)
        for node in self.statements(chosen):
            if _raises(node):
                return None
            for bound in self._imports(module, node):
                inner = f"{bound.module}.{bound.name}"
                direct = self.find(bound.module, name) if bound.name == name else None
                found = direct or self.find(inner, name, depth - 1)
                if found is not None:
                    return found
        return None

    def _bindings(self, module: str) -> dict[str, ast.AST | _Import]:
        if module not in self._bound:
            tree = self.tree(module)
            found: dict[str, ast.AST | _Import] = {}
            self._bound[module] = found
            for node in self.statements(tree.body if tree else ()):
                if _raises(node):
                    break  # the package refuses this platform
                found.update(self._binds(module, node))
        return self._bound[module]

    def _binds(self, module: str, node: ast.stmt) -> Iterator[tuple[str, ast.AST | _Import]]:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.ImportFrom):
            names = (alias.asname or alias.name for alias in node.names)
            yield from zip(names, self._imports(module, node), strict=True)

    def _imports(self, module: str, node: ast.stmt) -> list[_Import]:
        if not isinstance(node, ast.ImportFrom):
            return []
        path, package = self.path(module), module
        if path is None or path.name != "__init__.py":
            package = module.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        source = ".".join(filter(None, (package if node.level else "", node.module)))
        return [_Import(source, alias.name) for alias in node.names]

    def _decide(self, test: ast.expr) -> bool | None:
        """What a test about the platform says, or None if it is about something else."""
        if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            return False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._decide(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.BoolOp):
            answers = [self._decide(value) for value in test.values]
            strong = isinstance(test.op, ast.Or)
            return strong if strong in answers else None if None in answers else not strong
        if isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute):
            asked = _ASKED_AS.get(test.func.attr)
            return None if asked is None else self.platform in asked
        if ast.unparse(test).startswith("current_platform.device_type =="):
            return self.platform in _strings(test)
        return None


def _for_name(body: list[ast.stmt], name: str) -> list[ast.stmt]:
    """What a `__getattr__` runs for `name`: its own branch, else what speaks of no name."""
    rest: list[ast.stmt] = []
    for node in body:
        quoted = _strings(node.test) if isinstance(node, ast.If) else set()
        if isinstance(node, ast.If) and name in quoted:
            return node.body
        guard = isinstance(node, ast.If) and all(map(_raises, node.body))  # unknown names
        if not quoted and not guard:
            rest += node.body if isinstance(node, ast.If) and "name" in _words(node) else [node]
    return rest


def _raises(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise)


def _words(node: ast.If) -> set[str]:
    return {inner.id for inner in ast.walk(node.test) if isinstance(inner, ast.Name)}


def _strings(node: ast.AST) -> set[str]:
    return {
        inner.value
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    }
