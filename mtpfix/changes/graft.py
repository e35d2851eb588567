"""A lost MTP block, brought back: what is brought, as what, and the metadata for it.

The checkpoint as it would be is read by the same code as one on disk (`checkpoint/proposed.py`), so
it gets the entries that `rewrite` would write, and every release says what it makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mtpfix import __version__
from mtpfix.changes.metadata import chosen, helps
from mtpfix.changes.repair import Repair
from mtpfix.changes.rewrite import PROPOSERS, hint, repaired
from mtpfix.changes.search import Proposer, search
from mtpfix.changes.state import Change, State
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIG
from mtpfix.checkpoint.precision import split_name
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError, UnknownError
from mtpfix.grafts import donor as donors
from mtpfix.grafts import fields, index, pieces, repeats, target_model
from mtpfix.grafts.attempts import Attempt, Precision, Target, attempts
from mtpfix.grafts.block import Block
from mtpfix.grafts.layout import MANIFEST, NAME, Layout
from mtpfix.grafts.pieces import Piece, Stored, stored
from mtpfix.model import Checkpoint, Edit, Json
from mtpfix.repair import patch, progress
from mtpfix.repair.climb import climb
from mtpfix.repair.index import INDEX
from mtpfix.repair.plan import Options
from mtpfix.selection import Selection
from mtpfix.subject import open_subject, patched


def plan(
    target: Source, base: Source, selection: Selection, options: Options, precision: Precision
) -> Repair:
    """Return what a graft would bring and write, and what every release would make of it.

    No weights are read but for a few small slices that tell whether the base is the right one.

    Args:
        target: the checkpoint that lost its block.
        base: the model that it was made from.
        selection: for what it is planned.
        options: what may be changed in the metadata.
        precision: what becomes of a block in FP8 or MXFP4: `keep` it where the target's method
            can say it, make it `bf16`, or `auto`: keep it if that serves as many releases.

    Raises:
        RefusedError: the base cannot give this target a block; that no way to bring it is clean is
            no error here: `Repair.refusal` says it.
        MtpfixError: one of the two cannot be read.
    """
    if selection.planned.unknown is not None:
        raise selection.planned.unknown
    source = Remembered(target)
    subject = open_subject(source, selection.engines, trunk=True)
    options = chosen(options, explicit=selection.explicit)
    grafts = Grafts(source, State(source, subject, selection, options), base, precision)
    return grafts.repaired(grafts.best())


NO_BLOCK = Attempt(())
"""The way to bring a block that is there."""


@dataclass(frozen=True)
class Brought(Change):
    """The change that brings a block.

    Attributes:
        attempt: the way to bring it.
        repeated: tensors that are left out: the target has the same bytes elsewhere.
    """

    attempt: Attempt = NO_BLOCK
    repeated: tuple[str, ...] = ()


class Grafts(Proposer):
    """The ways to bring a block, those that keep most of its bytes first.

    Args:
        source: the files of the target.
        start: the target as it is; the headers of all its shards were read.
        base: the model that it was made from.
        precision: as for `plan`.
    """

    is_optional = False

    def __init__(
        self, source: Remembered, start: State, base: Source, precision: Precision
    ) -> None:
        self._source, self._start, self._precision = source, start, precision
        self._subject = start.subject
        self._engine = start.selection.engines[0]
        self._donor = donors.read(base, self._engine)
        self._config = self._declared()
        self._roots = self._checked_roots()
        self._lineage = donors.compare(self._source, self._target, self._roots, self._donor)
        self._error: RefusedError | None = None

    @cached_property
    def _held(self) -> Target:
        return Target(self._subject.files, self._roots, self._seen)

    @property
    def _target(self) -> Checkpoint:
        return self._subject.files.checkpoint

    # --- what the block is -------------------------------------------------------------

    def _declared(self) -> bytes:
        """Return `config.json` with the block declared as the base declares it."""
        raw = self._source.read(CONFIG)
        edits = tuple(self._declarations())
        return patch.apply(raw, edits) if edits else raw

    def _declarations(self) -> Iterator[Edit]:
        config = self._subject.files.config
        family = self._subject.readings[self._engine].family
        if family is None:
            self._subject.openings[self._engine].require()
        elif self._donor.family.family not in (family.family, family.kin):
            raise RefusedError(
                f"the base is of another family: {self._donor.family.title}, not {family.title}",
                "give the model that this checkpoint was made from",
            )
        ours, theirs = fields.text_section(config, family.text if family else ""), self._donor.text
        roots = self._donor.roots
        block = [name for name in self._donor.checkpoint.listing.shards if name.startswith(roots)]
        vocabulary = theirs.fields.get("vocab_size")
        tensors = (self._donor.checkpoint.tensor(name) for name in block)
        wide = any(t is not None and t.shape[:1] == (vocabulary,) for t in tensors)
        fields.refuse_other_sizes(ours, theirs, vocabulary=wide)
        yield from fields.taken_over(ours, theirs)
        if ours.pointer and theirs.pointer:
            whole = (fields.Section("", config), fields.Section("", self._donor.config))
            yield from fields.taken_over(*whole)

    def _checked_roots(self) -> tuple[str, ...]:
        """Return the beginnings of the names of the block in the target."""
        declared = patched(self._subject, {CONFIG: (self._source.read(CONFIG), self._config)}).files
        roots = self._engine.read(declared.listing, declared.config).block.roots
        if not roots:
            raise RefusedError(
                "config.json does not say where the MTP block belongs",
                "compare it with the config.json of the base",
            )
        return roots

    @cached_property
    def _block(self) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
        """The tensors that the target lacks, and the names of those that it has.

        A module that the target stores otherwise, quantized for instance, is left as it is.
        """
        theirs, ours = self._donor.roots, self._roots
        named = [(pieces.moved(s.name, theirs, ours), s) for s in self._donor.block()]
        dtypes: dict[str, dict[str, str]] = {}
        for name, each in named:
            module, suffix = split_name(name)
            dtypes.setdefault(module, {})[suffix] = each.dtype
        lacking: list[tuple[str, Stored]] = []
        there: list[str] = []
        for name, each in named:
            module, suffix = split_name(name)
            mine = self._dtypes(module)
            if suffix in mine or not mine.items() <= dtypes[module].items():
                there.append(name)
            else:
                lacking.append((name, each))
        return pieces.as_it_is(lacking), tuple(sorted(there))

    def _dtypes(self, module: str) -> dict[str, str | None]:
        """Return suffix -> dtype of the tensors that the target has of a module."""
        held = self._subject.files.inventory.tensor_names(module)
        found = {suffix: self._target.tensor(name) for suffix, name in held}
        return {suffix: tensor and tensor.dtype for suffix, tensor in found.items()}

    def _refuse_strays(self) -> None:
        """Refuse a target that holds MTP tensors in a shard without naming them in its index.

        vLLM loads every tensor of a file that the index names, whatever it says of the tensor.
        """
        if self._index_text is None:
            return
        named = self._index["weight_map"]
        held = self._target.listing.shards
        stray = [name for name in held if name.startswith(self._roots) and name not in named]
        if stray:
            raise RefusedError(
                f"{held[stray[0]]!r:.120} holds {stray[0]!r:.120}, and the index does not name it: "
                f"{self._engine.title} would load both this tensor and that of the base",
                "take the old MTP tensors out of that file, or name them in the index",
            )

    # --- ways to bring it ----------------------------------------------------------------

    def best(self) -> State:
        """Return the way that is right for what decides, and else for the most that is planned for.

        Of several the first, which keeps the most bytes; where none is right, the last.

        Raises:
            RefusedError: there is none.
        """
        self._refuse_strays()
        if not self._block[0]:
            return search(self._start.after(self._change(NO_BLOCK)), PROPOSERS)
        best = search(self._start, (self, *PROPOSERS))
        if self._is_clean(best):
            return self._without_repeated(best)
        if best is self._start or (self._error is not None and self._precision == "keep"):
            raise self._error or RefusedError("there is no way to bring this block")
        return best

    def propose(self, state: State, best: State) -> Iterator[Change]:
        """Yield a change for each way that is one for this target."""
        del state, best
        for way in attempts(self._block[0], self._precision, self._held):
            try:
                yield self._change(way())
            except RefusedError as refused:  # noqa: PERF203 - a way is what the loop is for
                self._error = refused

    def is_better(self, tried: State, best: State) -> bool:
        """Return whether a way is right for what decides and the other is not, or for more."""
        if not self._is_clean(best):
            return True
        return tried.judgement.failing < best.judgement.failing and self._is_clean(tried)

    def is_right(self, best: State) -> bool:
        """Return whether a way is right for all that is planned for."""
        return self._is_clean(best) and not best.judgement.failing

    def _without_repeated(self, whole: State) -> State:
        """Return the way without what the target holds byte for byte and no engine misses.

        These are embedding and head, which engines share. Only where both are folders: to compare
        them over the network would move more bytes than to copy them.
        """
        ours, theirs = self._source.target(), self._donor.target
        if ours.kind == "hub" or theirs.kind == "hub":
            return whole
        found = self._target.listing.shards
        starts = {shard: self._source.data_start(shard) for shard in set(found.values())}
        own = [stored(name, self._target, starts) for name in found if repeats.is_shared(name)]
        attempt = _brought(whole)[1].attempt
        twice = {
            piece.name
            for piece in attempt.pieces
            if any(repeats.same(self._donor.source, piece, self._source, each) for each in own)
        }
        rest = tuple(piece for piece in attempt.pieces if piece.name not in twice)

        def fewer(_: State) -> State:
            change = self._change(attempt._replace(pieces=rest), tuple(sorted(twice)))
            return search(self._start.after(change), PROPOSERS)

        def is_harmless(tried: State, best: State) -> bool:
            harmed = progress.worsened(best.judgement.planned, tried.judgement.planned)
            return self._is_clean(tried) and not harmed

        return climb(whole, [fewer] if twice else [], is_harmless)

    # --- one way -------------------------------------------------------------------------

    def _change(self, attempt: Attempt, repeated: tuple[str, ...] = ()) -> Brought:
        """Return what a way to bring the block changes."""
        layout = self._layout(attempt.pieces)
        declared = {CONFIG: self._config}
        new = patch.apply_all(
            attempt.edits, lambda name: declared.get(name) or self._source.read(name)
        )
        shards = {self._shard: (layout.header, layout.data_size)} if layout.pieces else {}
        files = {**declared, **new, **self._beside(layout)}
        return Brought(files=files, shards=shards, attempt=attempt, repeated=repeated)

    def _seen(self, brought: Sequence[Piece]) -> tuple[EngineCase, ...]:
        """Return what every release makes of the block without edits beside the entries."""
        state = self._start.after(self._change(Attempt(tuple(brought))))
        state.subject.openings[self._engine].require()
        return state.judgement.cases

    def _is_clean(self, tried: State) -> bool:
        """Return whether the checkpoint has a block, right for what decides, and may be written."""
        if tried is self._start or tried.judgement.gating.exit_code:
            return False
        return self._moved(tried) is None

    def _moved(self, tried: State) -> RefusedError | None:
        """Return what the edits beside the entries would change for the target model, or None."""
        state, change = _brought(tried)
        metadata = {name: new for name, new in change.files.items() if name != INDEX}
        if all(new == self._source.read(name) for name, new in metadata.items()):
            return None
        return target_model.refusal(self._start.judgement.cases, state.judgement.cases)

    def repaired(self, best: State) -> Repair:
        """Return a way as a repair, with what is wrong with it."""
        change = _brought(best)[1]
        layout = self._layout(change.attempt.pieces)
        there = self._target.listing.layout == "index" or not layout.pieces
        block = Block(
            source=self._source,
            held=self._held,
            donor=self._donor,
            attempt=change.attempt,
            layout=layout,
            shard=self._shard,
            lineage=self._lineage,
            skipped=self._block[1],
            repeated=change.repeated,
            interim={} if there else {INDEX: self._unchanged_index()},
        )
        made = repaired(self._start, best, helps(best))
        made = replace(made, purpose="graft", block=block)
        return replace(made, refusal=_wrong(made) or self._moved(best))

    def _layout(self, brought: Iterable[Piece]) -> Layout:
        where = self._donor.target
        metadata = {"format": "pt", "mtpfix": __version__}
        if where.kind == "hub":
            metadata |= {"mtp_from": where.name, "mtp_from_commit": where.revision or ""}
        return Layout(pieces.ordered(brought), metadata)

    @cached_property
    def _index_text(self) -> bytes | None:
        """The index as it is; None: there is none."""
        found = self._target.listing
        if any(not name.startswith("consolidated") for name in found.shards.values()):
            return self._source.read(INDEX) if found.layout == "index" else None
        raise RefusedError(
            "the weights are in consolidated*.safetensors, beside which "
            f"{self._engine.title} reads no other file",
            "rename them to model*.safetensors, with an index of that name",
        )

    def _beside(self, layout: Layout) -> dict[str, bytes]:
        """Return the index with the new shard; nothing, where the block is there."""
        if not layout.pieces:
            return {}
        names = [piece.name for piece in layout.pieces]
        size = self._size + layout.data_size
        if self._index_text is None:
            shards = {**self._target.listing.shards, **dict.fromkeys(names, self._shard)}
            return {INDEX: index.made(shards, size)}
        new = index.extended(self._index_text, self._index, self._shard, names, size)
        return {INDEX: new}

    @cached_property
    def _index(self) -> Json:
        """What the index says, as it is."""
        return strict_json.loads(self._index_text or b"{}", INDEX)

    @cached_property
    def _size(self) -> int:
        """Bytes of all tensors that are there."""
        return index.sizes(self._target)

    def _unchanged_index(self) -> bytes:
        """Return an index of the files as they are."""
        return index.made(self._target.listing.shards, self._size)

    @cached_property
    def _shard(self) -> str:
        """The name of the new shard: one that no file has, nor its manifest."""
        stem, end = NAME.rsplit(".", 1)
        files = set(self._target.listing.files)
        names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
        beside = (f".{end}", MANIFEST)
        return next(f"{n}.{end}" for n in names if files.isdisjoint(n + each for each in beside))


def _brought(state: State) -> tuple[State, Brought]:
    """Return the state that has its block since the last change, and that change."""
    at: State | None = state
    while at is not None:
        if isinstance(at.change, Brought):
            return at, at.change
        at = at.parent
    raise ValueError("no block was brought")


def _wrong(made: Repair) -> RefusedError | None:
    """Return why the checkpoint would not be right with the block, or None."""
    if not made.exit_code:
        return None
    if made.plan.refused is not None:
        return RefusedError(made.plan.refused, hint(made), repair=made)
    graver = [f for f in made.checked.findings if f.severity == "error"]
    named = ", ".join(sorted({finding.code for finding in graver})) or "no finding says why"
    reason = next((stays.reason for stays in made.plan.unresolved), "")
    if not reason and graver:
        reason = graver[0].message
    verb = "could not be judged" if made.exit_code == UnknownError.exit_code else "is not clean"
    return RefusedError(
        f"the checkpoint with its block {verb} ({named}): {reason}", hint(made), repair=made
    )
