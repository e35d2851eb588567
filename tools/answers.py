"""Our own answers to the generated questions, beside those of a release."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mtpfix.engines.policies.context import Context
from mtpfix.engines.policies.expression import Expression
from mtpfix.engines.policies.family import MapperRow
from mtpfix.engines.policies.method import ShardsDifferError
from mtpfix.engines.vllm.methods.compressed_tensors.entries import ignored, target
from mtpfix.engines.vllm.name_mapper import mapped
from mtpfix.engines.vllm.policy import KNOWLEDGE, Policy, rules
from mtpfix.engines.vllm.records.family import Family
from mtpfix.model import Entry, QuantView
from mtpfix.patterns import Entries, PatternError
from tools import grammar
from tools.differential import Generated, checksum, letter
from tools.lifting import NO, YES


def differences(theirs: Generated, release: str) -> Iterator[str]:
    """Each question that a release answers otherwise than we do for `release`."""
    for asked, answer, found in zip(grammar.matches(), theirs.ignored, theirs.target, strict=True):
        if (ours := letter(our_ignored(asked, release))) != answer:
            yield f"ignored: we say {ours}, vLLM {answer}: {asked}"
        if (ours := letter(our_target(asked, release))) != found:
            yield f"target: we say {ours}, vLLM {found}: {asked}"
    for which, answer in zip(grammar.maps(), theirs.mapped, strict=True):
        if checksum(entries := our_mapped(which, release)) != answer:
            yield f"mapped: we say {entries}: {which}"


def our_ignored(asked: grammar.Match, release: str) -> str:
    """What we say whether a name is ignored."""
    try:
        listed = _entries(asked.ignore, eager=rules("fused_name_first", release))
        found = ignored(asked.name, listed, asked.packed, release)
    except ShardsDifferError:
        return "ValueError"
    except PatternError as error:
        return _refused(error)
    return NO if found is None else YES


def our_target(asked: grammar.Match, release: str) -> str:
    """What we say which target a module falls under."""
    try:
        found = target(asked.name, asked.cls, _entries(asked.targets), asked.packed, release)
    except PatternError as error:
        return _refused(error)
    if found is not None:
        return str(asked.targets.index(found.text))
    return "ValueError" if rules("no_target", release) == "error" else NO


def our_mapped(asked: grammar.Map, release: str) -> list[str]:
    """What we make of a list with a name mapper."""
    listed = tuple(Entry(text, "config.json", f"/{i}") for i, text in enumerate(asked.entries))
    record = Family(
        title="None",
        num_hidden_layers=Expression("0"),
        mtp_layers=Expression("0"),
        disk_roots=(),
        mappers=(msgspec.convert(asked.tables, MapperRow),),
        trunk=(),
        draft=(),
    )
    known = Policy("none", (), (), record, KNOWLEDGE)
    bare = QuantView("compressed-tensors", "config.json", "", listed, "", (), None)
    view = mapped(bare, known, Context(release, "cuda", {}))
    return [entry.text for entry in view.ignore]


def _entries(texts: tuple[str, ...], *, eager: bool = False) -> Entries:
    listed = [Entry(text, "config.json", f"/{i}") for i, text in enumerate(texts)]
    return Entries(listed, eager=eager)


def _refused(error: PatternError) -> str:
    """An invalid pattern is the release's error too; one that takes too long is ours alone."""
    return "takes too long" if error.hangs else "error"
