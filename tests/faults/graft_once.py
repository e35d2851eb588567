"""One graft by the command line, and an executor that makes the order of its calls certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from mtpfix.cli import main
from tests.faults.subject import unproved

JUDGED = ("--vllm", "0.32.0", "--platform", "cuda")


def graft(folder: str, base: str, output: str | None = None) -> int:
    """Bring a block into a folder, or into a new one; return the exit code."""
    way = ["--write"] if output is None else ["--output", output]
    with unproved():
        return main(["graft", folder, "--from", base, *way, *JUDGED])


class Inline:
    """Does at once, and in this thread, what it is given: then calls have an order."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[..., Any], *given: Iterable[Any]) -> Iterator[Any]:
        """Do it for each."""
        return map(work, *given)

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        """Do it; what is raised is kept."""
        done: Future[Any] = Future()
        try:
            done.set_result(work(*given))
        except BaseException as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done
