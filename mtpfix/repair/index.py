"""The index of the shards, corrected where it is wrong about the MTP block. Pure.

vLLM reads the files that an index names, each of them whole, and no others. So it is the files
that count, and an edit of the index is right where it names a file that nobody else doubles, or
says of a tensor in a file that is read anyway where it is. Whatever would need weights moved is
refused, with what to do instead.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mtpfix.checkpoint.document import path_of
from mtpfix.checkpoint.load import OTHER_FORMAT
from mtpfix.checkpoint.precision import split_name
from mtpfix.checkpoint.strict_json import shown
from mtpfix.model import Edit, Json, Tensor
from mtpfix.quant.location import escape
from mtpfix.repair import move_by_hand

INDEX = "model.safetensors.index.json"
_EXPERT = re.compile(r"(.*\.experts)\.(\d+\.)?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that no edit of the index makes right.

    Attributes:
        file: the file.
        reason: why.
        remedy: what to do instead.
    """

    file: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class IndexRepair:
    """What is corrected in an index.

    Attributes:
        file: the index.
        edits: the changes.
        done: what they do, a phrase for each.
        about: the files that they are about.
        refused: what no edit makes right.
        lost: names that are taken out although their file is there: no file holds the tensors.
    """

    file: str = INDEX
    edits: tuple[Edit, ...] = ()
    done: tuple[str, ...] = ()
    about: frozenset[str] = frozenset()
    refused: tuple[Refusal, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What is done, in a few words."""
        return f"in {self.file}, {'; '.join(self.done)}"

    def shards(self, old: Mapping[str, str]) -> dict[str, str]:
        """Return a `weight_map` after the edits."""
        new = dict(old)
        for edit in self.edits:
            _, part, name = path_of(edit.pointer)
            if part == "weight_map" and edit.op == "remove":
                del new[name]
            elif part == "weight_map":
                new[name] = edit.value
        return new


@dataclass(frozen=True)
class Index:
    """An index, and the files beside it.

    Attributes:
        file: its name.
        shards: its `weight_map`.
        total: `metadata.total_size`, or whatever stands there.
        usable: the files that it may name, in the order in which they are loaded.
        headers: file -> its header, for all that were read, those that it does not name included.
        roots: what names of MTP tensors begin with.
        shared: names of other tensors that the draft may load.
        unfit: tensors, and modules whose tensors, the draft cannot take as they are loaded.
        keep: names that stay though no file holds their tensors.
        engine: who reads it, as people spell it.
    """

    file: str
    shards: Mapping[str, str]
    total: Json
    usable: Sequence[str]
    headers: Mapping[str, Mapping[str, Tensor]]
    roots: tuple[str, ...]
    shared: frozenset[str] = frozenset()
    unfit: frozenset[str] = frozenset()
    keep: Collection[str] = frozenset()
    engine: str = "vLLM"

    @cached_property
    def named(self) -> frozenset[str]:
        """The files that it names and that are there: the engine reads them."""
        return frozenset(self.shards.values()).intersection(self.usable)

    @cached_property
    def complete(self) -> bool:
        """Whether all headers of files that the engine reads are known."""
        return self.named <= self.headers.keys()

    @cached_property
    def holders(self) -> Mapping[str, list[str]]:
        """MTP tensor, or one that is not where the index says -> the usable files that hold it."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for file in self.usable:
            for name in self.headers.get(file, ()):
                if self.is_mtp(name) or name in self.false:
                    found[name].append(file)
        return found

    @cached_property
    def false(self) -> Mapping[str, str]:
        """Names whose tensor is not in the file that the index says, as far as is known."""
        heads, there = self.headers, self.named
        return {
            name: file
            for name, file in self.shards.items()
            if file not in there or (file in heads and name not in heads[file])
        }

    def is_mtp(self, name: str) -> bool:
        """Return whether a tensor is one of the MTP block."""
        return name.startswith(self.roots)


def repair(index: Index) -> IndexRepair:
    """Return what is to be corrected in an index, and what cannot be corrected there."""
    return _Repairer(index).made()


def naming(file: str, shards: Mapping[str, str]) -> list[Edit]:
    """Return the edits by which an index names tensors.

    Args:
        file: the index.
        shards: tensor -> its file.
    """
    return [Edit(file, f"/weight_map/{escape(name)}", "add", shards[name]) for name in shards]


@dataclass
class _Repairer:
    """Collects corrections of one index.

    Attributes:
        index: as it is.
        moved: names that get another file.
        added: names that are new.
        dropped: names that go.
        refused: by file.
    """

    index: Index
    moved: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def made(self) -> IndexRepair:
        """Return the corrections."""
        self._name_files()
        self._correct_names()
        self._name_tensors()
        index, there = self.index, self.index.named
        edits = naming(index.file, {**self.moved, **self.added})
        edits += [
            Edit(index.file, f"/weight_map/{escape(name)}", "remove") for name in self.dropped
        ]
        edits += self._sized() if edits else []
        about = {*self.moved.values(), *self.added.values()}
        about |= {index.shards[name] for name in (*self.moved, *self.dropped)}
        return IndexRepair(
            index.file,
            tuple(edits),
            tuple(self._said()),
            frozenset(about),
            tuple(self.refused.values()),
            tuple(name for name in self.dropped if index.shards[name] in there),
        )

    # --- files that it does not name -----------------------------------------------------

    def _name_files(self) -> None:
        """Name the tensors of files that are not read and hold what is not read elsewhere."""
        for file, header in self.index.headers.items():
            if file in self.index.named or not any(map(self._wanted, header)):
                continue
            refusal = self._refusal(file, header)
            if refusal is not None:
                self.refused[file] = refusal
                continue
            for name in header:
                (self.moved if name in self.index.shards else self.added)[name] = file

    def _wanted(self, name: str) -> bool:
        """Return whether a tensor of a file that is not read matters."""
        index = self.index
        return index.is_mtp(name) or self._is_block or index.shards.get(name) in self._absent

    @cached_property
    def _absent(self) -> frozenset[str]:
        """The files that the index names and that are not there."""
        return frozenset(self.index.shards.values()) - self.index.named

    @cached_property
    def _is_block(self) -> bool:
        """Whether the index names the MTP block alone, so that no target model is read."""
        return all(map(self.index.is_mtp, self.index.shards))

    def _refusal(self, file: str, header: Mapping[str, Tensor]) -> Refusal | None:
        """Return why a file must not be named, or None."""
        index, quoted = self.index, shown(file)
        if file not in index.usable:
            return Refusal(
                file,
                f"where there are any, {index.engine} reads consolidated*.safetensors and no other "
                "file, whatever an index says",
                OTHER_FORMAT,
            )
        twice = [name for name in header if self._elsewhere(name, file)]
        other = shown(self._elsewhere(twice[0], file) or "") if twice else ""
        block = [name for name in header if index.is_mtp(name)]
        if twice and set(block) <= set(twice):
            return Refusal(
                file,
                f"its MTP tensors are also in {other}, and {index.engine} would load both",
                f"move {quoted} out of the folder, if {other} has the right ones",
            )
        clash = [name for name in header if self._clashes(name)]
        if twice or clash:
            held = f"{shown(twice[0])}, as {other} does" if twice else shown(clash[0])
            form = "" if twice else ", a part of the target model that other files hold otherwise"
            return Refusal(
                file,
                f"it also holds {held}{form}, and {index.engine} would load both",
                move_by_hand.copied(file, index.roots),
            )
        return None

    def _clashes(self, name: str) -> bool:
        """Return whether the index has a module of the target model in another form."""
        index = self.index
        ours = index.is_mtp(name) or name in index.shared or name in index.false
        return not ours and split_name(name)[0] in self._modules

    def _elsewhere(self, name: str, file: str) -> str | None:
        """Return another file that holds a tensor, as far as is known; or None."""
        index = self.index
        said = index.shards.get(name)
        if said is not None and said != file and name not in index.false:
            return said
        return next((each for each in index.holders.get(name, ()) if each != file), None)

    @cached_property
    def _modules(self) -> frozenset[str]:
        """Modules of the target model that the index names."""
        index = self.index
        return frozenset(split_name(name)[0] for name in index.shards if not index.is_mtp(name))

    # --- names that are false ------------------------------------------------------------

    def _correct_names(self) -> None:
        """Say of tensors where they are, and take out those that no file holds."""
        index = self.index
        for name, said in index.false.items():
            if name in self.moved:
                continue
            held = [file for file in index.holders.get(name, ()) if file in index.named]
            if held:
                self.moved[name] = held[0]
            elif index.is_mtp(name) and (said in self._absent or self._is_nowhere(name)):
                self.dropped.append(name)

    def _is_nowhere(self, name: str) -> bool:
        """Return whether it is certain that no file holds a tensor, and its name is to go."""
        index = self.index
        return index.complete and name not in index.keep and name not in index.holders

    # --- tensors that it does not name ---------------------------------------------------

    def _name_tensors(self) -> None:
        """Name the MTP tensors of files that are read."""
        index = self.index
        stray: defaultdict[str, list[str]] = defaultdict(list)
        twice: dict[str, tuple[str, str]] = {}
        for name, files in index.holders.items():
            read = [file for file in files if file in index.named]
            if len(read) > 1 and index.is_mtp(name):
                for file in read:
                    twice.setdefault(file, (name, next(f for f in read if f != file)))
            elif read and name not in index.shards and index.is_mtp(name):
                if self._is_stray(name):
                    stray[read[0]].append(name)
                else:
                    self.added[name] = read[0]
        for file, (name, other) in twice.items():
            self.refused[file] = self._twice(file, name, other)
        for file, names in stray.items():
            self.refused[file] = self._stray(file, names)

    def _is_stray(self, name: str) -> bool:
        """Return whether a tensor that is not named has no place beside those that are."""
        if not self.index.unfit.isdisjoint({name, split_name(name)[0]}):
            return True
        found = _EXPERT.match(name)
        return found is not None and (found[1], found[2] is None) in self._expert_forms

    @cached_property
    def _expert_forms(self) -> frozenset[tuple[str, bool]]:
        """Experts that the index names, and the other form that they could be stored in."""
        matches = (_EXPERT.match(n) for n in self.index.shards if self.index.is_mtp(n))
        return frozenset((m[1], m[2] is not None) for m in matches if m is not None)

    def _twice(self, file: str, name: str, other: str) -> Refusal:
        return Refusal(
            file,
            f"{shown(name)} is also in {shown(other)}: {self.index.engine} loads both, and the "
            "file that it reads last wins",
            f"if the other is the right one, {move_by_hand.cleared(file, [name], self.index.file)}",
        )

    def _stray(self, file: str, names: Sequence[str]) -> Refusal:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return Refusal(
            file,
            f"{self.index.engine} loads whole files, and {shown(names[0])}{more} in it has no "
            "place beside the tensors that the index names",
            move_by_hand.cleared(file, names, self.index.file),
        )

    # --- what is said of it --------------------------------------------------------------

    def _said(self) -> Iterator[str]:
        """Yield what the corrections do."""
        index = self.index
        new = Counter(file for file in self.added.values())
        for file, number in new.items():
            yield f"name {_tensors(number)} of {file}"
        for file, number in Counter(self.moved.values()).items():
            yield f"say that {_tensors(number)} {_is(number)} in {file}"
        for file, number in Counter(index.shards[name] for name in self.dropped).items():
            name = "the name of 1 tensor" if number == 1 else f"the names of {number:,} tensors"
            yield f"take out {name} that {_is(number)} not in {file}, nor elsewhere"

    def _sized(self) -> list[Edit]:
        """Return the edit of the sum of all bytes, which is by convention that of all tensors."""
        index, total = self.index, self.index.total
        if type(total) is not int:
            return []
        files = index.named.union(self.added.values(), self.moved.values())
        if files <= index.headers.keys() and total == size_of(index.headers[f] for f in files):
            return []
        heads = index.headers
        more = sum(heads[f][name].end - heads[f][name].begin for name, f in self.added.items())
        return [Edit(index.file, "/metadata/total_size", "replace", total + more)] if more else []


def size_of(headers: Iterable[Mapping[str, Tensor]]) -> int:
    """Return the bytes of all tensors; by convention that is what `total_size` says."""
    return sum(tensor.end - tensor.begin for header in headers for tensor in header.values())


def _tensors(number: int) -> str:
    return "1 tensor" if number == 1 else f"{number:,} tensors"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
