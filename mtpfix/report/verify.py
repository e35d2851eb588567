"""What an installed engine built, beside the disk and the prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from json import dumps

from rich.text import Text

from mtpfix import facts, targets
from mtpfix.engines.verification import Verification, Verified
from mtpfix.report import grid, wording
from mtpfix.report.grid import Block, Cell
from mtpfix.report.inert_text import ASCII, PROSE_LIMIT, inert, inert_json
from mtpfix.report.page import Page, mooded, signed
from mtpfix.report.wording import Sign

SCHEMA = "mtpfix.verify/1"

_ALARM = (
    "MTPFIX IS WRONG: {engine} {version} decided {count} differently from what mtpfix predicts. "
    "This is a bug in mtpfix: please report it with the output of `mtpfix verify --format json`."
)

_VERDICTS = {
    True: Sign("✓", "agrees", "good"),
    False: Sign("✗", "differs", "bad"),
    None: Sign(wording.OUTCOMES["no_mtp"].sign, "absent", "quiet"),
}


def alarm(answer: Verification) -> str:
    """What is said aloud where a prediction was wrong."""
    number = wording.count(len(unforeseen(answer)), "module")
    return _ALARM.format(engine=answer.engine, version=answer.version, count=number)


def unforeseen(answer: Verification) -> list[Verified]:
    """Modules that the engine decided otherwise than predicted."""
    return [row for row in answer.modules if row.foreseen is False]


def text(
    answer: Verification,
    width: int,
    *,
    color: bool,
    verbose: bool,
    ascii: bool,  # noqa: A002
) -> str:
    """The draft as a table, the trunk where it differs or always, then the verdict."""
    page = Page(width, color=color)
    name = (answer.draft_class or "").rpartition(".")[2]
    draft = f", drafted by {inert(name)}" if name else ""
    page.line(mooded(f"{answer.engine} {inert(answer.version)}{draft}", "strong"))
    shown = [row for row in answer.modules if verbose or row.part == "draft" or _matters(row)]
    titles = ["module", "on disk", f"{answer.engine} built", "verdict"]
    titles += ["mtpfix predicted"] if any(not row.foreseen for row in shown) else []
    grid.put(page, titles, list(_blocks(shown, len(titles))))
    _put_rest(page, answer, shown, verbose=verbose)
    return page.text().translate(ASCII) if ascii else page.text()


def _matters(row: Verified) -> bool:
    return row.agrees is False or not row.foreseen or row.error is not None


def _blocks(shown: Sequence[Verified], columns: int) -> Iterator[Block]:
    """Draft before trunk, each by layer."""
    layers: dict[tuple[str, str], list[Verified]] = {}
    for row in sorted(shown, key=lambda row: row.part):
        layers.setdefault((row.part, grid.in_layer(row.module)[0]), []).append(row)
    for (part, root), rows in layers.items():
        heading = f"{part}  {inert(root)}*" if root else part
        yield Block(heading, [_row(row)[:columns] for row in rows])


def _row(row: Verified) -> Sequence[Cell]:
    built: str = row.built
    if row.built == "quantized" and row.scheme:
        built = wording.short_scheme(row.scheme)
    if row.foreseen:
        foreseen = grid.cell("the same", mood="quiet")
    elif row.foreseen is None:
        foreseen = grid.cell("? could not judge", mood="unsure")
    else:
        foreseen = grid.cell(f"✗ {row.predicted or 'no such module'}", mood="bad")
    return (
        grid.cell(inert(grid.in_layer(row.module)[1]) or '""'),
        grid.cell(wording.stored(row.disk, short=True)),
        grid.cell(built),
        [signed(_VERDICTS[row.agrees])],
        foreseen,
    )


def _put_rest(
    page: Page, answer: Verification, shown: Sequence[Verified], *, verbose: bool
) -> None:
    """Failures, patches, and the verdict in one line."""
    page.line()
    errors = dict.fromkeys((*answer.failures, *(row.error for row in shown if row.error)))
    for said in errors:
        page.item(mooded(f"✗ {answer.engine} raised  ", "bad"), Text(_raised(said)))
    for patch in answer.patches if verbose else ():
        page.item(mooded("patched  ", "quiet"), mooded(inert(patch, PROSE_LIMIT), "quiet"))
    sign, said = _verdict(answer)
    page.item(mooded(f"{sign.sign} ", sign.mood), mooded(said, "strong"))
    if answer.modules and all(row.foreseen for row in answer.modules):
        number = wording.count(len(answer.modules), "decision")
        page.line(mooded(f"  mtpfix predicted all {number} for draft and target model.", "quiet"))


def _raised(text: str) -> str:
    """`phase: Type: message`, or without the phase."""
    phase, colon, rest = text.partition(": ")
    named = bool(colon) and phase.islower()
    return f"{inert(phase)}: {wording.exception(rest)}" if named else wording.exception(text)


def _verdict(answer: Verification) -> tuple[Sign, str]:
    wrong = sum(row.agrees is False for row in answer.modules)
    if not answer.modules:
        return Sign("?", "", "unsure"), f"{answer.engine} gave no usable answer."
    if wrong or answer.failures:
        counted = wording.count(wrong, "module")
        what = f"{counted} cannot take what is on disk" if wrong else f"{answer.engine} raised"
        return _VERDICTS[False], f"{what[:1].upper()}{what[1:]}."
    compared = sum(row.agrees is True for row in answer.modules)
    return _VERDICTS[True], f"All {compared} modules can take what is on disk."


def json(answer: Verification, target: str) -> str:
    """A document of schema `mtpfix.verify/1`."""
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "target": _target(target),
        "engine": answer.engine.lower(),
        "version": answer.version,
        "vllm": answer.version if answer.engine == "vLLM" else None,
        "draft_class": answer.draft_class,
        "modules": [_view(row) for row in answer.modules],
        "failures": answer.failures,
        "patches": answer.patches,
        "foreseen": not unforeseen(answer),
        "exit_code": answer.exit_code,
    }
    return f"{inert_json(dumps(document, indent=2, ensure_ascii=False))}\n"


def _target(target: str) -> dict[str, object]:
    place = targets.parse(target)
    if place.path is None:
        return {"kind": "hub", "name": place.repo, "revision": place.revision}
    return {"kind": "local", "name": target, "revision": None}


def _view(row: Verified) -> dict[str, object]:
    view = asdict(row)
    disk = view.pop("disk")
    return {**view, "on_disk": disk["state"].value, "on_disk_format": disk["format"]}
