"""A graft: what is brought and as what, for a person, for a pull request, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from mtpfix.delivery import Delivered, Pushed
from mtpfix.grafts.block import Block
from mtpfix.grafts.lineage import Lineage
from mtpfix.grafts.pieces import Piece
from mtpfix.model import Target
from mtpfix.repair.writing.disk import BACKUP
from mtpfix.report import change, findings, html_change, rewrite, wording
from mtpfix.report.inert_text import ASCII, inert
from mtpfix.report.markdown_text import code, prose, table
from mtpfix.report.page import Page, mooded

SCHEMA = "mtpfix.graft/1"
_UNTOUCHED = "none of the weights that were there"
_MEANING = {
    "norms differ": "AWQ and SmoothQuant move them: the draft fits all the same",
    "other weights": "the draft will be worse than with the right base",
    "unknown": "the two have no unquantized tensor in common",
}
_KINDS = {"norm": "norm", "router": "router gate", "embedding": "embedding"}
_DONE = {
    "copy": "copied as they are",
    "rename": "copied under the name that the target's method loads",
    "dequantize": "made BF16 from FP8 or MXFP4",
}


def text(done: Delivered, width: int, *, color: bool, verbose: bool, ascii: bool) -> str:  # noqa: A002
    """The base, the block, the entries, what every release makes of it, and what to do next."""
    page = Page(width, color=color)
    for label, body in _rows(done):
        page.item(mooded(f"{label:<8}", "quiet"), Text(body))
    for finding in done.values:
        findings.put(page, finding, done.repair.checked, 0)
    if verbose:
        for piece in _block_of(done).tensors:
            page.line(mooded(f"        {_tensor(piece)}", "quiet"))
    page.line()
    if done.repair.diff:
        page.line(rewrite.seen(done.repair.diff, color=color).rstrip("\n"))
        if done.repair.plan.added or done.repair.plan.removed:
            page.line()
    rewrite.put(page, done, verbose=verbose)
    _put_next(page, done)
    return page.text().translate(ASCII) if ascii else page.text()


def _block_of(done: Delivered) -> Block:
    """Return the block that a graft brings."""
    assert done.repair.block is not None  # noqa: S101 - a graft has one
    return done.repair.block


def _rows(done: Delivered) -> Iterator[tuple[str, str]]:
    made = _block_of(done)
    yield "base", f"{_named(made.donor.target)}: {lineage(made.lineage)}"
    yield "block", _block(made)
    if not made.tensors:
        return
    yield "", _conversions(made.tensors)
    if made.repeated:
        count = wording.count(len(made.repeated), "tensor")
        yield "", f"{count} left out: the target has the same bytes, and the engines share them"
    if made.skipped:
        yield "", f"{wording.count(len(made.skipped), 'tensor')} that are there already stay"
    if done.hashes and not done.values:
        yield "values", "nothing is wrong with them (mtpfix check --values)"


def _named(where: Target) -> str:
    at = f" at {inert(where.revision)[:12]}" if where.revision else ""
    return f"{inert(where.name)}{at}"


def lineage(found: Lineage) -> str:
    """What comparing bytes has shown, in one line."""
    if found.verdict == "same weights":
        equal = [wording.count(n, _KINDS[kind]) for kind, (n, _) in found.compared.items()]
        return f"{found.verdict} ({', '.join(equal)} compared, all equal)"
    equal = [
        f"{same} of {wording.count(count, _KINDS[kind])} equal"
        for kind, (count, same) in found.compared.items()
    ]
    return f"{found.verdict} ({'; '.join([*equal, _MEANING[found.verdict]])})"


def _block(made: Block) -> str:
    if not made.tensors:
        return f"{wording.count(len(made.skipped), 'tensor')}: nothing is lacking"
    files = wording.count(len({piece.shard for piece in made.tensors}), "file")
    return (
        f"{wording.count(len(made.tensors), 'tensor')}, {size_of(made.layout.size)}, in "
        f"{inert(made.shard)}, from {size_of(made.layout.fetched)} in {files} of the base"
    )


def _conversions(pieces: Sequence[Piece]) -> str:
    """What is done to the tensors: of each kind how many, where there are several kinds."""
    counts: dict[str, int] = {}
    for piece in pieces:
        counts[piece.conversion] = counts.get(piece.conversion, 0) + 1
    if len(counts) == 1:
        return _DONE[next(iter(counts))]
    return ", ".join(f"{number} {_DONE[kind]}" for kind, number in counts.items())


def size_of(count: int) -> str:
    """`2.1 MB`: bytes for people, in powers of a thousand."""
    size, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":  # noqa: PLR2004
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def bar(arrived: int, total: int, seconds: float) -> str:
    """`[#####.....] 52 %, 2.7 GB of 5.2 GB, 41.0 MB/s, 61 s left`: how far bytes have come.

    Args:
        arrived: bytes that are here.
        total: bytes that are to come in all.
        seconds: how long it took.
    """
    part = min(1.0, arrived / total) if total else 1.0
    speed = arrived / max(seconds, 1e-6)
    left = (total - arrived) / max(speed, 1.0)
    full = round(part * _BAR)
    return (
        f"[{'#' * full}{'.' * (_BAR - full)}] {part:.0%}, {size_of(arrived)} of {size_of(total)}, "
        f"{size_of(int(speed))}/s, {left:.0f} s left"
    )


_BAR = 20
"""Characters of the bar."""


def _tensor(piece: Piece) -> str:
    shape = "x".join(map(str, piece.shape))
    source = "" if piece.source == piece.name else f"  from {inert(piece.source)}"
    return f"{piece.dtype:<8} {shape:<14} {inert(piece.name)}{source}"


def _put_next(page: Page, done: Delivered) -> None:
    said = _next(done)
    if said is not None:
        page.line()
        page.item(Text(), mooded(said, "strong"))


def _next(done: Delivered) -> str | None:
    outcome, made = done, _block_of(done)
    if outcome.refused is not None:
        return None
    if not made.tensors and not outcome.repair.changes and outcome.output is None:
        return "Nothing is to be written: the block is there."
    files = [made.shard] if made.tensors else []
    shown = ", ".join(map(inert, (*files, *outcome.repair.changes)))
    what = "the block" if made.tensors else "the edits"
    return _of_push(outcome.pushed, shown) if outcome.pushed else _of_folder(outcome, shown, what)


def _of_folder(outcome: Delivered, files: str, what: str) -> str:
    if outcome.written:
        kept = f"; the old files are kept as *{BACKUP}" if outcome.backup else ""
        return f"Wrote {files}{kept}."
    if outcome.output is not None:
        new = f", and {files}" if files else ""
        return f"Made {inert(str(outcome.output))}: links to the old files{new}."
    it = "it" if what == "the block" else "them"
    if outcome.repair.before.target.kind == "hub":
        return f"Nothing was pushed. --push-to-hub commits {what}, --create-pr proposes {it}."
    return f"Nothing was written. --write brings {what}, --output DIR makes a copy with {it}."


def _of_push(pushed: Pushed, files: str) -> str:
    repo = inert(pushed.repo)
    if pushed.commit:
        return f"Pushed {files} to {repo}: {inert(pushed.url)}"
    return f"This was a dry run: {files} would go to {repo} ({inert(pushed.branch)})."


# --- a pull request -------------------------------------------------------------------


def markdown(done: Delivered, command: str = "") -> str:
    """What is brought, the hashes of its tensors, and what comes of it on each release."""
    made = _block_of(done)
    where = made.donor.target
    named = code(where.name if where.kind == "hub" else Path(where.name).name)
    at = f" at {code(where.revision)}" if where.revision else ""
    head = (
        "The MTP block was lost when this checkpoint was quantized. "
        f"{code(made.shard)} brings it back from {named}{at}: {prose(_block(made))}, "
        f"{_conversions(made.tensors)}."
    )
    blocks = [head, prose(f"The base: {lineage(made.lineage)}.")]
    if done.hashes:
        rows = [(code(p.name), code(p.dtype), code(done.hashes[p.name])) for p in made.tensors]
        blocks.append("\n".join(_folded(table(("tensor", "dtype", "SHA-256"), rows))))
    rest = change.render(done, command, untouched=_UNTOUCHED)
    return "\n\n".join([*blocks, rest])


def html(done: Delivered, command: str = "") -> str:
    """A page with every release before and after the graft."""
    return html_change.render(done, command, untouched=_UNTOUCHED)


def _folded(lines: Sequence[str]) -> Iterator[str]:
    yield from ("<details><summary>Tensors</summary>", "", *lines, "", "</details>")


# --- for programs -----------------------------------------------------------------------


def json(done: Delivered) -> str:
    """A document of schema `mtpfix.graft/1`: that of a repair, and what is brought."""
    made = _block_of(done)
    where = made.donor.target
    document = {
        **rewrite.document(done),
        "schema": SCHEMA,
        "base": {"kind": where.kind, "name": where.name, "revision": where.revision},
        "lineage": {
            "verdict": made.lineage.verdict,
            "compared": {
                kind: {"count": count, "equal": equal}
                for kind, (count, equal) in made.lineage.compared.items()
            },
        },
        "shard": made.shard if made.tensors else None,
        "bytes": {"written": made.layout.size, "fetched": made.layout.fetched}
        if made.tensors
        else None,
        "tensors": [
            {
                "name": piece.name,
                "from": piece.source,
                "dtype": piece.dtype,
                "shape": piece.shape,
                "conversion": piece.conversion,
                "sha256": done.hashes.get(piece.name),
            }
            for piece in made.tensors
        ],
        "skipped": made.skipped,
        "repeated": made.repeated,
        "values": [
            {"code": f.code, "severity": f.severity, "message": f.message} for f in done.values
        ],
    }
    return rewrite.written(document)
