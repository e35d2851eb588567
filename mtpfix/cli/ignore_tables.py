"""`[[ignore]]` of the settings file: a finding that does not count, and the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from mtpfix.acceptance.ignores import Ignore
from mtpfix.errors import UsageError
from mtpfix.findings import kinds
from mtpfix.report.inert_text import PROSE_LIMIT, inert

KEYS: Mapping[str, str] = {
    "code": "the code of the findings, such as `MTP202`",
    "reason": "why they do not count; it is shown wherever they are",
    "repo": "only for this target, as the command line names it; `*` and `?` stand for others",
    "module": "only for these modules; `*` and `?` too",
    "entry": "only for this entry of the metadata",
    "until": "the last day on which it holds, a date without quotes; after it they count again",
}
"""Key of a table -> what it says."""

_EXAMPLE = (
    'write for example: ignore = [{ code = "MTP202", repo = "org/*", reason = "...", '
    "until = 2027-01-31 }]"
)


def read(tables: Sequence[Mapping[str, Any]], file: str) -> tuple[Ignore, ...]:
    """Return what the tables of a file ignore.

    Raises:
        UsageError: one of them is wrong.
    """
    return tuple(
        _one(table, f"{file}: `ignore` table {n}", file) for n, table in enumerate(tables, 1)
    )


def _one(table: Mapping[str, Any], place: str, file: str) -> Ignore:
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{place}: there is no key `{inert(key)}`", f"its keys are {', '.join(KEYS)}"
            )
    for key in ("code", "reason"):
        if key not in table:
            raise UsageError(f"{place}: `{key}` is missing ({KEYS[key]})", _EXAMPLE)
    if "module" in table and "entry" in table:
        raise UsageError(
            f"{place}: `module` and `entry` exclude each other", "write a table for each of them"
        )
    word = _words(table, place)
    code = word("code") or ""
    if code not in kinds():
        raise UsageError(f"{place}: `code` is no finding: {inert(code)}", "see `mtpfix explain`")
    return Ignore(
        code,
        inert(word("reason") or "", PROSE_LIMIT),
        file,
        word("repo"),
        word("module"),
        word("entry"),
        _day(table.get("until"), place),
    )


def _words(table: Mapping[str, Any], place: str) -> Callable[[str], str | None]:
    def word(key: str) -> str | None:
        value = table.get(key)
        if key in table and (not isinstance(value, str) or not value.strip()):
            raise UsageError(f"{place}: `{key}` is not a string with something in it", _EXAMPLE)
        return value

    return word


def _day(value: object, place: str) -> date | None:
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    raise UsageError(f"{place}: `until` is not a date", "write it without quotes: 2027-01-31")
