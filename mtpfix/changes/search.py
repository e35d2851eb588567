"""The one loop of every repair: try a change, judge what it leaves, keep what is better.

A kind of repair is a `Proposer`: it says what could be changed, and when one result is better than
another. Several stand on top of one another: on top of every change that one proposes, those after
it are searched again, so that a renamed scale or a grafted block gets its entries, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial

from mtpfix.changes.state import Change, State
from mtpfix.patterns import budget
from mtpfix.repair.climb import climb


class Proposer(ABC):
    """One kind of repair."""

    is_optional: bool = True
    """Whether a result without any of its changes is worth a search."""

    @abstractmethod
    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield the changes of a state that could make it right, the smallest first.

        Args:
            state: what is changed.
            best: what the kinds of repair after this one come to without any of its changes; the
                state itself where that is not searched.
        """

    def is_better(self, tried: State, best: State) -> bool:
        """Return whether a result is to take the place of another.

        It is if a release that decides fails no longer, none of them is worse in any module, and
        no planned release fails that did not.
        """
        new, old = tried.judgement, best.judgement
        return new.is_better(old) and not new.worse(old) and not new.newly_failing(old)

    def is_right(self, best: State) -> bool:
        """Return whether nothing more need be tried."""
        return not best.judgement.failing


@budget.shared()
def search(state: State, proposers: Sequence[Proposer]) -> State:
    """Return the best that some kinds of repair can make of a state, one on top of the other.

    Raises:
        MtpfixError: a state could not be read or judged.
    """
    if not proposers:
        return state
    first, rest = proposers[0], proposers[1:]
    begin = search(state, rest) if first.is_optional else state

    def tried(change: Change, _: State) -> State:
        return search(state.after(change), rest)

    steps = (partial(tried, change) for change in first.propose(state, begin))
    return climb(begin, steps, first.is_better, first.is_right)
