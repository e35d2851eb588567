"""Which metadata a draft folder needs, found by asking the releases themselves. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIG
from mtpfix.drafts.folder import without_metadata
from mtpfix.engines.base import EngineCase
from mtpfix.engines.opening import UNQUANTIZED
from mtpfix.errors import MtpfixError
from mtpfix.model import JsonFile, QuantView
from mtpfix.repair import patch
from mtpfix.repair.climb import climb
from mtpfix.repair.plan import Options
from mtpfix.repair.planner import plan

Configs = Mapping[str, JsonFile]


@dataclass(frozen=True)
class Choice:
    """Metadata for a draft folder.

    Attributes:
        files: the metadata files, by name.
        view: what they say.
        entries: the list of their own; empty where there are no metadata.
        bare: whether there are no metadata at all.
        wrong: releases that would still build the draft wrong, none of which decides.
    """

    files: Mapping[str, bytes]
    view: QuantView = UNQUANTIZED
    entries: tuple[str, ...] = ()
    bare: bool = True
    wrong: tuple[str, ...] = ()


def is_right(case: EngineCase, view: QuantView) -> bool:
    """Return whether a release builds every module of the draft as it is stored."""
    reports = case.judged(view, case.draft)
    return all(report.agrees is not False and report.consequence is None for report in reports)


def choose(
    cases: Sequence[EngineCase], deciding: Sequence[EngineCase], configs: Configs
) -> Choice | None:
    """Return the metadata that are right for what decides; None: none are.

    Args:
        cases: the target under all releases that are asked.
        deciding: those that must be right.
        configs: its metadata files, by name.
    """
    bare = Choice({CONFIG: without_metadata(configs[CONFIG])})
    lone = [case.alone() for case in cases]
    must = [lone[cases.index(case)] for case in deciding]

    def wrong(choice: Choice, among: Sequence[EngineCase]) -> list[str]:
        view = choice.view
        return [case.release for case in among if not is_right(case.under(view), view)]

    def is_better(tried: Choice | None, best: Choice | None) -> bool:
        return best is None and tried is not None and not wrong(tried, must)

    def tries() -> Iterator[Callable[[Choice | None], Choice | None]]:
        yield lambda _: bare
        for among in (lone, must):
            yield lambda _, among=among: _listed(among, must, configs)  # type: ignore[misc]

    start: Choice | None = None
    best = climb(start, tries(), is_better, lambda best: best is not None)
    return best and replace(best, wrong=tuple(dict.fromkeys(wrong(best, lone))))


def _listed(
    cases: Sequence[EngineCase], must: Sequence[EngineCase], configs: Configs
) -> Choice | None:
    """Return the metadata of the target with a list for the draft, for some releases."""
    made = plan(cases, cases[0].view, Options(engine_names_only=True), configs, must)
    texts = patch.apply_all(made.edits, lambda name: configs[name].raw)
    files = {**{name: file.raw for name, file in configs.items()}, **texts}
    read = {name: JsonFile(name, raw, strict_json.loads(raw, name)) for name, raw in files.items()}
    try:
        view = cases[0].engine.metadata(read)
    except MtpfixError:
        return None
    if view is None:
        return None
    return Choice(files, view, tuple(entry.text for entry in view.ignore), bare=False)
