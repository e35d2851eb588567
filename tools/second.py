"""A second witness of the policies: what the sources of each release say of the same things.

Compared are whether a family's draft exists in a release, its class, the packed mappings in
force for it and for the trunk, the field that counts its layers, and the target's name mapper.
What depends on `config.json` is taken to be possible: a policy disagrees only if none of the
sources' possibilities is its own.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mtpfix.engines.policies.condition import Condition
from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.policies.family import MapperRow, PackedRow
from mtpfix.engines.policies.module import ModuleRow
from mtpfix.engines.vllm import metadata
from mtpfix.engines.vllm.policy import KNOWLEDGE, PLATFORMS, Policy, families, policy
from mtpfix.engines.vllm.policy import drafts as other_drafts
from mtpfix.model import Platform
from tools.drafting import leaves
from tools.extract import drafted, locate, registry, sources
from tools.reading import attributes, rewrites
from tools.reading.sources import Defined, Sources

Packed = dict[str, list[str]]

_Row = TypeVar("_Row", bound=Condition)
_Item = TypeVar("_Item")

_NUMBER = re.compile(r"\{[^{}]*\}")
_PARAMETER = re.compile(r"[._]weight\b|\.bias$")
"""What tells that a rule renames parameters: no list names them."""
REASONS = Path(__file__).with_suffix(".json")
"""Why some disagreements are none."""
_KINDS = ("prefix", "substr", "suffix")
"""The rules of a name mapper that a policy holds."""


class Seen(NamedTuple):
    """What the sources of one release say of one family on one platform."""

    drafts: tuple[Defined, ...]
    """The classes that the draft may be of; code for another maker's devices may run or not."""
    fields: frozenset[str]
    """The fields of the configuration that count its layers."""
    targets: tuple[Defined, ...]


def report(releases: Iterable[str], home: Path) -> list[str]:
    """Every disagreement for which there is no reason, one a line."""
    found: dict[str, list[str]] = {}
    for release in releases:
        for line in disagreements(release, sources(release, home)):
            found.setdefault(line, []).append(release)
    return [f"{line}  [{', '.join(where)}]" for line, where in sorted(found.items())]


def disagreements(release: str, read: Sources) -> Iterator[str]:
    """What policies and the sources of one release say differently."""
    yield from _methods(read)
    reasons = json.loads(REASONS.read_text(encoding="utf-8"))
    for name in families():
        said: dict[str, list[Platform]] = {}
        for platform in PLATFORMS:
            for line in _Check(policy(name), release, read.on(platform)).lines():
                if not f"{name}: {line}".startswith(tuple(reasons)):
                    said.setdefault(line, []).append(platform)
        for line, platforms in said.items():
            where = "" if len(platforms) == len(PLATFORMS) else f" on {', '.join(platforms)}"
            yield f"{name}{where}: {line}"


def _methods(read: Sources) -> Iterator[str]:
    """The quantization methods of the release that no dialect reads, with no reason why."""
    module = "vllm.model_executor.layers.quantization"
    found = read.find(module, "QuantizationMethods")
    strings = () if found is None else ast.walk(found.node)
    named = {str(node.value) for node in strings if isinstance(node, ast.Constant)}
    unread = [n for n in named if not metadata.known(n) and n not in metadata.UNJUDGED]
    if unread:
        yield f"quantization methods that no dialect reads: {_list(unread)}"


def look(known: Policy, read: Sources) -> Seen:
    """The draft and target classes of a family."""
    rows, function = registry(read), rewrites.override(read)
    present = [arch for arch in known.architectures if arch in rows]
    targets = [cls for arch in present if (cls := locate(read, rows[arch]))]
    if known.speculation != "mtp":
        return Seen(tuple(_embedded(known, read, rows)), frozenset(), tuple(targets))
    drafts: dict[str, Defined] = {}
    fields: set[str] = set()
    named = itertools.product(known.model_types or (rewrites.OTHER,), known.architectures)
    for model_type, arch in named if function else ():
        for draft in rewrites.drafts(function, drafted(rows), model_type, arch):  # type: ignore[arg-type]
            cls = locate(read, rows[draft.architecture])
            if cls is not None and _runs(cls):
                drafts[cls.id] = cls
                fields |= set(draft.fields)
    if not drafts and known.record.kin and targets:  # the text configuration decides
        return look(policy(known.record.kin), read)._replace(targets=tuple(targets))
    return Seen(tuple(drafts.values()), frozenset(fields), tuple(targets))


def _embedded(
    known: Policy, read: Sources, rows: Mapping[str, tuple[str, str]]
) -> Iterator[Defined]:
    """Yield the classes of a draft that is not MTP, which come in one package with the target."""
    packages = {rows[arch][0] for arch in known.architectures if arch in rows}
    named = (row.architectures for row in other_drafts() if row.method == known.speculation)
    for arch in itertools.chain.from_iterable(named):
        found = locate(read, rows[arch]) if arch in rows and rows[arch][0] in packages else None
        if found is not None and _runs(found):
            yield found


def _foreign(cls: Defined, platform: Platform) -> bool:
    """Return whether a class is code for the devices of another maker than the platform's."""
    home = {"nvidia": "cuda", "amd": "rocm"}
    return any(f".{maker}." in cls.module and platform != own for maker, own in home.items())


def _runs(cls: Defined) -> bool:
    """Whether a class can be built, and is no stub."""
    body = [node for node in ast.iter_child_nodes(cls.node) if isinstance(node, ast.FunctionDef)]
    made = next((node for node in body if node.name == "__init__"), None)
    return made is None or not isinstance(made.body[0], ast.Raise)


class _Check:
    """Compares one policy with the sources of one release, on one platform."""

    def __init__(self, known: Policy, release: str, read: Sources) -> None:
        self._known, self._release, self._read = known, release, read
        self._seen = look(known, read)

    def lines(self) -> Iterator[str]:
        """Every disagreement."""
        known, drafts = self._known, self._seen.drafts
        ours = in_releases(known.record.releases, self._release)
        ours = ours and self._read.platform in (known.record.platforms or PLATFORMS)
        sure = not any(_foreign(cls, self._read.platform) for cls in drafts)
        if ours != bool(drafts) and sure:
            theirs = _list(cls.name for cls in drafts)
            yield f"the policy has {'a' if ours else 'no'} draft, the sources have {theirs}"
        if not ours or not drafts:
            return
        mine = {row.value for row in self._rows(known.record.draft_class)}
        if mine != {cls.name for cls in drafts}:
            yield f"draft class: policy {_list(mine)}, sources {_list(c.name for c in drafts)}"
        yield from self._packed("packed", known.record.packed, list(self._for_draft()))
        trunk = known.record.trunk_packed
        if trunk:
            yield from self._packed("trunk_packed", trunk, list(self._for_trunk()))
        fields = self._seen.fields
        layers = known.record.mtp_layers.source
        if fields and not any(field in layers for field in fields):
            yield f"layers: policy {layers}, sources {_list(fields)}"
        yield from self._mapper()
        yield from self._names()

    def _packed(self, key: str, rows: Iterable[PackedRow], possible: list[Packed]) -> Iterator[str]:
        for row in self._rows(rows):
            if row.value not in possible:
                texts = sorted({json.dumps(mapping) for mapping in possible})
                yield f"{key}: policy {json.dumps(row.value)}, sources {' or '.join(texts)}"

    def _for_draft(self) -> Iterator[Packed]:
        """The mappings that may be in force for the draft.

        A draft class brings its own; without one the target's stays in force, unless the
        draft reads the quantization config anew.
        """
        anew = any(self._rows(self._known.record.own_config))
        for draft in self._seen.drafts:
            own = attributes.inherited(self._read, draft, "packed")
            if own is not None:
                yield own
            elif anew or not self._seen.targets:
                yield {}
            else:
                yield from self._for_trunk()

    def _for_trunk(self) -> Iterator[Packed]:
        """The mappings of the targets, with what they add while they are built, or not."""
        for target in self._seen.targets:
            base = attributes.inherited(self._read, target, "packed") or {}
            added: Packed = {}
            for cls in self._read.bases(target):
                added |= attributes.additions(cls.node)
            for some in _subsets(list(added.items())):
                yield {**base, **dict(some)}

    def _mapper(self) -> Iterator[str]:
        """Rules that drop or stack weights touch no name, but the mapper runs all the same."""
        mapped = {self._has_mapper(target) for target in self._seen.targets}
        if mapped and any(self._fits(row) for row in self._known.record.mappers) not in mapped:
            yield f"mapper: the sources have {'one' if True in mapped else 'none'}"
        theirs = [m for m in map(self._rules, self._seen.targets) if m is not None]
        rows = [row for row in self._known.record.mappers if self._fits(row)]
        sure = [row for row in rows if row.when is None]
        ours = [_rules_of([*sure, *some]) for some in _subsets([r for r in rows if r not in sure])]
        if theirs and not any(rules in theirs for rules in ours):
            missing, extra = theirs[0] - ours[-1], ours[-1] - theirs[0]
            yield f"mapper: the sources also have {_list(missing)}, the policy {_list(extra)}"

    def _names(self) -> Iterator[str]:
        """The names that the draft asks for, whatever the configuration says."""
        found = [leaf for cls in self._seen.drafts for leaf in leaves(self._read, cls)]
        asked = [leaf for leaf in found if leaf.row["quant_config"] in ("passed", "conditional")]
        ours = {
            _NUMBER.sub("{layer}", row.name if row.absolute else prefix + row.name): sure
            for section in self._known.record.draft
            if self._fits(section)
            for prefix, row, sure in self._expanded(section.modules, section.prefix.source)
            if row.name is not None and row.asks
        }
        only = {name for name, sure in ours.items() if sure} - {leaf.name for leaf in asked}
        sure = [leaf for leaf in asked if "prefix" not in leaf.row.get("quant_source", "")]
        more = {leaf.name for leaf in sure if not leaf.row["when"]} - ours.keys()
        if only or more:
            yield f"names: sources alone ask for {_list(more)}, the policy for {_list(only)}"

    def _expanded(
        self, rows: Iterable[ModuleRow], prefix: str, sure: bool = True
    ) -> Iterator[tuple[str, ModuleRow, bool]]:
        """The rows of modules, blocks put in: prefix, row, and whether it needs no condition."""
        for row in rows:
            if not self._fits(row):
                continue
            always = sure and row.when is None and not row.optional
            if row.use is not None:
                yield from self._expanded(KNOWLEDGE.block(row.use), prefix + row.prefix, always)
            else:
                yield prefix, row, always

    def _rules(self, target: Defined) -> set[tuple[str, str, str]] | None:
        """The rules of a target's mapper; None where they are not literals."""
        value: Any = attributes.inherited(self._read, target, "mapper")
        if value is None:
            return None if self._has_mapper(target) else set()
        tables = {kind: value.get(f"orig_to_new_{kind}", {}) for kind in _KINDS}
        if not all(isinstance(table, dict) for table in tables.values()):
            return None
        rules = ((kind, old, new) for kind, t in tables.items() for old, new in t.items())
        return {rule for rule in rules if rule[2] is not None and not _PARAMETER.search(rule[1])}

    def _has_mapper(self, target: Defined) -> bool:
        """Whether the class of a target, or a base of it, sets a mapper."""
        return any(
            "mapper" in attributes.class_values(cls.node)
            for cls in self._read.bases(target)
            if isinstance(cls.node, ast.ClassDef)
        )

    def _fits(self, row: Condition) -> bool:
        on = self._read.platform in (row.platforms or PLATFORMS)
        return on and in_releases(row.releases, self._release)

    def _rows(self, rows: Iterable[_Row]) -> Iterator[_Row]:
        """The rows that may count: up to the first that does not depend on `config.json`."""
        for row in rows:
            if self._fits(row):
                yield row
                if row.when is None:
                    return


def _subsets(rows: list[_Item]) -> Iterator[tuple[_Item, ...]]:
    """Yield every choice of some rows, from none to all."""
    for number in range(len(rows) + 1):
        yield from itertools.combinations(rows, number)


def _rules_of(rows: Iterable[MapperRow]) -> set[tuple[str, str, str]]:
    """Return the rules of some rows that may touch the name of a module."""
    rules = (
        (kind, *rule) for row in rows for kind in _KINDS for rule in getattr(row, kind).items()
    )
    return {rule for rule in rules if not _PARAMETER.search(rule[1])}


def _list(names: Iterable[object]) -> str:
    return " or ".join(sorted(map(str, names))) or "none"
