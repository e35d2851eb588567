"""A first draft of a policy file for an architecture that no policy speaks of.

The constructions are followed from the draft class down, with prefixes filled in as far as
the source says them. What it writes is `assumed`: a start for a person, to be proved by
recordings. `todo` says what no source tells.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mtpfix.engines.vllm.policy import covered_releases
from tools.changes import families_of
from tools.extract import becomes, drafted, family, locate, registry
from tools.reading import attributes, constructions
from tools.reading.sources import Defined, Sources

Json = Any

_DEEPEST = 12
"""Blocks inside blocks; more is a loop."""
_KINDS = {
    "ParallelLMHead": "lm_head",
    "VocabParallelEmbedding": "embedding",
    "FusedMoE": "experts",
    "SharedFusedMoE": "experts",
    "FusedMoEFactory": "experts",
    "RoutedExperts": "experts",
}
_KEPT = ("Linear", "Head", "Embedding", "_embedding", *_KINDS)
"""Ends of the names of classes that hold matrices; other classes hold none of their own."""
_NUMBER = "{layer}"


class Leaf(NamedTuple):
    """A layer that is built as it is."""

    name: str
    """Its prefix, with `{layer}` for a number that the source computes."""
    cls: str
    row: Json


def draft(release: str, read: Sources, arch: str) -> Json:
    """A policy for a draft architecture, or for a target's.

    Raises:
        SystemExit: the release has no such architecture, or a policy speaks of it.
    """
    known = registry(read)
    turned = becomes(read, known)
    arch = (
        arch if arch in drafted(known) else next(iter(turned.get(arch, {}).get("drafts", ())), "")
    )
    cls = locate(read, known[arch]) if arch in known else None
    if cls is None:
        raise SystemExit(f"vLLM {release} has no such draft; see `architectures` in the extract")
    named = families_of(arch, {"becomes": turned})
    if named:
        raise SystemExit(f"{arch} has a policy: {', '.join(named)}")
    targets = {name: row for name, row in turned.items() if arch in row["drafts"]}
    fields = sorted({field for row in targets.values() for field in row["fields"]})
    counted = next((f for f in fields if "num" in f), None)
    own = attributes.inherited(read, cls, "packed")
    source, packed = ("", own) if own is not None else _of_target(read, cls, known)
    return {
        "$schema": "../schema/family.schema.json",
        "title": arch,
        "todo": _todo(release, source, targets),
        "grades": [{"value": "assumed"}],
        "num_hidden_layers": "num_hidden_layers",
        "mtp_layers": f"default({counted}, 0)" if counted else "1",
        "disk_roots": [],
        "draft_class": [{"value": cls.name}],
        "packed": [{"value": packed, "grade": "assumed"}],
        "mappers": [],
        "loader": [{"style": "dict"}],
        "trunk": [],
        "draft": list(_sections(list(leaves(read, cls)), packed)),
    }


def _of_target(
    read: Sources, cls: Defined, known: dict[str, tuple[str, str]]
) -> tuple[str, dict[str, list[str]]]:
    """The mapping of a target whose class stands in the files that the draft is made of."""
    files = {block.module for block in family(read, cls)}
    for arch, row in known.items():
        target = None if "MTP" in row[1] else locate(read, row)
        if target is not None and target.module in files:
            packed = dict(attributes.inherited(read, target, "packed") or {})
            for base in read.bases(target):
                packed |= attributes.additions(base.node)
            if packed:
                return arch, packed
    return "no target found", {}


def _todo(release: str, source: str, targets: Json) -> list[str]:
    found = [
        f"read in {release} only; covered are {covered_releases()[0]} to {covered_releases()[-1]}",
        f"families.json: the target is {', '.join(sorted(targets)) or 'named by no test'}",
        "disk_roots, members and stacked: names on disk stand in the draft's load_weights",
        "trunk, mappers: from the target's class; conditions (`when`) stand in `condition`",
    ]
    if source:
        found.append(f"packed: the target's mapping stays in force; taken from {source}")
    return found


def leaves(
    read: Sources,
    cls: Defined,
    prefix: str = "",
    when: tuple[str, ...] = (),
    depth: int = _DEEPEST,
    *,
    asks: bool = True,
) -> Iterator[Leaf]:
    """The layers below a class, with their prefixes, in the order of the source.

    Args:
        read: the sources.
        cls: the class.
        prefix: what the class is built with.
        when: the conditions that it stands under.
        depth: how many more blocks may stand inside one another.
        asks: whether the class is given the quantization config that it hands on.
    """
    if not depth:
        return
    made = next((base for base in read.bases(cls) if _has_constructor(base)), None)
    for read_row in constructions.read_class(read, made)["builds"] if made else ():
        kept = asks or read_row["quant_config"] not in ("passed", "conditional")
        row = read_row if kept else {**read_row, "quant_config": "none"}
        name = filled(row["prefix"], prefix)
        found = [read.find(*key.split(":")) for key in row["is"]]
        found = found or [read.find(made.module, row["class"])] if made else []
        inner = [block for block in found if block and constructions.followed(block)]
        several = ("one of several classes",) if len(inner) > 1 else ()
        conditions = (*when, *row.get("when", ()), *several)
        below = [
            leaf
            for block in inner
            for leaf in leaves(
                read, block, name, conditions, depth - 1, asks=_given(read, block, row)
            )
        ]
        called = cls.name if row["class"].endswith(".__init__") else row["class"]
        if below:
            yield from below
        elif _keeps(read, cls, called) and called != "GateLinear":  # a router, never quantized
            own = f"{prefix}.{row['attribute']}" if row["quant_config"] == "never" else name
            yield Leaf(own.lstrip("."), called, {**row, "when": conditions})


def _given(read: Sources, cls: Defined, row: Json) -> bool:
    """Return whether a class is built with a quantization config, where it takes one as such."""
    takes = "quant_config" in constructions.signature(read, cls)
    return not takes or row["quant_config"] in ("passed", "conditional")


def _keeps(read: Sources, cls: Defined, called: str) -> bool:
    """Return whether a layer holds matrices, by its name or that of a class it derives from."""
    bases = (base.name for base in read.bases(cls)) if called == cls.name else ()
    return any(name.endswith(_KEPT) for name in (called, *bases))


def _has_constructor(cls: Defined) -> bool:
    body = ast.iter_child_nodes(cls.node)
    return any(isinstance(n, ast.FunctionDef) and n.name == "__init__" for n in body)


def filled(expression: str | None, prefix: str) -> str:
    """A prefix expression with the prefix of the place in it; a number becomes `{layer}`."""
    if expression is None:
        return ""
    node = ast.parse(expression, mode="eval").body
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) == "maybe_prefix":
        inner = filled(ast.unparse(node.args[0]), prefix)
        return ".".join(filter(None, (inner, filled(ast.unparse(node.args[1]), prefix))))
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value
            if isinstance(part, ast.Constant)
            else filled(ast.unparse(part.value), prefix)  # type: ignore[attr-defined]
            for part in node.values
        )
        return "".join(map(str, parts)).lstrip(".")
    return prefix if "prefix" in expression else _NUMBER


def _sections(found: list[Leaf], packed: dict[str, list[str]]) -> Iterator[Json]:
    """The leaves as sections of a policy: what stands in a layer, and what does not."""
    layered: dict[str, list[Json]] = {}
    for leaf in found:
        head, number, tail = leaf.name.partition(f"{_NUMBER}.")
        root = head + number
        layered.setdefault(root if number else "", []).append(
            _module(leaf, tail if number else leaf.name, packed)
        )
    for root, modules in layered.items():
        section: Json = {"modules": modules}
        if root:
            section = {"repeat": "mtp_layers", "layer": "{num_hidden_layers + i}", "prefix": root}
            section["modules"] = modules
        yield section


def _module(leaf: Leaf, name: str, packed: dict[str, list[str]]) -> Json:
    last = name.rpartition(".")[2]
    module: Json = {"name": name}
    kind = _KINDS.get(leaf.cls)
    module |= {"kind": kind} if kind else {"class": leaf.cls.rpartition(".")[2]}
    if last in packed:
        module["members"] = [re.sub(rf"{re.escape(last)}$", part, name) for part in packed[last]]
    if kind == "experts":
        module |= {"probe": ["gate_proj", "up_proj", "down_proj"], "experts": "n_routed_experts"}
    if leaf.row["quant_config"] in ("none", "absent", "never"):
        module["asks"] = False
    conditions = [*leaf.row.get("when", ()), leaf.row.get("quant_source", "")]
    if any(conditions):
        module["condition"] = " and ".join(filter(None, conditions))
    return {**module, "grade": "assumed"}
