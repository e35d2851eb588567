"""The file format of recordings of SGLang: one file a family, packed, with all releases.

A column is a release, or a release on another device (`0.5.23@10.0`). For each there are the tables
`modules` and `ignores`, what most of its cases share (`usual`), and `cases` by scheme and ignore
list. In `built`, one letter stands for each module, in order; `legend` says what a letter means.
`read` puts it all together again.
"""

from __future__ import annotations

import json
import lzma
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.recording import (
    ABSENT,
    ERROR,
    FIXED,
    UNQUANTIZED,
    Key,
    Module,
    Outcome,
    Variant,
    listed,
    targets,
    with_quantization,
)

Json = Any

SCHEMA = "mtpfix.sglang-recording/1"
END = ".json.xz"
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "sglang"
"""Where recordings are kept."""


@dataclass(frozen=True)
class State:
    """How one part is quantized, after the mapper."""

    method: str | None
    cls: str | None
    packed: dict[str, list[str]]
    ignore: list[str] | None
    targets: list[str]


@dataclass(frozen=True)
class Case:
    """One question to SGLang and its answer."""

    release: str
    capability: str
    family: str
    scheme: str
    """Name of the quantization configuration; empty for none."""
    ignore_name: str
    """Name of the ignore list."""
    config: dict[str, Json]
    """config.json, with `quantization_config`; `schemes.companions` says what lay beside it."""
    target_class: str | None
    draft_class: str | None
    outcomes: tuple[Outcome, ...]
    states: dict[str, State]
    """By part; a part is missing where its configuration could not be made."""
    unasked: dict[str, list[list[str]]]
    """By part: kind, class and path of each layer that never asks."""
    failures: tuple[dict[str, str], ...]

    @property
    def id(self) -> str:
        """Names the case for a person, and in a test report."""
        column = f"{self.release}@{self.capability}"
        return f"{column}/{self.family}/{self.scheme}/{self.ignore_name}"


# --- reading -------------------------------------------------------------------


def files(folder: Path = FOLDER) -> list[Path]:
    """Return the recordings in a folder, in order."""
    return sorted(folder.glob(f"*{END}"))


def load(path: Path) -> dict[str, Json]:
    """Return what a file holds."""
    data: dict[str, Json] = json.loads(lzma.decompress(path.read_bytes()))
    if data["schema"] != SCHEMA:
        raise ValueError(f"{path}: unknown schema {data['schema']}")
    return data


def save(path: Path, data: dict[str, Json]) -> None:
    """Write a file; the same data make the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path) -> Iterator[Case]:
    """Return the cases of one file."""
    data = load(path)
    for column, table in data["columns"].items():
        for scheme, lists in table["cases"].items():
            for ignore, row in lists.items():
                yield _case(data, column, (scheme, ignore), {**table["usual"], **row})


def _case(data: Json, column: str, asked: tuple[str, str], row: Json) -> Case:
    table = data["columns"][column]
    scheme_name, ignore_name = asked
    ignore = table["ignores"].get(ignore_name)
    scheme = data["schemes"][scheme_name] if scheme_name else None
    config = with_quantization(data["config"], scheme, ignore)
    errors = (table["messages"][number] for number in row.get("errors", ()))
    rows = zip(table["modules"], row["built"], strict=True)
    release, _, capability = column.partition("@")
    return Case(
        release=release,
        capability=capability or data["capability"],
        family=data["family"],
        scheme=scheme_name,
        ignore_name=ignore_name,
        config=config,
        target_class=row["target_class"],
        draft_class=row["draft_class"],
        outcomes=tuple(
            _outcome(Module(*module), table["legend"][letter], errors)
            for module, letter in rows
            if letter != ABSENT
        ),
        states={
            part: State(
                **{
                    "ignore": listed(ignore) or None,
                    "targets": targets(config.get("quantization_config", {})),
                    **said,
                    **row.get("changed", {}).get(part, {}),
                }
            )
            for part, said in row["states"].items()
        },
        unasked=row["unasked"],
        failures=tuple(row.get("failures", ())),
    )


def _outcome(module: Module, meaning: str, errors: Iterator[str]) -> Outcome:
    if meaning == FIXED[UNQUANTIZED]:
        return Outcome(module, "unquantized", None, None)
    if meaning == FIXED[ERROR]:
        return Outcome(module, "error", None, next(errors))
    return Outcome(module, "quantized", meaning, None)


# --- writing -------------------------------------------------------------------


class Column:
    """Collects the answers of one family under one release.

    Args:
        config: the configuration of the tiny model.
        schemes: the quantization configurations that cases name.

    Attributes:
        ignores: the lists that cases name; the caller sets them.
    """

    def __init__(self, config: dict[str, Json], schemes: dict[str, Json]) -> None:
        self.ignores: dict[str, Json] = {}
        self._table = Variant(config)
        self._schemes = schemes
        self._letters: dict[str, str] = {}
        self._messages: dict[str, int] = {}
        self._cases: list[tuple[str, str, dict[str, Json], dict[Key, str], dict[Key, str]]] = []

    def add(self, scheme: str, ignore: str, answer: Json) -> None:
        """Add one answer, a `mtpfix.engines.sglang.live.Answer`."""
        letters: dict[Key, str] = {}
        errors: dict[Key, str] = {}
        seen: Counter[tuple[str, str, str, str]] = Counter()
        before: Key | None = None
        for made in answer.decisions:
            same = (made.part, made.kind, made.cls, made.name)
            key = (*same, seen[same])
            seen[same] += 1
            self._table.put(key, made.param, after=before)
            before = key
            letters[key] = self._letter(made)
            if made.error is not None:
                errors[key] = made.error[:400]
        self._cases.append((scheme, ignore, self._said(scheme, ignore, answer), letters, errors))

    def _letter(self, made: Json) -> str:
        if made.built != "quantized":
            return ERROR if made.built == "error" else UNQUANTIZED
        return self._letters.setdefault(made.scheme, string.ascii_letters[len(self._letters)])

    def _said(self, scheme: str, ignore: str, answer: Json) -> dict[str, Json]:
        """Return what one case says besides its decisions."""
        given = {
            "ignore": listed(self.ignores.get(ignore)) or None,
            "targets": targets(self._schemes.get(scheme, {})),
        }
        states, changed = {}, {}
        for part, found in answer.quantization.items():
            packed = {key: list(value) for key, value in found.packed.items()}
            states[part] = {"method": found.method, "cls": found.cls, "packed": packed}
            after = {
                "ignore": None if found.ignore is None else list(found.ignore),
                "targets": list(found.targets),
            }
            unlike = {key: value for key, value in after.items() if value != given[key]}
            if unlike:
                changed[part] = unlike
        failures = [
            {"phase": f.phase, "type": f.type, "message": f.message[:400], "where": f.where}
            for f in answer.failures
        ]
        return {
            "target_class": answer.target_class,
            "draft_class": answer.draft_class,
            "states": states,
            "unasked": {
                part: [[u.kind, u.cls, u.param] for u in rows]
                for part, rows in answer.unasked.items()
            },
            **({"changed": changed} if changed else {}),
            **({"failures": failures} if failures else {}),
        }

    def summary(self) -> str:
        """Say how many cases there are, and how many of them failed outright."""
        failed = sum("failures" in said for _, _, said, _, _ in self._cases)
        return f"{len(self._cases)} cases, {failed} with a failure"

    def table(self, about: dict[str, Json]) -> dict[str, Json]:
        """Return all of it, as a file holds it.

        Args:
            about: what answered.
        """
        usual = self._usual()
        order = self._table.order()
        cases: dict[str, Json] = {}
        for scheme, ignore, said, letters, errors in self._cases:
            row = {key: value for key, value in said.items() if usual.get(key) != value}
            row["built"] = "".join(letters.get(key, ABSENT) for key in order)
            if errors:
                raised = [errors[key] for key in order if key in errors]
                row["errors"] = [self._messages.setdefault(e, len(self._messages)) for e in raised]
            cases.setdefault(scheme, {})[ignore] = row
        asked = {ignore for _, ignore, *_ in self._cases}
        paths = self._table.modules
        return {
            **about,
            "modules": [[*key[:4], paths[key]] for key in order],
            "legend": FIXED | {letter: scheme for scheme, letter in self._letters.items()},
            "ignores": {name: value for name, value in self.ignores.items() if name in asked},
            "usual": usual,
            "messages": list(self._messages),
            "cases": cases,
        }

    def _usual(self) -> dict[str, Json]:
        """Return what most cases say of each thing that every case says."""
        found = {}
        for key in ("target_class", "draft_class", "states", "unasked"):
            texts = Counter(json.dumps(said[key]) for _, _, said, _, _ in self._cases)
            found[key] = json.loads(texts.most_common(1)[0][0])
        return found
