"""One checkpoint, opened once: what is asked of it, and for which engines, is said in one place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mtpfix import api, gating, grafting, pushing, targets, verification
from mtpfix.api import Override
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.engines.registry import DEFAULT
from mtpfix.engines.verification import Verification
from mtpfix.grafting import Graft
from mtpfix.grafts.attempts import Precision
from mtpfix.grafts.transfer import Watch
from mtpfix.model import Platform, Report
from mtpfix.planning import Repair
from mtpfix.pushing import Push, Pushed
from mtpfix.recipe import Names
from mtpfix.repair.plan import Options
from mtpfix.selection import selected


class Checkpoint:
    """A checkpoint, and the engines that it is to be served with; `mtpfix.open` makes one.

    A repo is read at one commit, and no file of it is fetched twice. A folder is read anew by each
    call, so that a call sees what the one before it wrote.
    """

    def __init__(
        self,
        target: str | Path = ".",
        *,
        vllm: Iterable[str] | None = None,
        sglang: Iterable[str] | None = None,
        engines: Iterable[str] | None = None,
        platforms: Iterable[Platform] | None = None,
        draft: str | Path | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> None:
        """Find the checkpoint; its files are read when something is asked of it.

        Args:
            target: as for `inspect`.
            vllm: the releases that all is judged and planned for; None: as for each call.
            sglang: the same of SGLang.
            engines: as for `inspect`.
            platforms: as for `inspect`.
            draft: as for `inspect`.
            revision: as for `inspect`.
            token: as for `inspect`.

        Raises:
            UsageError: a selection is empty, or names what is no release.
            TargetError: there is no such folder, or no such repo for this login.
        """
        self._selected = selected(vllm, sglang, engines, platforms)
        self._given, self._revision, self._token = target, revision, token
        self._draft = draft
        source = targets.source(target, revision, token)
        is_folder = source.target().kind == "local"
        self._target: str | Path | Source = target if is_folder else Remembered(source)

    def inspect(self, *, trunk: bool = False, values: bool = False) -> Report:
        """As `mtpfix.inspect`."""
        return api.inspect(
            self._target, **self._selected, draft=self._draft, trunk=trunk, values=values
        )

    def check(self, *, values: bool = False) -> Report:
        """As `mtpfix.check`."""
        return api.check(self._target, **self._selected, draft=self._draft, values=values)

    def gate(self, *, values: bool = False) -> Report:
        """Return the report of `check`, if it passes.

        Raises:
            GateError: it does not.
        """
        return gating.passed(self.check(values=values))

    def plan(self, options: Options = Options()) -> Repair:  # noqa: B008 - a frozen value
        """As `mtpfix.plan`."""
        return api.plan(self._target, **self._selected, options=options, draft=self._draft)

    def rewrite(
        self,
        options: Options = Options(),  # noqa: B008 - a frozen value
        *,
        write: bool = False,
        output: Path | None = None,
        backup: bool = True,
        allow_partial: bool = False,
    ) -> Repair:
        """As `mtpfix.rewrite`."""
        return api.rewrite(
            self._target,
            **self._selected,
            options=options,
            draft=self._draft,
            write=write,
            output=output,
            backup=backup,
            allow_partial=allow_partial,
        )

    def push(self, wish: Push = Push(), options: Options = Options()) -> Pushed:  # noqa: B008
        """As `mtpfix.push`: what is judged and written to is the branch, as it is by then."""
        return pushing.push(
            self._given,
            **self._selected,
            options=options,
            draft=self._draft,
            revision=self._revision,
            token=self._token,
            wish=wish,
        )

    def graft(
        self,
        donor: str | Path | None = None,
        *,
        precision: Precision = "auto",
        options: Options = Options(),  # noqa: B008 - a frozen value
        write: bool = False,
        output: Path | None = None,
        backup: bool = True,
        watch: Watch = Watch(),  # noqa: B008 - a frozen value
    ) -> Graft:
        """As `mtpfix.graft`; without a donor, from the base that the model cards lead to."""
        if donor is None:
            donor = grafting.offered(self._target, token=self._token)
        return grafting.graft(
            self._target,
            donor,
            **self._selected,
            precision=precision,
            options=options,
            write=write,
            output=output,
            backup=backup,
            token=self._token,
            watch=watch,
        )

    def override(self, options: Options = Options()) -> Override:  # noqa: B008 - a frozen value
        """As `mtpfix.override`."""
        return api.override(self._target, **self._selected, options=options, draft=self._draft)

    def names(
        self,
        *,
        method: str = "compressed-tensors",
        stored: str | None = None,
        options: Options = Options(),  # noqa: B008 - a frozen value
    ) -> Names:
        """As `mtpfix.names_of`."""
        return api.names_of(
            self._target, **self._selected, options=options, method=method, stored=stored
        )

    def verify(
        self, *, engine: str = DEFAULT, python: str | None = None, timeout: float = 600
    ) -> Verification:
        """As `mtpfix.verify`: it asks one installed engine, whatever releases are selected."""
        return verification.verify(
            self._target,
            engine=engine,
            python=python,
            timeout=timeout,
            draft=self._draft,
            token=self._token,
        )


open = Checkpoint  # noqa: A001 - to be read as `mtpfix.open`
"""As people say it: `mtpfix.open("org/name", vllm=[">=0.30"]).check()`."""
