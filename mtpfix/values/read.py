"""Reads the values of a target's MTP block, and of what it is compared with, and judges them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

from mtpfix.checkpoint.header import PREFIX, parse_header
from mtpfix.checkpoint.source import Source, ends_early
from mtpfix.model import Finding, Tensor
from mtpfix.subject import Subject
from mtpfix.values.judge import judge
from mtpfix.values.scan import Scan, torch_module
from mtpfix.values.scanned import Scanned
from mtpfix.values.siblings import choose_siblings, part, tensors_of

GAP = 1 << 20
"""Bytes between two tensors that are read and thrown away: a request more would cost more."""


def read_values(
    subject: Subject, source: Source, draft: Source | None = None
) -> tuple[Finding, ...]:
    """Return what is wrong with the values of the MTP block (MTP5xx).

    Nothing is read, and nothing is found, where there is no block or its names are not known.

    Args:
        subject: the target, as `open_subject` returned it.
        source: where it was read from.
        draft: where the MTP block is loaded from, if from another checkpoint.

    Raises:
        UnknownError: torch is not installed.
        TargetError: a shard cannot be read.
        BrokenFileError: a header is malformed.
        ConflictError: a file changed while it was read.
    """
    names, roots = _block(subject)
    if not names:
        return ()
    torch_module()
    files = subject.files
    siblings = choose_siblings(names, files.inventory, roots)
    theirs = tensors_of(siblings, files.inventory)
    held = files.block.listing.shards
    block = scan_tensors(source if draft is None else draft, {n: held[n] for n in names})
    trunk = scan_tensors(source, {n: files.listing.shards[n] for n in theirs}, parts=True)
    return judge(block, trunk, siblings)


def _block(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tensors of the MTP block, for every engine, and what their names begin with."""
    draft = subject.files.draft
    readings = subject.readings.values() if draft is None else (draft.reading,)
    known = [r.block for r in readings if r.other is None and r.block.unclear is None]
    names = dict.fromkeys(name for block in known for name in block.tensors)
    roots = dict.fromkeys(root for block in known for root in block.roots or ())
    held = subject.files.block.listing.shards
    return tuple(name for name in names if name in held), tuple(roots)


def scan_tensors(
    source: Source, shards: Mapping[str, str], *, parts: bool = False
) -> dict[str, Scanned]:
    """Return header entry and summary of tensors, each byte of which is read once.

    Args:
        source: folder or repo.
        shards: tensor name -> the file that holds it; names that its header lacks are left out.
        parts: whether the middle of a large tensor stands for all of it.

    Raises:
        TargetError: as for `read_values`.
    """
    by_shard: dict[str, list[str]] = {}
    for name, shard in shards.items():
        by_shard.setdefault(shard, []).append(name)
    source.expect((), dict.fromkeys(by_shard, 0))
    found: dict[str, Scanned] = {}
    for shard, names in by_shard.items():
        raw, data_size = source.read_header(shard)
        table = parse_header(raw, data_size=data_size, file=shard)
        spans = [
            _Span(name, table[name], part(table[name]) if parts else table[name])
            for name in names
            if name in table
        ]
        start = PREFIX + len(raw)
        for run in _runs(spans):
            pieces = source.stream(shard, start + run[0].read.begin, start + run[-1].read.end)
            found.update(_scan_run(run, pieces, shard))
    return found


class _Span(NamedTuple):
    """A tensor by its name, and what of it is read."""

    name: str
    whole: Tensor
    read: Tensor


def _runs(spans: Iterable[_Span]) -> Iterator[Sequence[_Span]]:
    """Yield tensors that stand so near each other that they are read in one go, in order."""
    run: list[_Span] = []
    for span in sorted(spans, key=lambda span: (span.read.begin, span.read.end)):
        if run and span.read.begin - run[-1].read.end > GAP:
            yield run
            run = []
        run.append(span)
    if run:
        yield run


def _scan_run(
    run: Sequence[_Span], pieces: Iterable[bytes], shard: str
) -> Iterator[tuple[str, Scanned]]:
    """Yield name and summary of each tensor of a run, as its last byte passes."""
    stream = iter(pieces)
    piece, begin = memoryview(b""), run[0].read.begin
    for name, whole, read in run:
        scan, position = Scan(read), read.begin
        while position < read.end:
            if position >= begin + len(piece):
                begin += len(piece)
                piece = memoryview(next(stream, b"") or _end(shard, position, read.end))
                continue
            fed = piece[position - begin : read.end - begin]
            scan.feed(fed)
            position += len(fed)
        yield name, Scanned(whole, scan.summary())
    for _ in stream:  # at its end a source looks whether the file has changed
        pass


def _end(shard: str, position: int, end: int) -> NoReturn:
    raise ends_early(shard, position, end)
