"""How a release turns a target's configuration into its draft's: read, not run.

`SpeculativeConfig.hf_config_override` is a long list of tests on `model_type` and on the
architecture. `drafts` follows it for one target; what a test says that depends on anything
else is taken to be unknown, and both ways are followed.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tools.reading.sources import Function, Sources

MODULE, FUNCTION = "vllm.config.speculative", "hf_config_override"

OTHER = "(any other)"
"""A model type or architecture that no test names."""

Answer = bool | str | None
"""What an expression is worth; None where that depends on more than the target's names."""


class Draft(NamedTuple):
    """What a target's draft may become."""

    architecture: str
    layers: str
    """The expression that says how many there are."""
    fields: tuple[str, ...]
    """The fields of the configuration that the expression names."""


@dataclass(frozen=True)
class _State:
    """How far the configuration has been rewritten."""

    model_type: str
    architecture: str
    count: str = ""
    known: frozenset[tuple[str, Answer]] = frozenset()
    draft: bool = False


def override(sources: Sources) -> Function | None:
    """The function of the release that rewrites configurations, or None if there is none."""
    for node in ast.walk(sources.tree(MODULE) or ast.Module([], [])):
        if isinstance(node, ast.FunctionDef) and node.name == FUNCTION:
            return node
    return None


def named(function: Function) -> list[str]:
    """Every model type and architecture that a test of the function names, sorted."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            if "model_type" in text or "architecture" in text or text.startswith("(arch :="):
                found |= set(_texts(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("}.intersection"):
            found |= set(_texts(node.func))
    return sorted(found - {"architectures", "text_config", "model_type"})


def drafts(
    function: Function, drafted: Collection[str], model_type: str = OTHER, architecture: str = OTHER
) -> list[Draft]:
    """What the function makes of a target.

    Args:
        function: `hf_config_override` of the release.
        drafted: the draft architectures of the release's registry.
        model_type: the target's.
        architecture: the target's first.
    """
    run = _Run(frozenset(drafted))
    ends = run.body(function.body, {_State(model_type, architecture)})
    found = {
        Draft(state.architecture, state.count, tuple(_fields(state.count)))
        for state in ends
        if state.draft
    }
    return sorted(found)


class _Run:
    """Follows statements from states to states."""

    def __init__(self, drafted: frozenset[str]) -> None:
        self._drafted = drafted

    def body(self, nodes: Iterable[ast.stmt], states: set[_State]) -> set[_State]:
        done: set[_State] = set()
        for node in nodes:
            if isinstance(node, ast.If):
                states = {end for state in states for end in self._branch(node, state)}
            elif isinstance(node, ast.Return):
                done, states = done | states, set()
            else:
                states = {end for state in states for end in self._step(node, state)}
        return done | states

    def _branch(self, node: ast.If, state: _State) -> set[_State]:
        answer = _worth(node.test, state)
        ends: set[_State] = set()
        if answer is not False:
            ends |= self.body(node.body, {state})
        if answer is not True:
            ends |= self.body(node.orelse, {state})
        return ends

    def _step(self, node: ast.stmt, state: _State) -> Iterator[_State]:
        if isinstance(node, ast.Assign):
            target, text = ast.unparse(node.targets[0]), ast.unparse(node.value)
            if target == "hf_config.model_type" and isinstance(node.value, ast.Constant):
                yield dataclasses.replace(state, model_type=str(node.value.value))
                return
            if target == "n_predict" or "num_nextn_predict_layers" in text:
                state = dataclasses.replace(state, count=text)
            for learnt in self._learnt(node, state):
                yield from self._named(node, target.endswith("['architectures']"), learnt)
        elif isinstance(node, ast.Expr):
            yield from self._named(node, "'architectures'" in ast.unparse(node), state)
        else:
            yield state

    def _learnt(self, node: ast.Assign, state: _State) -> Iterator[_State]:
        """The states after a local name got its value: one for each draft that it may name."""
        target = node.targets[0]
        worth = _worth(node.value, state)
        texts = [text for text in _chosen(node.value, state) if text in self._drafted]
        values: list[Answer] = [*texts] if worth is None and texts else [worth]
        for value in values if isinstance(target, ast.Name) else ():
            known = dict(state.known) | {ast.unparse(target): value}
            yield dataclasses.replace(state, known=frozenset(known.items()))
        if not isinstance(target, ast.Name):
            yield state

    def _named(self, node: ast.Assign | ast.Expr, sets: bool, state: _State) -> Iterator[_State]:
        """The states after a statement that may set the draft's architecture."""
        if not sets:
            yield state
            return
        names = [name for name in _chosen(node, state) if name in self._drafted]
        state = dataclasses.replace(state, count=_count(node) or state.count)
        for name in names:
            yield dataclasses.replace(state, architecture=name, draft=True)
        if not names:
            yield state


def _worth(node: ast.expr, state: _State) -> Answer:
    """What an expression is worth for the target."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, (str, bool)) else None
    if isinstance(node, ast.BoolOp):
        answers = [_worth(value, state) for value in node.values]
        strong = isinstance(node.op, ast.Or)
        return strong if strong in answers else None if None in answers else not strong
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _worth(node.operand, state)
        return None if inner is None else not inner
    if isinstance(node, ast.Compare):
        return _compared(node, state)
    text = ast.unparse(node.value if isinstance(node, ast.NamedExpr) else node)
    if ".intersection(" in text:
        return state.architecture in set(_texts(node))
    names = {
        "hf_config.model_type": state.model_type,
        "hf_config.architectures[0]": state.architecture,
    }
    return {**dict(state.known), **names}.get(text)


def _compared(node: ast.Compare, state: _State) -> Answer:
    left, right = node.left, node.comparators[0]
    value, other = _worth(left, state), _worth(right, state)
    if isinstance(node.ops[0], ast.Eq):
        return None if value is None or other is None else value == other
    if not isinstance(node.ops[0], ast.In):
        return None
    if isinstance(right, (ast.Tuple, ast.Set, ast.List)):
        return None if value is None else value in set(_texts(right))
    if ast.unparse(right) == "architectures":
        return value == state.architecture
    if isinstance(value, str) and isinstance(other, str):  # a part of the name
        return bool(other) and value in other
    return None


def _chosen(node: ast.AST, state: _State) -> Iterator[str]:
    """The texts of a statement, without those that a known condition rules out."""
    if isinstance(node, ast.IfExp):
        answer = _worth(node.test, state)
        if answer is not False:
            yield from _chosen(node.body, state)
        if answer is not True:
            yield from _chosen(node.orelse, state)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Dict) and state.architecture in _keys(node):
        yield from _texts(node.values[_keys(node).index(state.architecture)])
    elif isinstance(node, ast.Name):
        value = dict(state.known).get(node.id)
        if isinstance(value, str):
            yield value
    else:
        for inner in ast.iter_child_nodes(node):
            yield from _chosen(inner, state)


def _count(node: ast.AST) -> str:
    """The count that an update gives in place, not by a name."""
    for inner in ast.walk(node):
        pairs = zip(inner.keys, inner.values, strict=True) if isinstance(inner, ast.Dict) else ()
        for key, value in pairs:
            if isinstance(key, ast.Constant) and key.value == "n_predict":
                return "" if isinstance(value, ast.Name) else ast.unparse(value)
    return ""


def _keys(node: ast.Dict) -> list[object]:
    return [getattr(key, "value", None) for key in node.keys]


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _fields(count: str) -> Iterator[str]:
    """The configuration's fields that an expression such as `getattr(config, "n", 1)` names."""
    tree = ast.parse(count or "None", mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr != "get":
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
