"""Whole processes in turn, and what the operating system says of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

PYTHON = sys.executable

_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""An installed package has its bytecode, and so must one that runs from its sources."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: seconds on the clock and on the processors, MB at its peak."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A command, by the name under which its figures stand."""

    name: str
    command: Sequence[str]
    codes: tuple[int, ...] = (0,)
    """Exit codes that it may end with."""


def python(name: str, program: str, *arguments: str) -> Contender:
    """A program for this interpreter."""
    return Contender(name, (PYTHON, "-c", program, *arguments))


def mtpfix(name: str, *arguments: str, codes: tuple[int, ...] = (0, 1)) -> Contender:
    """A command of mtpfix; 1 says that it found something, as it should."""
    return Contender(name, (PYTHON, "-m", "mtpfix", *arguments), codes)


def once(contender: Contender, env: Mapping[str, str] | None = None) -> Run:
    """Runs a contender to its end.

    Raises:
        RuntimeError: it did not end as it should.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        contender.command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**_ENVIRONMENT, **(env or {})},
    )
    assert child.stderr is not None  # noqa: S101 - it is a pipe
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in contender.codes:
        raise RuntimeError(f"{contender.name}: exit {child.returncode}: {said.decode()[-2000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turn(
    contenders: Sequence[Contender],
    rounds: int,
    env: Mapping[str, str] | None = None,
    typical: Callable[[Iterable[float]], float] = median,
) -> dict[str, Run]:
    """The medians of each contender, all of which run in every round; the first does not count.

    Args:
        contenders: what is compared.
        rounds: runs of each.
        env: variables for all of them.
        typical: what stands for all runs in the place of the median.
    """
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            run = once(contender, env)
            if number:
                found[contender.name].append(run)
    return {
        name: Run(
            typical(run.wall for run in runs),
            typical(run.cpu for run in runs),
            typical(run.peak for run in runs),
        )
        for name, runs in found.items()
    }


def table(title: str, found: Mapping[str, Run], against: Sequence[str]) -> str:
    """The figures, and their ratios to those of some contenders, as Markdown.

    Ratios are those of the clock, and behind them of the processors: the clock of a machine with
    other work on it tells little.
    """
    heads = ["", "wall s", "cpu s", "peak MB", *(f"x {name} (cpu)" for name in against)]
    lines = [f"### {title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for name, run in found.items():
        ratios = (
            f"{run.wall / found[other].wall:.2f} ({run.cpu / found[other].cpu:.2f})"
            for other in against
        )
        cells = [name, f"{run.wall:.2f}", f"{run.cpu:.2f}", f"{run.peak:.0f}", *ratios]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
