"""What a class of a model builds, read in its source: each layer with its prefix.

Only what matters for quantization is kept: constructions that take `quant_config` or `prefix`
(and plain `nn.Linear`, which never asks), the class' packed mapping and name mapper, and tests
and assignments about prefixes and quantization configs, which is where exceptions hide.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from tools.reading.attributes import class_values, digest, literal, normalised
from tools.reading.sources import Defined, Function, Sources

Json = Any

_TORCH = ("nn.Linear", "torch.nn.Linear", "nn.Embedding", "torch.nn.Embedding")
"""Layers that are never quantized."""
_BLOCKS = ("vllm.model_executor.models.", "vllm.models.", "vllm.model_executor.layers.")
_LEAVES = (
    "attention",
    "activation",
    "fused_moe",
    "layernorm",
    "linear",
    "logits_processor",
    "quantization",
    "rotary_embedding",
    "vocab_parallel_embedding",
)
"""Modules of vLLM's layers whose classes are built as they are: nothing inside them is named."""


class Place(NamedTuple):
    """A call, and what stands around it."""

    call: ast.Call
    attribute: str
    """What it is assigned to, without `self.`; empty where nothing is."""
    when: tuple[str, ...]
    """The tests that it stands under."""


def read_class(sources: Sources, cls: Defined) -> dict[str, Json]:
    """Everything about one class, as JSON."""
    node = cls.node
    assert isinstance(node, ast.ClassDef)  # noqa: S101 - for mypy; callers look
    functions = [inner for inner in node.body if isinstance(inner, Function)]
    built = [row for inner in _constructors(functions) for row in _builds(sources, cls, inner)]
    data: dict[str, Json] = {
        "bases": [ast.unparse(base) for base in node.bases],
        "builds": built,
        "tests": sorted({test for inner in functions for test in _tests(inner)}),
        "assigns": sorted({text for inner in functions for text in _assigns(inner)}),
        "helpers": dict(sorted(_helpers(sources, cls, functions))),
    }
    for key, value in class_values(node).items():
        data[key] = literal(sources, cls, value) or ast.unparse(value)
    return data


def blocks(sources: Sources, cls: Defined) -> list[Defined]:
    """The classes that `cls` builds or inherits from and that build something in turn."""
    found: dict[str, Defined] = {}
    for base in list(sources.bases(cls))[1:]:
        found[base.id] = base
    functions = [n for n in ast.iter_child_nodes(cls.node) if isinstance(n, Function)]
    for function in _constructors(functions):
        for node in _outside_of_tests(function):
            if isinstance(node, (ast.Name, ast.Attribute)):
                for made in _classes(sources, cls, node):
                    found.setdefault(made.id, made)
    return [made for made in found.values() if followed(made)]


def followed(cls: Defined) -> bool:
    """Whether a class is one of a model's, and not a layer that is built as it is."""
    below = next((cls.module.removeprefix(p) for p in _BLOCKS if cls.module.startswith(p)), "")
    inner = below.split(".")[0] if ".layers." in cls.module else below
    return bool(below) and inner not in (*_LEAVES, "interfaces", "interfaces_base", "utils")


def signature(sources: Sources, cls: Defined) -> list[str]:
    """The names of the positional parameters of a class, without `self`."""
    for base in sources.bases(cls):
        for inner in ast.iter_child_nodes(base.node):
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                return [argument.arg for argument in inner.args.args][1:]
    return []


# --- one class -------------------------------------------------------------------


def _constructors(functions: list[Function]) -> Iterator[Function]:
    """`__init__` and the methods that it calls, in the order in which they stand."""
    named = {function.name: function for function in functions}
    wanted, seen = ["__init__", "__new__"], set()
    while wanted:
        name = wanted.pop(0)
        if name in seen or name not in named:
            continue
        seen.add(name)
        for node in ast.walk(named[name]):
            if isinstance(node, ast.Attribute):
                wanted += [node.attr] if ast.unparse(node.value) in ("self", "cls") else []
    return (function for function in functions if function.name in seen)


def _builds(sources: Sources, cls: Defined, function: Function) -> Iterator[dict[str, Json]]:
    for place in _calls(function.body, "", ()):
        call = place.call
        made = list(_classes(sources, cls, call.func, function))
        if ast.unparse(call.func) == "super().__init__":
            made = list(sources.bases(cls))[1:2]
        words = _words(call, function)
        for found in made[:1]:
            plain = itertools.takewhile(lambda a: not isinstance(a, ast.Starred), call.args)
            words |= dict(zip(signature(sources, found), plain, strict=False))
        text = ast.unparse(call.func)
        asked = {"quant_config", "prefix"} & words.keys()
        if text not in _TORCH and (not asked or (_plain(text) and len(asked) == 1)):
            continue
        how, source = _passed(words.get("quant_config"), function)
        yield {
            "attribute": place.attribute,
            "class": text,
            "is": sorted({found.id for found in made if found.name != text}),
            "prefix": _prefix(words.get("prefix"), function),
            "quant_config": "never" if text in _TORCH else how,
            **({"quant_source": source} if source else {}),
            **({"when": list(place.when)} if place.when else {}),
        }


def _words(call: ast.Call, function: Function) -> dict[str, ast.expr]:
    """The keywords of a call, those in a local `dict(...)` that it unpacks included."""
    found: dict[str, ast.expr] = {}
    for word in call.keywords:
        if word.arg is not None:
            found[word.arg] = word.value
        elif isinstance(word.value, ast.Name):
            if function.args.kwarg is not None and word.value.id == function.args.kwarg.arg:
                for name in ("prefix", "quant_config"):  # handed on as they came
                    found[name] = ast.Name(name)
            for name, value in _locals(function):
                if name == word.value.id and isinstance(value, ast.Call):
                    found |= _words(value, function)
    return found


def _prefix(value: ast.expr | None, function: Function) -> str | None:
    """The source of a prefix; of a local name, what it was given."""
    if isinstance(value, ast.Name):
        given = [text for name, text in _locals(function) if name == value.id]
        value = given[0] if len(given) == 1 else value
    return None if value is None else ast.unparse(value)


def _plain(text: str) -> bool:
    """Whether a call is to a function that builds nothing itself."""
    name = text.rpartition(".")[2]
    return name[:1].islower() and "cls" not in name


def _calls(nodes: list[Json], attribute: str, when: tuple[str, ...]) -> Iterator[Place]:
    """Every call below some nodes, outer ones after the calls in their arguments."""
    for node in nodes:
        if isinstance(node, (ast.If, ast.IfExp)):
            test = ast.unparse(node.test)
            yield from _calls([node.test], attribute, when)
            yield from _calls(_listed(node.body), attribute, (*when, test))
            yield from _calls(_listed(node.orelse), attribute, (*when, f"not ({test})"))
            continue
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            first = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield from _calls(_listed(node.value), _attribute(first), when)
            continue
        yield from _calls(list(ast.iter_child_nodes(node)), attribute, when)
        if isinstance(node, ast.Call):
            yield Place(node, attribute, when)


def _listed(node: Json) -> list[Json]:
    return node if isinstance(node, list) else [] if node is None else [node]


def _attribute(target: ast.expr) -> str:
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    texts = [ast.unparse(part) for part in parts]
    own = [text.removeprefix("self.") for text in texts if text.startswith("self.")]
    return own[-1] if own else texts[-1]


def _passed(value: ast.expr | None, function: Function) -> tuple[str, str]:
    """How a quantization config is passed, and the expression where that is not plain."""
    if value is None:
        return "absent", ""
    if isinstance(value, ast.Constant) and value.value is None:
        return "none", ""
    if isinstance(value, ast.Name):
        given = [v for name, v in _locals(function) if name == value.id]
        if len(given) == 1 and not isinstance(given[0], (ast.IfExp, ast.Call, ast.Constant)):
            return "passed", ""
        if given:
            return "conditional", " | ".join(ast.unparse(v) for v in given)
    if isinstance(value, (ast.Name, ast.Attribute)):
        return "passed", ""
    return "conditional", ast.unparse(value)


@lru_cache(maxsize=64)
def _locals(function: Function) -> tuple[tuple[str, ast.expr], ...]:
    """The local names that a function gives a value."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, node.value))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.append((node.target.id, node.value))
    return tuple(found)


def _defaults(function: Function) -> Iterator[tuple[str, ast.expr]]:
    """The parameters of a function that have a default."""
    values = function.args.defaults
    names = [argument.arg for argument in function.args.args]
    return zip(names[len(names) - len(values) :], values, strict=True)


def _classes(
    sources: Sources, cls: Defined, node: ast.expr, function: Function | None = None
) -> Iterator[Defined]:
    """The classes of the release that an expression may stand for."""
    found = sources.expression(cls.module, node)
    if found is not None:
        yield from _classes_of(sources, found)
    elif isinstance(node, ast.Call):  # a function that chooses a class
        yield from _classes(sources, cls, node.func, function)
    elif isinstance(node, ast.IfExp):
        yield from _classes(sources, cls, node.body, function)
        yield from _classes(sources, cls, node.orelse, function)
    elif isinstance(node, ast.Name) and function is not None:
        for name, value in (*_locals(function), *_defaults(function)):
            if name == node.id:
                yield from _classes(sources, cls, value, None)


def _classes_of(sources: Sources, found: Defined) -> Iterator[Defined]:
    """A class itself, the classes of a table, or those that a function chooses from."""
    node = found.node
    if isinstance(node, ast.ClassDef):
        yield found
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _classes(sources, found, value)
    elif isinstance(node, ast.FunctionDef) and found.module.startswith(_BLOCKS[:2]):
        for value in _returns(found):
            yield from _classes(sources, found, value)


def _returns(function: Defined) -> Iterator[ast.expr]:
    """The names that a function returns."""
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return) and isinstance(node.value, (ast.Name, ast.IfExp)):
            yield node.value


def _outside_of_tests(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without annotations and what is only compared with."""
    for inner in ast.iter_child_nodes(node):
        asked = isinstance(inner, ast.Call) and ast.unparse(inner.func) == "isinstance"
        if not asked and not isinstance(inner, (ast.arg, ast.AnnAssign)):
            yield inner
            yield from _outside_of_tests(inner)
        elif isinstance(inner, ast.AnnAssign) and inner.value is not None:
            yield inner.value
            yield from _outside_of_tests(inner.value)


def _tests(function: Function) -> Iterator[str]:
    """Tests about a prefix or a quantization config."""
    for node in ast.walk(function):
        test = node.test if isinstance(node, (ast.If, ast.IfExp)) else None
        text = "" if test is None else ast.unparse(test)
        strings = isinstance(test, ast.AST) and any(
            isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            for inner in ast.walk(test)
        )
        if "quant_config" in text or ("prefix" in text and strings):
            yield text


def _assigns(function: Function) -> Iterator[str]:
    """Assignments that choose another quantization config than the given one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
            about = "quant_config" in target or "packed_modules_mapping" in target
            if about and not value.endswith("quant_config") and value != "{}":
                yield f"{target} = {value}"


def _helpers(
    sources: Sources, cls: Defined, functions: list[Function]
) -> Iterator[tuple[str, Json]]:
    """Functions that the class calls and that speak of quantization configs or mappers."""
    for function in functions:
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            found = sources.expression(cls.module, node.func)
            if found is None or not isinstance(found.node, ast.FunctionDef):
                continue
            if not found.module.startswith(_BLOCKS[:2]):
                continue
            text = normalised(found.node)
            if "quant_config" in text or "WeightsMapper(" in text:
                yield found.name, {"where": found.module, "hash": digest(text)}
