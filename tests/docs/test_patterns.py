"""The page about patterns says what `re`, `regex` and mtpfix really do."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import regex

from mtpfix.model import Entry
from mtpfix.patterns import Entries, PatternError

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "patterns.md"
NAME = "model.layers.2.self_attn.qkv_proj"
_ROW = re.compile(r"\| `(?P<pattern>.+)` \| [^|]+ \| (?P<re>[^|]+) \| (?P<regex>[^|]+) \|")
ROWS = [
    (found["pattern"].replace(r"\|", "|"), found["re"], found["regex"])
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if (found := _ROW.fullmatch(line)) and found["re"] != "`re`"
]
SLOW = "(?:.{1,20}){1,20}[!?]"


def by(module: ModuleType) -> Callable[[str], bool]:
    return lambda pattern: module.match(pattern, NAME) is not None


def by_mtpfix(pattern: str) -> bool:
    return Entries([Entry(f"re:{pattern}", "", "")]).first(NAME) is not None


def said(fits: Callable[[str], bool], pattern: str) -> str:
    """What a module does with a pattern, in the words of the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `re` warns of sets in sets
        try:
            return "fits" if fits(pattern) else "does not fit"
        except (re.error, regex.error, PatternError):
            return "refuses it"


@pytest.mark.parametrize(("pattern", "by_re", "by_regex"), ROWS)
def test_the_page_is_right(pattern: str, by_re: str, by_regex: str) -> None:
    assert said(by(re), pattern) == by_re
    assert said(by(regex), pattern) == by_regex
    assert said(by_mtpfix, pattern) == by_regex


def test_the_page_has_rows_and_the_slow_pattern_is_slow() -> None:
    assert len(ROWS) == PAGE.read_text(encoding="utf-8").count("\n| `")
    assert f"`{SLOW}`" in PAGE.read_text(encoding="utf-8")
    with pytest.raises(PatternError) as caught:
        by_mtpfix(SLOW)
    assert caught.value.hangs
