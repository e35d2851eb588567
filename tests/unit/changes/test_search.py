"""One loop for every kind of repair: an invented one is a class, and needs no line elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtpfix.changes import rewrite
from mtpfix.changes.search import Proposer
from mtpfix.changes.state import Change, State
from mtpfix.checkpoint.source import LocalSource
from mtpfix.delivery.folder import Folder
from mtpfix.model import Edit
from mtpfix.repair.climb import climb
from mtpfix.repair.plan import Options
from mtpfix.selection import select
from tools.forge import forge

LIST = "/quantization_config/ignore"


class Wildcard(Proposer):
    """A list of somebody's own: first one that helps nobody, then one that exempts the block."""

    def __init__(self) -> None:
        self.tried: list[int] = []

    def propose(self, state: State, best: State) -> Iterator[Change]:
        for entry in ("nothing", r"re:^model\.layers\.2\..*", "never tried"):
            self.tried.append(best.judgement.failing)
            yield Change(edits=(Edit("config.json", f"{LIST}/-", "add", entry),))


def test_an_invented_kind_of_repair_is_searched_judged_and_delivered(tmp_path: Path) -> None:
    folder = forge("glm4_moe", tmp_path / "glm", "ct-fp8-channel").folder
    own = Wildcard()
    selection = select(vllm=["0.32.0"], platforms=["cuda"])
    made = rewrite.plan(LocalSource(folder), None, selection, Options(), (own,))
    assert (made.checked_before.exit_code, made.exit_code) == (1, 0)
    assert [edit.value for edit in made.edits] == [r"re:^model\.layers\.2\..*"]
    assert own.tried == [1, 1]  # what is right is not tried on
    assert Folder(backup=False).deliver(made).written
    again = rewrite.plan(LocalSource(folder), None, selection, Options(), (Wildcard(),))
    assert (again.exit_code, again.edits, again.files) == (0, (), {})


def test_what_makes_nothing_better_is_not_kept(tmp_path: Path) -> None:
    class Useless(Proposer):
        def propose(self, state: State, best: State) -> Iterator[Change]:
            yield Change(edits=(Edit("config.json", f"{LIST}/-", "add", "nothing"),))

    folder = forge("glm4_moe", tmp_path / "glm", "ct-fp8-channel").folder
    selection = select(vllm=["0.32.0"], platforms=["cuda"])
    made = rewrite.plan(LocalSource(folder), None, selection, Options(), (Useless(),))
    assert (made.exit_code, made.edits, made.files) == (1, (), {})


def test_a_step_stands_on_the_best_before_it_and_what_is_right_ends_the_climb() -> None:
    def higher(tried: int, best: int) -> bool:
        return tried > best

    steps = [lambda n: n + 2, lambda n: n - 9, lambda _: None, lambda n: n * 10, lambda n: n + 1]
    assert climb(1, steps, higher) == 31
    assert climb(1, steps, higher, lambda n: n >= 30) == 30
    assert climb(1, steps, higher, lambda _: True) == 1
