"""The file format of recordings: what a real vLLM built, small enough to keep and to diff.

The folder of a release holds `release.json` (what was asked, and the quantization
configurations it was asked about) and one file a family. Tables are written once for each
variant (`config`, `modules`, `ignores`); `cases` says by variant, scheme and ignore list what
came of it. In `built`, one letter stands for each module of the variant, in order; `legend`
says what a letter means. `read` puts it all together again. A file states only what it has
otherwise than a recording before it: see `overlays`.
"""

from __future__ import annotations

import string
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tools import overlays
from tools.headers import wanted
from tools.schemes import unquantized

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = Any

SCHEMA = "mtpfix.recording/2"
RELEASE = "release.json"
PARAMETERS = "parameters.json"
"""What `parameters.py` records, in a form of its own."""
MAIN = "compressed-tensors"
"""The method that every family is recorded with."""
ABSENT, UNQUANTIZED, ERROR = "-", ".", "!"
ASKED = ("variant", "scheme", "ignore")
"""What a case is found by."""
_ABOUT_IT = ("quantiz", "awq", "gptq")
"""Words of messages that are about the quantization metadata."""
FIXED = {ABSENT: "not asked", UNQUANTIZED: "unquantized", ERROR: "error"}


class Module(NamedTuple):
    """A layer that asked for a quantization method."""

    part: str
    kind: str
    cls: str
    name: str
    """Construction-time prefix."""
    param: str
    """Path in the model; empty where no case could construct it."""


class Outcome(NamedTuple):
    """What was built for one module in one case."""

    module: Module
    built: str
    """`quantized`, `unquantized` or `error`."""
    scheme: str | None
    """Class of the scheme, or of the method for experts."""
    error: str | None


@dataclass(frozen=True)
class Case:
    """One question to vLLM and its answer."""

    release: str
    family: str
    variant: str
    scheme: str
    """Name of the quantization configuration; empty for none."""
    ignore_name: str
    """Name of the ignore list."""
    config: dict[str, Json]
    """config.json, with `quantization_config`."""
    draft_class: str | None
    outcomes: tuple[Outcome, ...]
    packed: dict[str, list[str]]
    """The packed-modules mapping in force for the draft."""
    ignore: list[str] | None
    """The ignore list after the mappers."""
    targets: list[str]
    """The targets after the mappers, as vLLM's target map lists them."""
    shared: bool | None
    """Whether the draft asks the target's own configuration object."""
    failures: tuple[dict[str, str], ...]
    unasked: tuple[dict[str, str], ...]
    """Draft layers that are built without asking."""

    @property
    def refused(self) -> str | None:
        """The exception by which vLLM refuses the quantization metadata as a whole, if it does."""
        found = (f for f in self.failures if f["phase"] == "config")
        told = (f for f in found if any(word in f["message"].lower() for word in _ABOUT_IT))
        return next((f"{f['type']}: {f['message']}" for f in told), None)

    @property
    def id(self) -> str:
        """Names the case for a person, and in a test report."""
        return f"{self.release}/{self.family}/{self.variant}/{self.scheme}/{self.ignore_name}"


# --- reading -------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    """The recordings of families below `folder`, in order."""
    return sorted(path for path in folder.rglob("*.json") if path.name not in (RELEASE, PARAMETERS))


def name_of(family: str, method: str) -> str:
    """The name of a recording: of a family under a quantization method."""
    return f"{family}.json" if method == MAIN else f"{family}+{method}.json"


def read(path: Path) -> Iterator[Case]:
    """The cases of one file."""
    release = overlays.read(path.with_name(RELEASE))
    if release["schema"] != SCHEMA:
        raise ValueError(f"{path}: unknown schema {release['schema']}")
    data = {**release, **overlays.read(path)}
    for variant, schemes in data["cases"].items():
        for scheme, lists in schemes.items():
            for ignore, row in lists.items():
                yield _case(data, (variant, scheme, ignore), row)


Unquantized = list[str] | dict[str, Json] | None
"""Names, written as the dialect writes them; or the very keys; None leaves them out."""


def with_quantization(
    config: dict[str, Json], scheme: dict[str, Json] | None, ignore: Unquantized
) -> dict[str, Json]:
    """A configuration with a quantization scheme, and with the keys that its family adds to one.

    Args:
        config: the configuration of the model.
        scheme: the quantization configuration without its list; None leaves the model as it is.
        ignore: what is not quantized.
    """
    bare = {key: value for key, value in config.items() if key != "quantization_config"}
    if scheme is None:
        return bare
    quantization = {**(config.get("quantization_config") or {}), **scheme}
    if isinstance(ignore, dict):
        quantization.update(ignore)
    elif ignore is not None:
        quantization.update(unquantized(scheme["quant_method"], ignore))
    return {**bare, "quantization_config": quantization}


def _case(data: Json, asked: tuple[str, str, str], row: Json) -> Case:
    variant_name, scheme_name, ignore_name = asked
    variant = data["variants"][variant_name]
    ignore = variant["ignores"].get(ignore_name)
    scheme = data["schemes"][scheme_name] if scheme_name else None
    config = with_quantization(variant["config"], scheme, ignore)
    messages = data.get("messages", ())
    errors = (messages[e] if isinstance(e, int) else e for e in row.get("errors", ()))
    modules = [_module(*row) for row in variant["modules"]]
    given = targets(config.get("quantization_config", {}))
    return Case(
        release=data["release"],
        family=data["family"],
        variant=variant_name,
        scheme=scheme_name,
        ignore_name=ignore_name,
        config=config,
        draft_class=row.get("draft_class", variant["draft_class"]),
        outcomes=tuple(
            _outcome(module, data["legend"], letter, errors)
            for module, letter in zip(modules, row["built"], strict=True)
            if letter != ABSENT
        ),
        packed=row.get("packed", variant["packed"]),
        ignore=row.get("ignore_after", None if wanted(ignore_name) else listed(ignore)),
        targets=row.get("targets_after") or given + row.get("added", variant["added"]),
        shared=row.get("shared", variant["shared"]),
        failures=tuple(row.get("failures", ())),
        unasked=tuple(variant["unasked"]),
    )


def _module(part: str, kind: str, cls: str, name: str, param: str) -> Module:
    return Module(part, kind, cls, name, param or name)


def _outcome(module: Module, legend: Json, letter: str, errors: Iterator[str]) -> Outcome:
    if letter == UNQUANTIZED:
        return Outcome(module, "unquantized", None, None)
    if letter == ERROR:
        return Outcome(module, "error", None, next(errors))
    return Outcome(module, "quantized", legend[letter], None)


# --- writing -------------------------------------------------------------------

Key = tuple[str, str, str, str, int]
"""Part, kind, class and name of a module, and how many before it were the same."""


def listed(ignore: Unquantized) -> list[str]:
    """The entries, where they are a list."""
    values = ignore.values() if isinstance(ignore, dict) else [ignore]
    return next((value for value in values if isinstance(value, list)), [])


def targets(quantization: dict[str, Json]) -> list[str]:
    """Every target of a configuration, in order."""
    groups = quantization.get("config_groups", {}).values()
    return [target for group in groups for target in group.get("targets", ())]


@dataclass
class Variant:
    """The tables of one variant of a family, while they grow."""

    config: dict[str, Json]
    ignores: dict[str, Unquantized] = field(default_factory=dict)
    modules: dict[Key, str] = field(default_factory=dict)
    """Path in the model of each module that was ever asked about."""
    defaults: dict[str, Json] = field(default_factory=dict)
    """What most cases share: set by the first case that built a draft."""

    def put(self, key: Key, param: str, *, after: Key | None) -> None:
        """Adds a module behind the one that was asked about before it, if any, or its path."""
        if key in self.modules:
            self.modules[key] = param or self.modules[key]
            return
        rows = list(self.modules.items())
        at = 0 if after is None else [known for known, _ in rows].index(after) + 1
        rows.insert(at, (key, param))
        self.modules = dict(rows)

    def order(self) -> list[Key]:
        """The modules, the trunk's first."""
        return sorted(self.modules, key=lambda key: key[0] != "trunk")


class Recorder:
    """Collects the answers of one family under one release, and writes the file.

    Args:
        family: the family.
        schemes: the quantization configurations that cases name.
        command: what makes the file, where it holds the schemes itself; else that of the
            release does.

    Attributes:
        patches: what the family needs besides the patches for every model.
        variants: the tables of each variant; the caller adds one before its cases.
        refused: the schemes that vLLM refuses to read.
    """

    def __init__(self, family: str, schemes: dict[str, Json], *, command: str = "") -> None:
        self.family = family
        self.schemes = schemes
        self.command = command
        self.patches: list[str] = []
        self.variants: dict[str, Variant] = {}
        self.refused: set[str] = set()
        self._letters: dict[str, str] = {}
        self._messages: dict[str, int] = {}
        self._cases: list[tuple[dict[str, Json], dict[Key, str], dict[Key, str]]] = []

    def add(self, variant: str, scheme: str, ignore: str, answer: Json) -> None:
        """Adds one answer, a `mtpfix.engines.vllm.live.Answer`."""
        table = self.variants[variant]
        row: dict[str, Json] = {"variant": variant, "scheme": scheme, "ignore": ignore}
        letters: dict[Key, str] = {}
        errors: dict[Key, str] = {}
        seen: Counter[tuple[str, str, str, str]] = Counter()
        before: Key | None = None
        for made in answer.decisions:
            same = (made.part, made.kind, made.cls, made.name)
            key = (*same, seen[same])
            seen[same] += 1
            table.put(key, made.param, after=before)
            before = key
            letters[key] = self._letter(made)
            if made.error is not None:
                errors[key] = made.error
        row.update(self._rest(table, scheme, ignore, answer))
        self._cases.append((row, letters, errors))

    def rows(self, variant: str) -> list[dict[str, Json]]:
        """What the cases of one variant say besides their decisions."""
        return [row for row, _, _ in self._cases if row["variant"] == variant]

    def _letter(self, made: Json) -> str:
        if made.built == "error":
            return ERROR
        if made.built == "unquantized":
            return UNQUANTIZED
        names = string.ascii_letters
        return self._letters.setdefault(made.scheme, names[len(self._letters)])

    def _rest(self, table: Variant, scheme: str, ignore: str, answer: Json) -> dict[str, Json]:
        """What one case says besides its decisions, where it is not what the others say."""
        said = {
            "draft_class": answer.draft_class,
            "packed": {key: list(value) for key, value in answer.packed.items()},
            "shared": answer.shared,
        }
        after = self._targets(scheme, list(answer.targets))
        if not table.defaults and not answer.failures and answer.shared is not None:
            rows = [{"param": u.param, "cls": u.cls, "kind": u.kind} for u in answer.unasked]
            table.defaults = {**said, **after, "unasked": rows}
        rest: dict[str, Json] = {**said, **after}
        unlike = list(answer.ignore or ()) != listed(table.ignores.get(ignore))
        if unlike and wanted(ignore) is None:  # what comes from headers is a set
            rest["ignore_after"] = None if answer.ignore is None else list(answer.ignore)
        if answer.failures:
            rest["failures"] = [
                {"phase": f.phase, "type": f.type, "message": f.message[:400], "where": f.where}
                for f in answer.failures
            ]
        return rest

    def _targets(self, scheme: str, after: list[str]) -> dict[str, Json]:
        """The targets that vLLM added to those given, or all, where it changed them."""
        given = targets(self.schemes.get(scheme, {}))
        if after[: len(given)] == given:
            return {"added": after[len(given) :]}
        return {"targets_after": after}

    def summary(self) -> str:
        """How many cases there are, and how many of them failed outright."""
        failed = sum("failures" in row for row, _, _ in self._cases)
        return f"{len(self._cases)} cases, {failed} with a failure"

    def write(self, path: Path) -> None:
        """Writes the file."""
        cases: dict[str, Json] = {}
        for row, letters, errors in self._cases:
            variant, scheme, ignore = (row[name] for name in ASKED)
            lists = cases.setdefault(variant, {}).setdefault(scheme, {})
            lists[ignore] = self._line(row, letters, errors)
        own = {"command": self.command, "schemes": self.schemes} if self.command else {}
        messages = {"messages": list(self._messages)} if self._messages else {}
        whole = {
            "family": self.family,
            "patches": self.patches,
            "legend": FIXED | {letter: scheme for scheme, letter in self._letters.items()},
            **own,
            "variants": {name: self._variant(table) for name, table in self.variants.items()},
            **messages,
            "cases": cases,
        }
        overlays.write(path, whole)

    def _variant(self, table: Variant) -> dict[str, Json]:
        empty: dict[str, Json] = {
            "draft_class": None,
            "packed": {},
            "shared": None,
            "added": [],
            "unasked": [],
        }
        return {
            "config": table.config,
            **empty,
            **table.defaults,
            "modules": [_row(key, table.modules[key]) for key in table.order()],
            "ignores": table.ignores,
        }

    def _line(self, row: Json, letters: dict[Key, str], errors: dict[Key, str]) -> Json:
        table = self.variants[row["variant"]]
        usual = table.defaults
        line = {k: v for k, v in row.items() if not (k in ASKED or (k in usual and v == usual[k]))}
        line["built"] = "".join(letters.get(key, ABSENT) for key in table.order())
        if errors:
            raised = (errors[key] for key in table.order() if key in errors)
            line["errors"] = [self._messages.setdefault(e, len(self._messages)) for e in raised]
        return line


def write_release(folder: Path, release: str, made: dict[str, Json], schemes: Json) -> None:
    """Writes what the recordings of one release share."""
    head = {"schema": SCHEMA, "engine": "vllm", "release": release, "platform": "cuda"}
    overlays.write(folder / RELEASE, {**head, **made, "schemes": schemes})


def _row(key: Key, param: str) -> list[str]:
    """A module as the file holds it; the path in the model is empty where it is the name."""
    return [*key[:4], "" if param == key[3] else param]
