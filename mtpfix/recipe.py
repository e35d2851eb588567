"""Names before calibrating: what an engine will call the MTP block of a configuration.

Weights are not needed: the block is taken as it would be if it stayed unquantized, or were
stored as is asked for, beside a trunk of which every Linear is quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps
from typing import Any

from mtpfix.engines.base import Engine, EngineCase
from mtpfix.errors import RefusedError, UnknownError, UsageError
from mtpfix.model import Json, JsonFile, Module, Platform, QuantView
from mtpfix.patterns import budget
from mtpfix.quant import recipes
from mtpfix.quant.recipes import Recipe
from mtpfix.repair.plan import Options, Plan
from mtpfix.repair.planner import plan_for_all
from mtpfix.repair.verdicts import sharing
from mtpfix.selection import Selection

DEFAULT = "compressed-tensors"


@dataclass(frozen=True, slots=True)
class Named:
    """One module of the draft.

    Attributes:
        module: as it is constructed.
        asked: every name that the matcher may compare, the fused one first.
    """

    module: Module
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """Construction-time names of a draft, and the entries for a recipe.

    Attributes:
        family: name of the policy.
        groups: releases that name the draft alike (`0.32.0`, or `0.32.0 (rocm)` where
            platforms part), and its modules.
        entries: ignore entries that exclude the whole block in all selected releases.
        assumed: the selected releases that are newer than all that is known.
        method: the quantization method that the entries are for.
        key: where they stand in its metadata, keys joined by dots.
        value: what each of them is the key of; None: they are a list.
        decisive: the releases that must be right, labelled as in `groups`.
        unserved: the releases in which the entries leave a module wrong, labelled so.
        exit_code: 0 where the entries are right for all that decides, 1 where they are not,
            3 where a release that decides is only assumed.
        engines: whose names they are, as people spell them. Where there are several, labels begin
            with their engine: `SGLang 0.5.23`.
        other_lists: names of engines that know the family, and read another list of the method.
        stored: how the block is to be stored; None: unquantized.
        metadata: what the metadata must say beyond the least of the method, so that the block is
            built as it is to be stored: what is added to each key. None: entries are enough.
    """

    family: str
    groups: tuple[tuple[tuple[str, ...], tuple[Named, ...]], ...]
    entries: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    method: str = DEFAULT
    key: str = "ignore"
    value: Json = None
    decisive: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()
    exit_code: int = 0
    engines: tuple[str, ...] = ("vLLM",)
    other_lists: tuple[str, ...] = ()
    stored: str | None = None
    metadata: Json = None


@budget.shared()
def advise(
    config: Mapping[str, Json],
    selection: Selection,
    *,
    options: Options,
    method: str = DEFAULT,
    stored: str | None = None,
) -> Names:
    """The names and entries for one `config.json`.

    Args:
        config: what stands in it.
        selection: engines, releases and platforms.
        options: what entries may be.
        method: the quantization method of the recipe, or a tool that writes it.
        stored: how the block is to be stored; None: unquantized.

    Raises:
        UsageError: no entry of the method has an effect.
        UnknownError: the family or a release is not covered, or the configuration
            declares no MTP layer.
    """
    from mtpfix.quant import tools  # noqa: PLC0415 - a check needs no names

    method = tools.method_named(method)
    cases, others = _imagined(config, selection, recipes.recipe(method, stored, config))
    view, deciding = cases[0].view, selection.deciding(cases)
    made = plan_for_all(cases, view, options, _files(view) if stored else None, deciding)
    newer = dict.fromkeys(case.release for case in cases if case.is_newer)
    unserved = _unserved(cases, made)
    return Names(
        family=cases[0].family,
        groups=tuple(_groups(cases)),
        entries=tuple(entry for entry in made.added if entry not in made.defaults),
        assumed=tuple(newer),
        method=method,
        key=view.ignore_pointer.removeprefix(f"{view.pointer}/").replace("/", "."),
        value=view.stub if view.keyed else None,
        decisive=tuple(_labelled(deciding, cases)),
        unserved=tuple(_labelled(unserved, cases)),
        exit_code=_exit_code(deciding, unserved),
        engines=tuple(dict.fromkeys(case.engine.title for case in cases)),
        other_lists=tuple(engine.name for engine in others),
        stored=stored,
        metadata=_new(view.raw, made.view.raw) if made.schemes else None,
    )


def _imagined(
    config: Mapping[str, Json], selection: Selection, recipe: Recipe
) -> tuple[tuple[EngineCase, ...], tuple[Engine, ...]]:
    """Return the cases of the engines that read one list, and the engines that read another.

    Of an engine that nobody asked for by name, what it does not know is left out.

    Raises:
        UsageError: engines that were asked for by name keep their entries in different lists.
    """
    scope = selection.planned
    cases: list[EngineCase] = []
    others: list[Engine] = []
    for engine in selection.engines:
        needed = selection.requires(engine)
        try:
            found = engine.imagined(config, scope.releases_of(engine), scope.platforms, recipe)
        except UnknownError:
            if needed:
                raise
            continue
        if not cases or len(sharing([cases[0], found[0]])) > 1:
            cases += found
        elif needed:
            raise UsageError("the engines read different lists", "give one --engine at a time")
        else:
            others.append(engine)
    return tuple(cases), tuple(others)


def _files(view: QuantView) -> dict[str, JsonFile]:
    """Return the files that hold no more than some metadata."""
    value: Json = dict(view.raw)
    for key in reversed(view.pointer.strip("/").split("/")):
        value = {key: value}
    return {view.file: JsonFile(view.file, dumps(value).encode(), value)}


def _new(old: Json, new: Json) -> Json:
    """Return what is new in some metadata: keys, items of lists, and values that are others."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {
            key: _new(old.get(key), value) for key, value in new.items() if old.get(key) != value
        }
    if isinstance(old, list) and isinstance(new, list):
        return [item for item in new if item not in old]
    return new


def _unserved(cases: Iterable[EngineCase], made: Plan) -> list[EngineCase]:
    """Return the cases in which a module of the draft stays wrong under the entries."""

    def is_wrong(case: EngineCase) -> bool:
        reports = case.judged(made.views[case.engine], case.draft)
        return any(report.agrees is False for report in reports)

    return [case for case in cases if is_wrong(case)]


def _exit_code(deciding: Sequence[EngineCase], unserved: Sequence[EngineCase]) -> int:
    if any(case in unserved for case in deciding):
        return RefusedError.exit_code
    assumed = any(case.is_newer for case in deciding)
    return UnknownError.exit_code if assumed else 0


def _groups(cases: Sequence[EngineCase]) -> Iterable[tuple[tuple[str, ...], tuple[Named, ...]]]:
    """Releases that name the draft alike; the platform is said only where platforms differ."""
    alike: dict[tuple[Any, ...], tuple[tuple[Named, ...], list[EngineCase]]] = {}
    for case in cases:
        named = tuple(
            Named(replace(module, grade="run"), case.asked(module))
            for module in case.draft
            if module.members
        )
        # Releases may differ in what is loaded where, which is not shown.
        told = tuple(
            (each.module.name, each.module.kind, each.module.members, each.module.asks, each.asked)
            for each in named
        )
        alike.setdefault((case.engine, told), (named, []))[1].append(case)
    for named, members in alike.values():
        yield tuple(_labelled(members, cases)), named


def _labelled(chosen: Iterable[EngineCase], cases: Sequence[EngineCase]) -> Iterable[str]:
    """Return the labels of some cases; the platform is said where not all of them are meant."""
    releases: dict[tuple[Engine, str], list[Platform]] = {}
    for case in chosen:
        releases.setdefault((case.engine, case.release), []).append(case.platform)
    several = len({case.engine for case in cases}) > 1
    for (engine, release), on in releases.items():
        number = len({case.platform for case in cases if case.engine is engine})
        label = f"{engine.title} {release}" if several else release
        yield from [label] if len(on) == number else [f"{label} ({each})" for each in on]
