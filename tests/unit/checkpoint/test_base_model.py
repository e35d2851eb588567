"""The base of a checkpoint is found by its model card, whatever stands in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtpfix.checkpoint.base_model import CARD_LIMIT, Trail, base_models, follow, is_repo
from mtpfix.checkpoint.source import READ_LIMIT
from mtpfix.errors import TargetError, UnknownError
from mtpfix.model import Target


def card(front: str, body: str = "# A model\n") -> str:
    return f"---\n{front}\n---\n{body}"


@pytest.mark.parametrize(
    ("front", "names"),
    [
        ("base_model: org/base", ("org/base",)),
        ("base_model:   'org/base'  # the one", ("org/base",)),
        ('"base_model": "org/base"', ("org/base",)),
        ("base_model:\n- org/a\n- org/b\n- org/a", ("org/a", "org/b")),
        ("base_model:\n  - org/a\n\n  # another\n  - org/b\nlicense: mit", ("org/a", "org/b")),
        ("base_model: [org/a, org/b]", ("org/a", "org/b")),
        ("base_model:\n  org/a", ("org/a",)),
        ("license: mit\nbase_model: org/a\ntags:\n- x", ("org/a",)),
        ("base_model_relation: quantized\nbase_model: org/a", ("org/a",)),
        ("base_model: Qwen/Qwen3.5-35B-A3B_x", ("Qwen/Qwen3.5-35B-A3B_x",)),
        # Faults elsewhere do no harm.
        ("title: a: b: c\nbase_model: org/a", ("org/a",)),
        ("x: &x [*y]\nbase_model: org/a\ndate: 2020-99-99", ("org/a",)),
        # What is none.
        ("license: mit", ()),
        ("base_model_relation: quantized", ()),
        ("model:\n  base_model: org/inner", ()),
        ("base_model:", ()),
        ("base_model: 7", ()),
        ("base_model: {a: org/a}", ()),
        ("base_model: [[org/a], 1, null, org/b]", ("org/b",)),
        ("base_model: gpt2", ()),
        ("base_model: /data/models/base", ()),
        ("base_model: ../base", ()),
        ("base_model: org/../base", ()),
        ("base_model: https://huggingface.co/org/base", ()),
        ("base_model: org/a b", ()),
        ("base_model: org/name\\nfoo", ()),
        ("base_model: !!python/object/apply:os.system [ls]", ()),
        ("base_model: 2020-99-99", ()),
        ("base_model: 'org/a", ()),
        ("base_model: *x", ()),
        ("base_model: " + "[" * 4000, ()),
        ("base_model:\n" + "- " * 2000 + "org/a", ()),
        ("base_model:\n" + "? " * 2000 + "org/a", ()),
        ("base_model: " + "x" * 100_000, ()),
        ("base_model: &a [&b [&c [org/x, *c], *b], *a]", ()),
    ],
)
def test_what_a_card_names(front: str, names: tuple[str, ...]) -> None:
    assert base_models(card(front)) == names
    assert base_models(card(front).replace("\n", "\r\n")) == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "---\nbase_model: org/a",
        "base_model: org/a",
        "# Title\n---\nbase_model: org/a\n---",
    ],
)
def test_without_front_matter_a_card_names_none(text: str) -> None:
    assert base_models(text) == ()


def test_a_byte_order_mark_and_empty_lines_may_go_first() -> None:
    assert base_models("\ufeff\n\n" + card("base_model: org/a")) == ("org/a",)


def test_what_stands_in_the_text_is_not_read() -> None:
    assert base_models(card("license: mit", "base_model: org/a\n---\n")) == ()


def test_a_huge_card_is_quick() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]\n" for n in range(20_000)
    )
    start = time.monotonic()
    assert base_models(card(f"{bomb}base_model: org/a")) == ("org/a",)
    assert base_models(card("-\n" * CARD_LIMIT)) == ()
    assert time.monotonic() - start < 2


@given(st.text(), st.text(alphabet="ab/:-#&*!|>[]{}'\" \t\n"))
def test_any_text_gives_repos(before: str, value: str) -> None:
    for name in (
        *base_models(before + value),
        *base_models(card(f"{before}\nbase_model: {value}")),
    ):
        assert is_repo(name)


# --- the way to the base ------------------------------------------------------------------


class Repo:
    """A repo in memory."""

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        self.name = name
        self.files = files

    def target(self) -> Target:
        return Target("hub", self.name, f"commit of {self.name}")

    def list(self) -> tuple[str, ...]:
        return tuple(sorted(self.files))

    def expect(self, files: Iterable[str], headers: Mapping[str, int] | None = None) -> None:
        raise NotImplementedError

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        if len(self.files[path]) > limit:
            raise TargetError("too long")
        return self.files[path]

    def read_header(self, path: str) -> tuple[bytes, int]:
        raise NotImplementedError

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:
        raise NotImplementedError


def trail(bases: Mapping[str, str], blocks: Iterable[str] = (), limit: int = 8) -> Trail:
    """The way from `q/q` where each repo names its base; one that is not listed is gone."""

    def opened(name: str) -> Repo:
        if name not in bases:
            raise TargetError(f"{name}: gone")
        base = bases[name]
        return Repo(name, {"README.md": card(f"base_model: {base}").encode()} if base else {})

    def has_block(source: Repo) -> bool:
        if source.name.endswith("GGUF"):
            raise UnknownError("no config.json")
        return source.name in blocks

    return follow(opened("q/q"), opened, has_block, limit)  # type: ignore[arg-type]


def told(found: Trail) -> list[tuple[str, str]]:
    return [(visit.name, visit.found) for visit in found.visits]


def test_the_base_that_has_the_block() -> None:
    found = trail({"q/q": "o/base", "o/base": ""}, ["o/base"])
    assert (found.donor, found.reason) == ("o/base", "")
    assert found.revision == "commit of o/base"
    assert told(found) == [("o/base", "block")]


def test_a_chain_is_followed_to_the_first_that_has_it() -> None:
    bases = {"q/q": "o/tune", "o/tune": "o/base", "o/base": "o/origin", "o/origin": ""}
    found = trail(bases, ["o/base", "o/origin"])
    assert found.donor == "o/base"
    assert told(found) == [("o/tune", "no block"), ("o/base", "block")]


def test_the_target_itself_is_not_asked() -> None:
    assert trail({"q/q": "o/base", "o/base": ""}, ["q/q", "o/base"]).donor == "o/base"


def test_several_bases_are_looked_at_in_order() -> None:
    found = trail(
        {"q/q": "[o/a, o/b, o/c]", "o/a": "o/d", "o/b": "", "o/c": "", "o/d": ""}, ["o/c"]
    )
    assert [name for name, _ in told(found)] == ["o/a", "o/b", "o/c"]
    assert found.donor == "o/c"


def test_a_repo_that_cannot_be_judged_still_names_its_base() -> None:
    found = trail({"q/q": "o/x-GGUF", "o/x-GGUF": "o/base", "o/base": ""}, ["o/base"])
    assert told(found) == [("o/x-GGUF", "unreadable"), ("o/base", "block")]
    assert found.visits[0].reason == "no config.json"
    assert found.donor == "o/base"


def test_a_repo_that_is_gone_ends_the_chain() -> None:
    found = trail({"q/q": "o/gone"})
    assert (found.donor, found.reason, found.revision) == (None, "o/gone: gone", None)
    assert told(found) == [("o/gone", "unreadable")]
    assert trail({"q/q": "[o/gone, o/base]", "o/base": ""}, ["o/base"]).donor == "o/base"


@pytest.mark.parametrize("back", ["q/q", "Q/Q", "o/a"])
def test_a_circle_ends(back: str) -> None:
    found = trail({"q/q": "o/a", "o/a": back})
    assert told(found) == [("o/a", "no block")]
    assert found.reason == f"the model cards lead back to {back}"


@pytest.mark.parametrize(("limit", "donor"), [(8, None), (9, "o/8")])
def test_a_chain_that_is_too_long_ends(limit: int, donor: str | None) -> None:
    chain = {f"o/{n}": f"o/{n + 1}" for n in range(9)}
    found = trail({"q/q": "o/0", **chain}, ["o/8"], limit)
    assert (found.donor, len(found.visits)) == (donor, limit)
    assert donor or found.reason == "none of the first 8 repos has a block"


def test_a_card_with_a_hundred_bases_is_not_followed_to_the_end() -> None:
    names = ", ".join(f"o/{n}" for n in range(100))
    assert len(trail({"q/q": f"[{names}]", **{f"o/{n}": "" for n in range(100)}}).visits) == 8


def test_without_a_base_the_reason_is_told() -> None:
    assert trail({"q/q": ""}).reason == "q/q: it has no model card"
    assert trail({"q/q": "nonsense"}).reason == "q/q: its model card names no base_model"
    assert trail({"q/q": "o/a", "o/a": ""}).reason == "o/a: it has no model card"


def test_a_card_that_is_too_long_is_told() -> None:
    source = Repo("q/q", {"README.md": b" " * (CARD_LIMIT + 1)})
    found = follow(source, lambda _: source, lambda _: True)
    assert found == Trail((), None, "too long")


def test_a_card_in_another_encoding_is_read() -> None:
    text = card("author: caf\xe9\nbase_model: o/a").encode("latin-1")
    found = follow(Repo("q/q", {"README.md": text}), lambda name: Repo(name, {}), lambda _: True)
    assert found.donor == "o/a"
