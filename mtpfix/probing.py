"""Whether the draft of a running server does anything: its own metrics, read twice. Pure.

vLLM counts drafts and tokens since its start, so the difference of two readings says what happened
between them. SGLang tells the means of its last interval, so the second reading says all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Literal

from mtpfix.errors import TargetError

LONGEST = 32 * 1024 * 1024
"""Bytes of metrics that are read: a busy server has some hundred kilobytes."""
_SAMPLE = re.compile(
    r"(?P<name>(?:vllm|sglang):spec_\w+)(?:\{(?P<labels>[^{}]*)\})?\s+(?P<value>[-+\w.]+)"
)
_POSITION = re.compile(r'(?:^|,)\s*position="(\d{1,4})"')
_METRIC = re.compile(
    r"^(?:# (?:HELP|TYPE) |[A-Za-z_:][\w:]*(?:\{[^{}\n]*\})? +[-+\w.]+$)", re.MULTILINE
)
"""A line as Prometheus has it."""
_VLLM = "vllm:spec_decode_num_"
_SGLANG = "sglang:spec_"

State = Literal["works", "idle", "useless"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server says of its draft at one time.

    Attributes:
        engine: `vllm` or `sglang`.
        drafts: how often the draft was asked; of SGLang unknown.
        drafted: tokens that it proposed; of SGLang unknown.
        accepted: tokens of those that the target model took; of SGLang unknown.
        by_position: the same by their place in a proposal, from the first.
        rate: share of proposed tokens that were taken, where the server tells that itself.
        length: tokens that a step gives, the target model's own included, where it tells that.
    """

    engine: str
    drafts: float | None = None
    drafted: float | None = None
    accepted: float | None = None
    by_position: tuple[float, ...] = ()
    rate: float | None = None
    length: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a draft did between two readings.

    Attributes:
        engine: name of the engine.
        state: `useless`: what it proposes is not taken; `idle`: it was not asked.
        since_start: nothing was drafted between the readings: the numbers are those since the
            server started.
        drafts: how often it was asked; None: the server does not say.
        drafted: tokens that it proposed.
        acceptance: share of them that was taken.
        by_position: the same by their place in a proposal.
        length: tokens that a step gives, the target model's own included: 1 without a draft.
        least: the share that is demanded.
    """

    engine: str
    state: State
    since_start: bool
    drafts: int | None
    drafted: int | None
    acceptance: float | None
    by_position: tuple[float, ...]
    length: float | None
    least: float

    @property
    def exit_code(self) -> int:
        """0 where the draft works, 1 where it does not, 3 where it was not asked."""
        return {"works": 0, "useless": 1, "idle": 3}[self.state]


def reading(text: str) -> Reading:
    """Return what metrics in the format of Prometheus say; labels other than positions are summed.

    Raises:
        TargetError: the metrics are of no server that drafts.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    positions: dict[int, float] = {}
    for name, labels, value in _samples(text):
        place = _POSITION.search(labels)
        if place is not None:
            positions[int(place[1])] = positions.get(int(place[1]), 0.0) + value
        sums[name] = sums.get(name, 0.0) + value
        counts[name] = counts.get(name, 0) + 1
    if f"{_VLLM}drafts_total" in sums:
        return Reading(
            "vllm",
            sums[f"{_VLLM}drafts_total"],
            sums.get(f"{_VLLM}draft_tokens_total", 0.0),
            sums.get(f"{_VLLM}accepted_tokens_total", 0.0),
            tuple(positions[place] for place in sorted(positions)),
        )
    length, rate = f"{_SGLANG}accept_length", f"{_SGLANG}accept_rate"
    if length in sums:
        mean = {name: sums[name] / counts[name] for name in (length, rate) if name in sums}
        return Reading("sglang", rate=mean.get(rate), length=mean[length])
    if not sums and not _METRIC.search(text):
        raise TargetError(
            "this is no page of metrics", "give the address of the server, without a path"
        )
    raise TargetError(
        "the metrics say nothing of a draft",
        "start the server with --speculative-config (vLLM), or with --enable-metrics and "
        "--speculative-algorithm (SGLang)",
    )


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None:
            continue
        try:
            value = float(found["value"])
        except ValueError:
            continue
        if 0 <= value < float("inf"):
            yield found["name"], found["labels"] or "", value


def compared(first: Reading, second: Reading, least: float) -> Probe:
    """Return what happened between two readings of one server.

    Args:
        first: the earlier one.
        second: the later one.
        least: the share of proposed tokens that has to be taken.
    """
    if second.engine == "sglang":
        rate = second.rate if second.length else None
        length = second.length or None
        return Probe("sglang", _state(rate, least), False, None, None, rate, (), length, least)
    moved = (second.drafts or 0) - (first.drafts or 0)
    before = first if moved > 0 else Reading("vllm")  # fewer: the server started anew
    drafts = (second.drafts or 0) - (before.drafts or 0)
    drafted = (second.drafted or 0) - (before.drafted or 0)
    accepted = (second.accepted or 0) - (before.accepted or 0)
    acceptance = accepted / drafted if drafted > 0 else None
    pairs = zip(second.by_position, chain(before.by_position, repeat(0.0)), strict=False)
    accepted_at = [now - was for now, was in pairs]
    return Probe(
        engine="vllm",
        state=_state(acceptance, least),
        since_start=moved <= 0,
        drafts=int(drafts),
        drafted=int(drafted),
        acceptance=acceptance,
        by_position=tuple(each / drafts for each in accepted_at) if drafts > 0 else (),
        length=1 + accepted / drafts if drafts > 0 else None,
        least=least,
    )


def _state(acceptance: float | None, least: float) -> State:
    if acceptance is None:
        return "idle"
    return "useless" if acceptance < least else "works"


def view(found: Probe) -> Mapping[str, object]:
    """Return a probe as a document of schema `mtpfix.probe/1`, without its head."""
    return {
        "engine": found.engine,
        "state": found.state,
        "since_start": found.since_start,
        "drafts": found.drafts,
        "drafted_tokens": found.drafted,
        "acceptance": found.acceptance,
        "acceptance_by_position": found.by_position,
        "mean_length": found.length,
        "min_acceptance": found.least,
        "exit_code": found.exit_code,
    }
