"""The plan of a graft: what is brought, as what, and the metadata for it, judged before it is made.

The checkpoint as it would be is read by the same code as one on disk (`checkpoint/proposed.py`), so
`rewrite`'s plan is made for it, and every release says what it makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mtpfix import __version__
from mtpfix.analysis import analyze_planned
from mtpfix.api import hint
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIG
from mtpfix.checkpoint.precision import split_name
from mtpfix.checkpoint.proposed import Proposed
from mtpfix.checkpoint.remembered import Remembered
from mtpfix.checkpoint.source import Source
from mtpfix.engines.base import EngineCase
from mtpfix.errors import RefusedError, UnknownError
from mtpfix.grafts import donor as donors
from mtpfix.grafts import fields, index, pieces, repeats, target_model
from mtpfix.grafts.attempts import Attempt, Precision, Target, attempts
from mtpfix.grafts.donor import Donor
from mtpfix.grafts.layout import MANIFEST, NAME, Layout
from mtpfix.grafts.lineage import Lineage
from mtpfix.grafts.pieces import Piece, Stored, stored
from mtpfix.model import FAILED, Checkpoint, Edit, Json, Report
from mtpfix.planning import Repair, planned
from mtpfix.repair import patch, progress
from mtpfix.repair.diff import diff as unified
from mtpfix.repair.index import INDEX
from mtpfix.repair.plan import Options
from mtpfix.selection import Selection
from mtpfix.subject import Subject, open_subject, patched


@dataclass(frozen=True)
class GraftPlan:
    """What a graft would write, and the proof.

    Attributes:
        source: the files of the target.
        held: the target as it is.
        donor: the base.
        attempt: how the block is brought.
        layout: the new shard.
        shard: its name.
        files: path -> bytes as read (None: a new file), and the new bytes; in order of writing.
        repair: the entries, planned for the checkpoint as it would be.
        before: the reports on the checkpoint as it is: for all that is planned for, for what
            decides.
        lineage: what the base is to the target.
        skipped: tensors of the block that the target has already.
        repeated: tensors that are left out: the target has the same bytes elsewhere.
        interim: new file -> what it holds until the shard is there: what is true without it.
        refused: why it is not written, or None.
    """

    source: Remembered
    held: Target
    donor: Donor
    attempt: Attempt
    layout: Layout
    shard: str
    files: Mapping[str, tuple[bytes | None, bytes]]
    repair: Repair
    before: tuple[Report, Report]
    lineage: Lineage
    skipped: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    interim: Mapping[str, bytes] = field(default_factory=dict)
    refused: RefusedError | None = None

    @property
    def whole_file(self) -> str | None:
        """The file of the base that is the block and nothing else, byte for byte; or None."""
        shards = {piece.shard for piece in self.attempt.pieces}
        as_it_is = all(piece.name == piece.source for piece in self.attempt.pieces)
        if len(shards) != 1 or not as_it_is or any(p.scale for p in self.attempt.pieces):
            return None
        shard = shards.pop()
        held = self.donor.checkpoint.headers[shard].keys()
        return shard if held == {piece.name for piece in self.attempt.pieces} else None

    @property
    def metadata(self) -> dict[str, tuple[bytes, bytes]]:
        """`config.json`, and what repeats it: path -> bytes as read, and the new bytes."""
        changed = ((n, old, new) for n, (old, new) in self.files.items() if n != INDEX)
        return {name: (old or b"", new) for name, old, new in changed}

    @property
    def diff(self) -> str:
        """The change of the metadata as a unified diff."""
        return "".join(unified(old, new, name) for name, (old, new) in self.metadata.items())


def plan(
    target: Source, base: Source, selection: Selection, options: Options, precision: Precision
) -> GraftPlan:
    """Return the plan for one target and one base.

    Raises:
        RefusedError: the base cannot give this target a block.
        MtpfixError: one of them cannot be read or judged.
    """
    planner = _Planner(Remembered(target), base, selection, options)
    return planner.best(precision)


class _Planner:
    """Tries the ways to bring a block, best first."""

    def __init__(
        self, source: Remembered, base: Source, selection: Selection, options: Options
    ) -> None:
        self._source, self._selection, self._options = source, selection, options
        self._subject = open_subject(source, selection.engines, trunk=True)
        self._engine = selection.engines[0]
        self._donor = donors.read(base, self._engine)
        self._config = self._declared()
        self._roots = self._checked_roots()
        self._before = analyze_planned(self._subject, selection)
        self._lineage = donors.compare(source, self._target, self._roots, self._donor)

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

    def _brought(self) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
        """Return the tensors that the target lacks, and the names of those that it has.

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

    def best(self, precision: Precision) -> GraftPlan:
        """Return the way that is right for what decides, and else for the most that is planned for.

        Of several the first, which keeps the most bytes; where none is right, the last, refused.
        """
        brought, there = self._brought()
        self._refuse_strays()
        if not brought:
            return self._made(Attempt(()), there)
        made: list[GraftPlan] = []
        error: RefusedError | None = None
        for way in attempts(brought, precision, self._held):
            try:
                made.append(self._made(way(), there))
            except RefusedError as refused:  # noqa: PERF203 - a way is what the loop is for
                error = refused
            else:
                if made[-1].refused is None and not _failing(made[-1]):
                    break
        good = [each for each in made if each.refused is None]
        if good:
            return self._spared(min(good, key=_failing))
        if not made or (error is not None and precision == "keep"):
            raise error or RefusedError("there is no way to bring this block")
        return made[-1]

    def _spared(self, whole: GraftPlan) -> GraftPlan:
        """Return the plan without what the target holds byte for byte and no engine misses.

        These are embedding and head, which engines share. Only where both are folders: to compare
        them over the network would move more bytes than to copy them.
        """
        ours, theirs = self._source.target(), self._donor.target
        if ours.kind == "hub" or theirs.kind == "hub":
            return whole
        found = self._target.listing.shards
        starts = {shard: self._source.data_start(shard) for shard in set(found.values())}
        own = [stored(name, self._target, starts) for name in found if repeats.is_shared(name)]
        brought = whole.attempt.pieces
        twice = {
            piece.name
            for piece in brought
            if any(repeats.same(self._donor.source, piece, self._source, each) for each in own)
        }
        if not twice:
            return whole
        rest = tuple(piece for piece in brought if piece.name not in twice)
        fewer = self._made(whole.attempt._replace(pieces=rest), whole.skipped)
        harmed = progress.worsened(whole.repair.after, fewer.repair.after)
        if fewer.refused is not None or harmed:
            return whole
        return replace(fewer, repeated=tuple(sorted(twice)))

    def _seen(self, brought: Sequence[Piece]) -> tuple[EngineCase, ...]:
        """Return what every release makes of the block without edits beside the entries."""
        layout = self._layout(brought)
        subject = self._opened(layout, {CONFIG: self._config, **self._beside(layout)})
        subject.openings[self._engine].require()
        return analyze_planned(subject, self._selection)[0].cases

    # --- judging one ---------------------------------------------------------------------

    def _made(self, attempt: Attempt, there: tuple[str, ...]) -> GraftPlan:
        """Return the plan for one way, with what is wrong with it."""
        layout = self._layout(attempt.pieces)
        edited = self._edited(attempt.edits)
        beside = self._beside(layout)
        if not layout.pieces and edited[CONFIG] == self._source.read(CONFIG):
            repair = planned(self._subject, self._selection, self._options)
            made = self._plan(attempt, layout, repair.files, repair, there)
            return replace(made, refused=_wrong(repair))
        subject = self._opened(layout, {**edited, **beside})
        repair = planned(subject, self._selection, self._options)
        changed = {**edited, **{name: new for name, (_, new) in repair.files.items()}}
        files: dict[str, tuple[bytes | None, bytes]] = {
            name: (self._source.read(name), new) for name, new in changed.items()
        }
        files |= {name: (self._index_text, new) for name, new in beside.items()}
        files = {name: (old, new) for name, (old, new) in files.items() if old != new}
        made = self._plan(attempt, layout, files, repair, there)
        interim = {} if self._index_text is not None else {INDEX: self._unchanged_index()}
        wrong = _wrong(repair) or self._moved(subject, edited)
        return replace(made, interim=interim, refused=wrong)

    def _edited(self, edits: Sequence[Edit]) -> dict[str, bytes]:
        """Return the metadata files with the block declared, and with edits beside the entries."""
        declared = {CONFIG: self._config}
        new = patch.apply_all(edits, lambda name: declared.get(name) or self._source.read(name))
        return declared | new

    def _plan(
        self,
        attempt: Attempt,
        layout: Layout,
        files: Mapping[str, tuple[bytes | None, bytes]],
        repair: Repair,
        there: tuple[str, ...],
    ) -> GraftPlan:
        return GraftPlan(
            source=self._source,
            held=self._held,
            donor=self._donor,
            attempt=attempt,
            layout=layout,
            shard=self._shard,
            files=files,
            repair=repair,
            before=(self._before[0].report, self._before[1].report),
            lineage=self._lineage,
            skipped=there,
        )

    def _opened(self, layout: Layout, files: Mapping[str, bytes]) -> Subject:
        """Return the checkpoint as it would be, read by every engine."""
        shards = {self._shard: (layout.header, layout.data_size)} if layout.pieces else {}
        return open_subject(Proposed(self._source, files, shards), self._selection.engines)

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

    def _moved(self, subject: Subject, edited: Mapping[str, bytes]) -> RefusedError | None:
        """Return what the edits beside the entries would change for the target model, or None."""
        if all(new == self._source.read(name) for name, new in edited.items()):
            return None
        after = analyze_planned(subject, self._selection)[0].cases
        return target_model.refusal(self._before[0].cases, after)


def _failing(made: GraftPlan) -> int:
    """Return how many releases and platforms would fail, of all that are planned for."""
    return sum(engine.outcome in FAILED for engine in made.repair.after.engines)


def _wrong(repair: Repair) -> RefusedError | None:
    """Return why the checkpoint would not be right with the block, or None."""
    if not repair.exit_code:
        return None
    if repair.plan.refused is not None:
        return RefusedError(repair.plan.refused, hint(repair), repair=repair)
    graver = [f for f in repair.checked.findings if f.severity == "error"]
    named = ", ".join(sorted({finding.code for finding in graver})) or "no finding says why"
    reason = next((stays.reason for stays in repair.plan.unresolved), "")
    if not reason and graver:
        reason = graver[0].message
    verb = "could not be judged" if repair.exit_code == UnknownError.exit_code else "is not clean"
    return RefusedError(
        f"the checkpoint with its block {verb} ({named}): {reason}", hint(repair), repair=repair
    )
