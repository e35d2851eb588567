"""What proofs found, kept in a JSON file: by part of a page, a proof a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast


class Proved(Protocol):
    """What is kept: a dataclass that says what was asked, and of which release."""

    @property
    def release(self) -> str:
        """Of vLLM."""

    @property
    def asked(self) -> Hashable:
        """What was asked about."""


P = TypeVar("P", bound=Proved)


@dataclass(frozen=True)
class Record(Generic[P]):
    """The proofs of a page.

    Attributes:
        file: where they are kept.
        parts: what is asked about, in order, by part.
        parse: makes a proof from its JSON.
    """

    file: Path
    parts: Mapping[str, Callable[[], Iterable[Hashable]]]
    parse: Callable[[dict[str, Any]], P]

    def kept(self) -> dict[str, list[P]]:
        """Return the proofs that are kept, by part, in the order of what was asked."""
        if not self.file.exists():
            return {}
        rows: dict[str, list[Any]] = json.loads(self.file.read_text(encoding="utf-8"))
        return {
            part: [self.parse(row) for row in rows[part]] for part in self.parts if part in rows
        }

    def keep(self, new: Mapping[str, Sequence[P]]) -> None:
        """Keep proofs, in the place of older ones of the same release and question."""
        found = self.kept()
        parts = []
        for part, asked in self.parts.items():
            place = {each: number for number, each in enumerate(asked())}
            rows = {(p.asked, p.release): p for p in (*found.get(part, ()), *new.get(part, ()))}
            known = [row for row in rows.values() if row.asked in place]
            known.sort(key=lambda row: (place[row.asked], row.release))
            if known:
                lines = [json.dumps(asdict(cast("Any", row))) for row in known]
                parts.append(f"{json.dumps(part)}: [\n" + ",\n".join(lines) + "\n]")
        self.file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
