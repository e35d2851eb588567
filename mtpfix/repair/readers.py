"""How other readers of a checkpoint take its quantization metadata, by names on disk.

A list is read by more than vLLM: by compressed-tensors, by the loaders of transformers, by
AutoAWQ, GPTQModel, AutoRound and TensorRT-LLM. Each has a rule of its own for whether an entry
excludes a module, by its name on disk. The rules are stated here, written anew, so that the
planner can refuse a list that changes what one of them does to the target model. Pure.

Sources: `utils/match.py` of compressed-tensors; of transformers `should_convert_module` in
`quantizers/quantizers_utils.py`, with and without its boundary, and `get_modules_to_not_convert`
in `quantizers/base.py`; `exclude_layers_to_not_quantize` of AutoAWQ; `dynamic_get` of GPTQModel;
`get_layer_config` in `inference/convert_model.py` of AutoRound;
`is_module_excluded_from_quantization` of TensorRT-LLM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from typing import Literal, NamedTuple

from mtpfix.model import Entry, Json
from mtpfix.patterns import PatternError, fits_start, found_in
from mtpfix.quant.spelling import literal_start

Rule = Callable[[str], bool]
"""Whether one entry is about a name. It may raise `PatternError`: the entry takes too long."""

_PLAIN = re.compile(r"[\w./-]*\Z")
"""Text that matches in no time as a pattern: its only wildcard is the dot."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One program that reads the metadata.

    Attributes:
        name: what users call it.
        rule: from an entry to the names that it is about.
        is_name: whether an entry is about nothing but the name that it spells: it is looked up
            then, for there may be 100,000 of them.
        order: `any`: every entry excludes what it is about. `first`: the first that is about a
            name says what becomes of it. `whole`: so does one that is spelled like the name,
            and else the first.
        keeps_head: when it leaves the output head unquantized whatever entries say: never,
            as long as there is no list at all, or always.
    """

    name: str
    rule: Callable[[str], Rule]
    is_name: Callable[[str], bool] = field(default=lambda _: False)
    order: Literal["any", "first", "whole"] = "any"
    keeps_head: Literal["never", "unlisted", "always"] = "never"


# --- the rules, one entry each --------------------------------------------------


def compressed_tensors_rule(entry: str) -> Rule:
    """Return compressed-tensors' rule: a whole name, a class, or a pattern after `re:`."""
    if entry.startswith("re:"):
        return _start(entry.removeprefix("re:"))
    return lambda name: entry in (name, "Linear", "Module")


def transformers_rule(entry: str) -> Rule:
    """Return the rule of transformers: a pattern up to the end of a word, or the end of a name."""
    starts = _start(rf"(?:{entry})(?:(?<=\.)|(?=\.|$))", plain=entry)
    return lambda name: name.endswith(entry) or starts(name)


def earlier_transformers_rule(entry: str) -> Rule:
    """Return the rule of earlier releases: the pattern may end in the midst of a word."""
    starts = _start(entry, plain=entry)
    return lambda name: name.endswith(entry) or starts(name)


def torchao_rule(entry: str) -> Rule:
    """Return the rule of transformers for torchao, which asks by the name of the weight."""
    return _of_weight(transformers_rule(entry))


def earlier_torchao_rule(entry: str) -> Rule:
    """Return the same rule of earlier releases."""
    return _of_weight(earlier_transformers_rule(entry))


def _of_weight(rule: Rule) -> Rule:
    return lambda name: rule(f"{name}.weight")


def part_rule(entry: str) -> Rule:
    """Return AutoAWQ's rule: a part of the name."""
    return lambda name: entry in name


def glob_rule(entry: str) -> Rule:
    """Return TensorRT-LLM's rule: a glob that fits the name, or that of a module around it."""
    if set("*?[").isdisjoint(entry):
        return lambda name: name == entry or name.startswith(f"{entry}.")
    try:
        fits = re.compile(translate(entry)).match
    except re.error:
        return _never
    return lambda name: any(fits(above) is not None for above in (name, *_above(name)))


def gptq_rule(entry: str) -> Rule:
    """Return GPTQModel's rule: a pattern after `-:` or `+:`, or without a sign."""
    signed = entry.startswith("-:")
    return _start(entry.removeprefix("-:") if signed else entry.removeprefix("+:"))


def auto_round_rule(entry: str) -> Rule:
    """Return AutoRound's rule: a whole name, or a pattern that is found in the name."""
    pattern = Entry(entry, "", "")
    return _safe(lambda name: name == entry or found_in(pattern, name))


def _start(pattern: str, *, plain: str | None = None) -> Rule:
    """Return whether a pattern fits the start of a name; a foreign one is bounded in time."""
    if plain is not None and _PLAIN.match(plain):
        compiled = re.compile(pattern)
        return lambda name: compiled.match(name) is not None
    entry, begins = Entry(pattern, "", ""), literal_start(pattern)

    def fits(name: str) -> bool:
        # A checkpoint has 70,000 modules; no pattern need look at those that begin otherwise.
        return (begins is None or name.startswith(begins)) and fits_start(entry, pattern, name)

    return _safe(fits)


def _safe(rule: Rule) -> Rule:
    """Return the rule, for which a pattern that is none is about nothing: no reader takes it."""

    def fits(name: str) -> bool:
        try:
            return rule(name)
        except PatternError as error:
            if error.hangs:
                raise
            return False

    return fits


def _never(name: str) -> bool:  # noqa: ARG001 - a rule
    return False


def _above(name: str) -> Iterable[str]:
    return (name[:at] for at, letter in enumerate(name) if letter == ".")


def _is_name_to_compressed_tensors(entry: str) -> bool:
    return not entry.startswith("re:") and entry not in ("Linear", "Module")


# --- who reads what ----------------------------------------------------------------

_COMPRESSED_TENSORS = Reader(
    "compressed-tensors", compressed_tensors_rule, is_name=_is_name_to_compressed_tensors
)
_NOW, _EARLIER = "transformers", "transformers before 5.0"
_TRANSFORMERS = (
    Reader(_NOW, transformers_rule, keeps_head="unlisted"),
    Reader(_EARLIER, earlier_transformers_rule, keeps_head="unlisted"),
)
_TENSORRT = Reader("TensorRT-LLM", glob_rule)
_MODELOPT = (_TENSORRT, Reader("a reader that looks for parts of names", part_rule))

_READERS: Mapping[str, tuple[Reader, ...]] = {
    "auto-round": (Reader("AutoRound", auto_round_rule, order="whole"),),
    "awq": (
        *(replace(reader, keeps_head="always") for reader in _TRANSFORMERS),
        Reader("AutoAWQ", part_rule),
    ),
    "bitsandbytes": _TRANSFORMERS,
    "compressed-tensors": (_COMPRESSED_TENSORS,),
    "deepseek_v4_fp8": _TRANSFORMERS,
    "fbgemm_fp8": _TRANSFORMERS,
    "fp8": _TRANSFORMERS,
    "fp_quant": _TRANSFORMERS,
    "gpt_oss_mxfp4": _TRANSFORMERS,
    "gptq": (Reader("GPTQModel", gptq_rule, order="first"),),
    "modelopt": _MODELOPT,
    "modelopt_fp4": _MODELOPT,
    "modelopt_mixed": _MODELOPT,
    "modelopt_mxfp8": _MODELOPT,
    "mxfp4": _TRANSFORMERS,
    "mxfp8": _MODELOPT,
    "quark": (Reader("Quark", glob_rule), _COMPRESSED_TENSORS),
    "torchao": (
        Reader(_NOW, torchao_rule, keeps_head="unlisted"),
        Reader(_EARLIER, earlier_torchao_rule, keeps_head="unlisted"),
    ),
}
"""The readers of a method besides vLLM. A list that they do not read is not in it."""


def readers_of(method: str) -> tuple[Reader, ...]:
    """Return the readers of the metadata of a method besides vLLM."""
    return _READERS.get(method, ())


# --- what a change of the list changes ----------------------------------------------

Listed = Mapping[str, Json]
"""Entries in their order, each with the value that it is the key of, if it is one."""

_MOST_QUESTIONS = 4_000_000
"""More questions than an honest list and checkpoint lead to: asking them takes some seconds."""


class Treated(NamedTuple):
    """A module of the target model that a reader treats otherwise after a change.

    Attributes:
        reader: who reads the file.
        module: its name on disk.
        excluded: whether it is left unquantized after the change.
    """

    reader: str
    module: str
    excluded: bool


class Readings:
    """What the readers of one method do to the modules of a target model.

    Args:
        method: the quantization method.
        names: the modules of the target model on disk.
        heads: those of them that are an output head.
    """

    def __init__(self, method: str, names: Iterable[str], heads: Iterable[str] = ()) -> None:
        self._readers = readers_of(method)
        self._names = tuple(dict.fromkeys(names))
        self._known = frozenset(self._names)
        self._heads = tuple(heads)
        self._about_names: dict[tuple[Reader, str], tuple[str, ...]] = {}
        self._rules: dict[tuple[Reader, str], Rule] = {}

    @property
    def kept_heads(self) -> tuple[str, ...]:
        """Output heads that a reader leaves unquantized only as long as there is no list."""
        kept = any(reader.keeps_head == "unlisted" for reader in self._readers)
        return self._heads if kept else ()

    def changed(self, before: Listed | None, after: Listed | None) -> Iterator[Treated]:
        """Find the modules that a reader treats otherwise after a change of the list.

        Only names that an entry which comes or goes is about are asked about. Where that is
        more than can be asked in a few seconds, the first of them is taken for changed.

        Args:
            before: the entries as they are; None: there is no list.
            after: the entries as they would be.
        """
        old, new = before or {}, after or {}
        edited = [e for e in {**old, **new} if old.get(e, _GONE) != new.get(e, _GONE)]
        for reader in self._readers:
            asked = dict.fromkeys(n for entry in edited for n in self._about(reader, entry))
            if reader.keeps_head == "unlisted" and (before is None) != (after is None):
                asked.update(dict.fromkeys(self._heads))
            patterns = [[e for e in listed if not reader.is_name(e)] for listed in (old, new)]
            if len(asked) * sum(map(len, patterns)) > _MOST_QUESTIONS:
                yield Treated(reader.name, next(iter(asked)), True)
                continue
            for name in asked:
                was = self._treatment(reader, name, before, patterns[0])
                becomes = self._treatment(reader, name, after, patterns[1])
                if was != becomes:
                    yield Treated(reader.name, name, becomes == _EXCLUDED)

    def _about(self, reader: Reader, entry: str) -> tuple[str, ...]:
        """The names that an entry is about. One that takes too long hangs its readers as well."""
        key = reader, entry
        if key not in self._about_names:
            rule = self._rule(reader, entry)
            asked = self._names if not reader.is_name(entry) else self._known.intersection([entry])
            try:
                self._about_names[key] = tuple(name for name in asked if rule(name))
            except PatternError:
                self._about_names[key] = ()
        return self._about_names[key]

    def _treatment(
        self, reader: Reader, name: str, listed: Listed | None, patterns: Iterable[str]
    ) -> str | None:
        """What becomes of a module: None if nothing is said about it."""
        kept = reader.keeps_head == "always" or (reader.keeps_head == "unlisted" and listed is None)
        if kept and name in self._heads:
            return _EXCLUDED
        if listed is None:
            return None
        if name in listed and reader.order != "first":
            return _EXCLUDED if reader.order == "any" else repr(listed[name])
        entry = next((entry for entry in patterns if self._fits(reader, entry, name)), None)
        if entry is None:
            return None
        skips = reader.order == "any" or entry.startswith("-:")
        return _EXCLUDED if skips else repr(listed[entry])

    def _fits(self, reader: Reader, entry: str, name: str) -> bool:
        try:
            return self._rule(reader, entry)(name)
        except PatternError:
            return False

    def _rule(self, reader: Reader, entry: str) -> Rule:
        key = reader, entry
        if key not in self._rules:
            self._rules[key] = reader.rule(entry)
        return self._rules[key]


_GONE = object()
"""Stands for the value of an entry that is not there."""
_EXCLUDED = "excluded"
