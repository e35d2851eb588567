"""The other honest end: where the block is not to be had, `config.json` stops declaring it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mtpfix.analysis import analyze_planned
from mtpfix.checkpoint.load import CONFIG
from mtpfix.checkpoint.source import Source
from mtpfix.errors import RefusedError
from mtpfix.grafts import fields, target_model
from mtpfix.model import Edit, Report
from mtpfix.repair import patch
from mtpfix.repair.diff import diff as unified
from mtpfix.selection import Selection
from mtpfix.subject import Subject, open_subject, patched


@dataclass(frozen=True)
class Drop:
    """A declaration that is taken out.

    Attributes:
        files: path -> bytes as read, and the new bytes; empty: nothing is declared.
        edits: the same as edits.
        before: the reports on the files as they are: for all that is planned for, for what
            decides.
        after: the same on the files as they would be.
    """

    files: Mapping[str, tuple[bytes, bytes]]
    edits: tuple[Edit, ...]
    before: tuple[Report, Report]
    after: tuple[Report, Report]

    @property
    def diff(self) -> str:
        """The change as a unified diff."""
        return "".join(unified(old, new, name) for name, (old, new) in self.files.items())


def plan(target: Source, selection: Selection) -> Drop:
    """Return the fewest edits after which no release expects an MTP block.

    Raises:
        RefusedError: no edit does that, or it would change the target model.
        MtpfixError: the target cannot be read or judged.
    """
    subject = open_subject(target, selection.engines)
    old = analyze_planned(subject, selection)
    before = old[0].report, old[1].report
    if not old[0].cases and old[0].error is not None:
        raise old[0].error
    if all(case.mtp_layers == 0 for case in old[0].cases):
        return Drop({}, (), before, before)
    refused: RefusedError | None = None
    raw = subject.files.listing.configs[CONFIG].raw
    for edits in _ways(subject, selection):
        files = {CONFIG: (raw, patch.apply(raw, edits))}
        new = analyze_planned(patched(subject, files), selection)
        if any(case.mtp_layers for case in new[0].cases) or not new[0].cases:
            continue
        refused = target_model.refusal(old[0].cases, new[0].cases) or _left(new[1].report)
        if refused is None:
            return Drop(files, edits, before, (new[0].report, new[1].report))
    raise refused or RefusedError(
        "no field of config.json takes the MTP block out: this family has it always",
        "bring the block back: mtpfix graft TARGET --from BASE",
    )


def _left(after: Report) -> RefusedError | None:
    """Return why tensors of the block that are left keep the target model from loading, or None."""
    found = (f for f in after.findings if f.code == "MTP002" and f.severity == "error")
    left = next((f for f in found if f.decides), None)
    if left is None:
        return None
    return RefusedError(
        left.message,
        "remove these tensors from the weight files and from the index first, or bring the rest of "
        "the block back: mtpfix graft TARGET --from BASE",
    )


def _ways(subject: Subject, selection: Selection) -> Iterator[tuple[Edit, ...]]:
    """Yield edits that may take the declaration out: 0, then no field, then a field that says 0."""
    config = subject.files.config
    engine = selection.engines[0]
    family = subject.readings[engine].family
    text = family.text if family else ""
    stated = tuple(fields.declarations(config, text, engine.mtp_keys))
    if stated:
        yield tuple(Edit(CONFIG, pointer, "replace", 0) for pointer in stated)
        yield tuple(Edit(CONFIG, pointer, "remove") for pointer in stated)
    place = fields.text_section(config, text).pointer
    for key in engine.mtp_keys:
        if f"{place}/{key}" not in stated:
            yield (
                *(Edit(CONFIG, p, "replace", 0) for p in stated),
                Edit(CONFIG, f"{place}/{key}", "add", 0),
            )
