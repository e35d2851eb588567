"""What a user wants explained: the code of a finding, or what an engine said."""

from __future__ import annotations

import re
from dataclasses import asdict

from mtpfix.errors import UsageError
from mtpfix.findings import Kind, kinds
from mtpfix.model import Json
from mtpfix.symptoms import Symptom, recognise

SCHEMA = "mtpfix.explain/1"
SYMPTOMS = "mtpfix.symptoms/1"
_CODE = re.compile(r"\s*([A-Za-z]{1,8}\d{1,9}|(?i:mtp))\s*")


def is_code(text: str) -> bool:
    """Return whether a text can only be meant as a code."""
    return _CODE.fullmatch(text) is not None


def symptoms(text: str) -> tuple[Symptom, ...]:
    """Return what is known of a message, or of the messages in a log.

    Raises:
        UsageError: nothing is.
    """
    if not text.strip():
        raise UsageError("there is no message to explain", "give one, or - and a log to read")
    found = recognise(text)
    if not found:
        first = next(iter(text.strip().splitlines()), "")
        raise UsageError(
            f"mtpfix does not know a message like {first!r:.80}",
            "give the line with the exception, or run `mtpfix inspect` on the model; "
            "`mtpfix explain` lists all codes",
        )
    return found


def view_all(found: tuple[Symptom, ...]) -> dict[str, Json]:
    """Return symptoms in words, as a document of `SYMPTOMS`."""
    rows = [{k: v for k, v in asdict(one).items() if k != "pattern"} for one in found]
    return {"schema": SYMPTOMS, "symptoms": rows}


def kind(code: str) -> Kind:
    """The kind of finding that has a code, in any case.

    Raises:
        UsageError: there is no such code.
    """
    found = kinds().get(code.strip().upper())
    if found is None:
        begun = [each for each in kinds() if each.startswith(code.strip().upper())]
        raise UsageError(
            f"no finding has the code {code}", f"the codes are {', '.join(begun or kinds())}"
        )
    return found


def view(one: Kind) -> dict[str, str]:
    """A kind of finding in words, as a document of `SCHEMA`."""
    words = {key: getattr(one, key) for key in ("code", "title", "meaning", "example", "remedy")}
    return {"schema": SCHEMA, **words}
