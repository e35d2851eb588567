"""The other honest end of a graft: where the block is not to be had, nothing declares it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mtpfix import targets
from mtpfix.grafts.drop import Drop as DropPlan
from mtpfix.grafts.drop import plan as plan_drop
from mtpfix.model import Platform, Target
from mtpfix.pushing import Landed, Place, Push, goal_of, place_of
from mtpfix.repair import writing
from mtpfix.selection import Selection, select

MESSAGE = "Declare no MTP block: its weights are not here"


@dataclass(frozen=True, slots=True)
class Drop:
    """A declaration that is taken out, or would be.

    Attributes:
        plan: the edits, with the proof.
        selection: for which releases and platforms it is planned, and which decide.
    """

    plan: DropPlan
    selection: Selection

    @property
    def exit_code(self) -> int:
        """That of `check` for the releases and platforms that decide, after the edits."""
        return self.plan.after[1].exit_code


def drop(
    target: str | Path,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    revision: str | None = None,
    token: str | None = None,
    do: bool = False,
    output: Path | None = None,
    backup: bool = True,
    wish: Push | None = None,
    describe: Callable[[Drop], str] | None = None,
) -> tuple[Drop, Landed | None]:
    """Take the declaration of the MTP block out of `config.json`, where the block is not to be had.

    Args:
        target: a folder, or a repo.
        vllm: as for `plan`.
        sglang: the same of SGLang.
        engines: as for `plan`.
        platforms: as for `plan`.
        revision: as for `plan`.
        token: as for `plan`.
        do: edit the folder itself.
        output: make a new folder of links instead.
        backup: keep the old file beside the new one.
        wish: push it to the Hub instead; None: no.
        describe: writes the text below the title of the commit, in Markdown.

    Raises:
        RefusedError: no edit does it, or it would change the target model.
        MtpfixError: as for `rewrite` and `push`.
    """
    selection = select(vllm, platforms, engines, sglang)
    source = targets.source(target, revision, token)
    made = Drop(plan_drop(source, selection), selection)
    files = made.plan.files
    if wish is not None:
        place = place_of(target, wish, revision, token)
        return made, _pushed(made, place, wish, source.target(), describe)
    if do or output is not None:
        writing.put(targets.folder_of(target, revision), files, output, backup=backup)
    return made, None


def _pushed(
    made: Drop,
    place: Place,
    wish: Push,
    judged: Target,
    describe: Callable[[Drop], str] | None,
) -> Landed:
    from mtpfix.repair import publish  # noqa: PLC0415 - heavy, and only for a push

    if not made.plan.files:
        return Landed(place.repo)
    wish = replace(wish, message=wish.message or MESSAGE)
    description = describe(made) if describe is not None else ""
    goal = goal_of(
        place,
        judged,
        made.plan.files,
        wish,
        description=description,
        command="graft --drop",
    )
    if wish.dry_run:
        return Landed(place.repo, goal.branch)
    done = publish.publish(goal, {name: new for name, (_, new) in made.plan.files.items()})
    return Landed(place.repo, goal.branch, done.commit, done.url)
