"""Errors: what they say is one line that is safe to print."""

from __future__ import annotations

import pytest

from mtpfix.errors import MtpfixError, UnknownError


@pytest.mark.parametrize("word", ["\x7f", "\x1b[31m", "\u202e", "a\nb", "\ud800", "x" * 10**6])
@pytest.mark.parametrize("kind", [MtpfixError, UnknownError])
def test_a_name_in_a_message_comes_out_inert(kind: type[MtpfixError], word: str) -> None:
    error = kind(f"/x/{word} is not a list", f"remove {word}")
    for text in (error.message, error.remedy, str(error)):
        assert text.isprintable()
        assert len(text) < 4_000
    assert error.message.startswith("/x/")
    assert error.message.endswith(" is not a list")


def test_an_honest_message_stays_as_it_is() -> None:
    assert MtpfixError("a `ü`, 'b'…").message == "a `ü`, 'b'…"
