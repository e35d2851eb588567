"""The command that brings a lost block back, with the names of this very checkpoint filled in."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from mtpfix.checkpoint.base_model import CARD, CARD_LIMIT, base_models
from mtpfix.checkpoint.source import Source
from mtpfix.errors import MtpfixError
from mtpfix.model import Report
from mtpfix.rules.presence import BASE, LOST, TARGET

_OPEN = re.compile("|".join(map(re.escape, (TARGET, BASE))))


def advised(report: Report, source: Source) -> Report:
    """Return the report with the names of target and base in what brings a lost block back.

    The model card is read, and only where a block is lost. A base that it does not name stays
    `BASE`.

    Args:
        report: what was judged.
        source: the files of the target.
    """
    if not any(finding.code in LOST for finding in report.findings):
        return report
    names = {TARGET: shlex.quote(report.target.name), BASE: _base(source) or BASE}
    findings = tuple(
        replace(f, remedy=_OPEN.sub(lambda word: names[word[0]], f.remedy))
        if f.code in LOST and f.remedy is not None
        else f
        for f in report.findings
    )
    return replace(report, findings=findings)


def _base(source: Source) -> str | None:
    """Return the first base that the model card names, or None."""
    if CARD not in source.list():
        return None
    try:
        card = source.read(CARD, limit=CARD_LIMIT)
    except MtpfixError:  # what cannot be read names nothing
        return None
    return next(iter(base_models(card.decode("utf-8", "replace"))), None)
