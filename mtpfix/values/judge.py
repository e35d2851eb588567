"""What is wrong with the values of an MTP block: MTP5xx. Pure.

Each threshold is explained in docs/explanation/values.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mtpfix.checkpoint.inventory import without_expert
from mtpfix.model import Finding, Grade, Severity, State
from mtpfix.rules import gravity
from mtpfix.rules.evidence import counted_subject, some
from mtpfix.values.scanned import CACHE_SCALES, FACTORS, Scanned, ScannedModule, by_module
from mtpfix.values.summary import Summary

USELESS = 100.0
"""How far from its sibling's the magnitude of a module may not be: an error."""
DOUBTFUL = 30.0
"""The same: a warning."""
UNRELATED = 1000.0
"""How far the magnitude of a module without a sibling may not be from all that are known."""
MOST = 0.5
"""The part of a tensor's scales that makes it useless."""
SOME = 0.05
"""The part of scales of packed codes that may be zero: of groups that hold only zeros."""
PLAIN = 0.2
"""The least mean of a norm whose weights are factors."""
FEW, MANY = 0.02, 0.1
"""The parts of a norm that are below zero: of factors at most, of factors minus one at least."""
APART = 0.4
"""How far the difference of two norms that are off by one may be from one."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One thing that is wrong with one tensor or module; those that are alike are told together."""

    code: str
    severity: Severity
    confidence: Grade
    what: str
    """The rest of the sentence, after subject and verb: `not finite`."""
    name: str
    """The tensor or the module that it is about."""
    module: str
    noun: str = "MTP tensor"


def judge(
    block: Mapping[str, Scanned], trunk: Mapping[str, Scanned], siblings: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Return what is wrong with the values of an MTP block, the gravest first.

    Args:
        block: name -> header entry and summary of every tensor of the block.
        trunk: the same of the siblings' tensors; their summaries may be those of a part.
        siblings: module of the block -> module of the target model (`siblings.choose_siblings`).
    """
    known = by_module(trunk)
    pairs = [
        (module, known.get(siblings.get(name, ""))) for name, module in by_module(block).items()
    ]
    faults = [
        *(fault for module, sibling in pairs for fault in _not_finite(module, sibling)),
        *_alike(pairs),
        *(fault for module, _ in pairs for fault in _scales(module)),
    ]
    # What is wrong with a scale shows in the magnitude, too: it is told once.
    broken = {fault.module for fault in faults if fault.severity == "error"}
    rest = [pair for pair in pairs if pair[0].name not in broken]
    faults += [*_magnitudes(rest), *_norms(rest)]
    return tuple(sorted(_together(faults), key=gravity))


def _together(faults: Iterable[_Fault]) -> Iterator[Finding]:
    """Yield one finding for all faults that are alike."""
    groups: dict[tuple[object, ...], list[_Fault]] = {}
    for one in faults:
        key = one.code, one.severity, one.what, one.noun
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        first = group[0]
        they_are, _ = counted_subject(len(group), first.noun)
        listed = some([one.name for one in group])
        yield Finding(
            code=first.code,
            severity=first.severity,
            confidence=first.confidence,
            message=f"{they_are} {first.what}: {listed}.",
            modules=tuple(dict.fromkeys(one.module for one in group)),
        )


Pair = tuple[ScannedModule, ScannedModule | None]
"""A module of the block, and its sibling."""


# --- MTP501: not finite -----------------------------------------------------------


def _not_finite(module: ScannedModule, sibling: ScannedModule | None) -> Iterator[_Fault]:
    scales = {suffix for suffix, _ in module.scales()}
    for suffix, (_, summary) in module.parts.items():
        if summary.is_finite or suffix in scales:
            continue
        other = None if sibling is None else sibling.parts.get(suffix)
        if not summary.nans and other is not None and other.summary.infinities:
            continue  # a mask, which the target has too
        what = "not a number (NaN) in places" if summary.nans else "infinite in places"
        yield _Fault("MTP501", "error", "read", what, module.tensor_name(suffix), module.name)


# --- MTP502, MTP503: all zero, all the same ---------------------------------------------


def _alike(pairs: list[Pair]) -> Iterator[_Fault]:
    """Yield weights that are all the same, unless the target's are so too."""
    plain = any(module.is_norm and _is_plain(_summary(sibling)) for module, sibling in pairs)
    alive = {
        without_expert(module.name)
        for module, _ in pairs
        if module.weight is not None and not module.weight.summary.is_constant
    }
    for module, sibling in pairs:
        weight = module.weight
        if weight is None or not weight.summary.is_constant:
            continue
        if sibling and sibling.weight and sibling.weight.summary.is_constant:
            continue
        zero = weight.summary.is_zero
        if module.is_matrix or (module.is_norm and zero and plain):
            some_experts = without_expert(module.name) in alive
            yield _Fault(
                "MTP502" if zero else "MTP503",
                "warning" if some_experts else "error",
                "read",
                "zero everywhere" if zero else "one and the same number everywhere",
                module.name,
                module.name,
                "MTP module",
            )


# --- MTP504: scales -----------------------------------------------------------------------


def _scales(module: ScannedModule) -> Iterator[_Fault]:
    for suffix, scale in module.scales():
        found = _scale_fault(module, suffix, scale)
        if found is not None:
            what, severity = found
            name = module.tensor_name(suffix)
            yield _Fault("MTP504", severity, "read", what, name, module.name, "MTP scale")


def _scale_fault(module: ScannedModule, suffix: str, scale: Scanned) -> tuple[str, Severity] | None:
    """Return what is wrong with one scale, and how grave it is; None: nothing."""
    summary, dtype = scale.summary, scale.tensor.dtype
    if dtype in ("F8_E8M0", "U8") and suffix in FACTORS:
        return _exponent_fault(summary)
    if not summary.count or dtype not in _SCALE_DTYPES:
        return None
    signed = suffix in CACHE_SCALES or _has_integers(module)
    zero, subnormal = map(summary.share, (summary.zeros, summary.subnormals))
    tiny = subnormal if dtype in ("F32", "BF16") else 0
    faults: tuple[tuple[bool, str, Severity], ...] = (
        (not summary.is_finite, "not finite", "error"),
        (summary.negatives > 0 and not signed, "negative", "error"),
        (zero >= MOST, "zero", "error"),
        (zero > _zero_share(module), "zero in places", "warning"),
        (tiny >= MOST, "too small for a normal number", "error"),
        (tiny > 0, "too small for a normal number in places", "warning"),
    )
    return next(((what, severity) for wrong, what, severity in faults if wrong), None)


_SCALE_DTYPES = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2")


def _exponent_fault(summary: Summary) -> tuple[str, Severity] | None:
    """Return what is wrong with scales that are powers of two, or their exponents in bytes."""
    if summary.nans or (summary.dtype == "U8" and summary.maximum == 255):  # noqa: PLR2004
        return "not finite", "error"
    least = 0 if summary.dtype == "U8" else 2.0**-127
    return ("zero", "error") if summary.count and summary.maximum == least else None


def _has_integers(module: ScannedModule) -> bool:
    """Whether the weights are integers, whose scales a quantizer may give a sign."""
    weight = module.weight
    return weight is not None and weight.tensor.dtype in ("I8", "I32", "U32")


def _zero_share(module: ScannedModule) -> float:
    """Return the part of its scales that may be zero, since what they scale is."""
    weight = module.weight
    if weight is None:
        return 0.0
    if weight.tensor.dtype in ("F8_E4M3", "F8_E5M2", "I8"):
        return weight.summary.share(weight.summary.zeros)
    return SOME


# --- MTP505: magnitude --------------------------------------------------------------------


def _magnitudes(pairs: list[Pair]) -> Iterator[_Fault]:
    """Yield modules whose weights are of another order than those of the target model."""
    matrices = [pair for pair in pairs if pair[0].is_matrix]
    siblings = [s.magnitude for _, s in matrices if s is not None]
    known = [size for size in siblings if size is not None]
    for module, sibling in matrices:
        compared = _compared(module, sibling, known)
        fault = None if compared is None else _distance(*compared)
        if fault is not None and compared is not None:
            what = f"{fault[0]} than the target model's{_why(module, compared.theirs)}"
            yield _Fault(
                "MTP505", fault[1], "assumed", what, module.name, module.name, "MTP module"
            )


class _Compared(NamedTuple):
    """Two magnitudes, and how far apart they may be before it is a warning, and an error."""

    ours: float
    theirs: float
    doubtful: float
    useless: float


def _compared(
    module: ScannedModule, sibling: ScannedModule | None, known: list[float]
) -> _Compared | None:
    """Return what a module is compared with: its sibling, else whatever is known of others."""
    ours, theirs = module.magnitude, None if sibling is None else sibling.magnitude
    if sibling is not None and module.codes is None and module.format == sibling.format:
        ours, theirs = module.factor, sibling.factor
    if not ours:
        return None
    if theirs:
        return _Compared(ours, theirs, DOUBTFUL, USELESS)
    if sibling is not None or not known:
        return None
    return _Compared(ours, min(max(ours, min(known)), max(known)), USELESS, UNRELATED)


def _distance(
    size: float, theirs: float, doubtful: float, useless: float
) -> tuple[str, Severity] | None:
    """Return how two magnitudes differ, and how grave that is; None: they are of one order."""
    times = max(size, theirs) / min(size, theirs)
    if times < doubtful:
        return None
    most = useless if times >= useless else doubtful
    relation = "larger" if size > theirs else "smaller"
    return f"more than {most:,.0f} times {relation}", "error" if times >= useless else "warning"


def _why(module: ScannedModule, theirs: float) -> str:
    """Return what may have happened, for the end of the sentence."""
    codes, factor = module.codes, module.factor
    quantized = module.state is not State.UNQUANTIZED
    if not codes or not factor:
        return ""
    if quantized and factor != 1 and theirs / 10 < codes / factor < theirs * 10:
        return ", as if its scales were inverted"
    if _FP8_CODES[0] <= codes <= _FP8_CODES[1] and (factor == 1 or not quantized):
        return ", as FP8 codes are without their scales"
    return ""


_FP8_CODES = (8.0, 448.0)
"""The root mean square of FP8 codes whose scales use the range of the format."""


# --- MTP506: norms that are off by one ------------------------------------------------------


def _norms(pairs: list[Pair]) -> Iterator[_Fault]:
    """Yield norms whose weights stand for another formula than the target model's.

    A single one that seems to have lost its one may have been trained there: first layers are.
    """
    norms = [(_summary(ours), _summary(theirs), ours) for ours, theirs in pairs if ours.is_norm]
    known = [(ours, theirs, norm) for ours, theirs, norm in norms if ours and theirs]
    gained = [norm for ours, theirs, norm in known if _is_plus_one(ours, theirs)]
    lost = [norm for ours, theirs, norm in known if _is_plus_one(theirs, ours)]
    for found, least, what in ((gained, 1, _GAINED), (lost, min(2, len(known)), _LOST)):
        if len(found) >= least:
            severity: Severity = "error" if len(found) == len(known) else "warning"
            for norm in found:
                yield _Fault("MTP506", severity, "assumed", what, norm.name, norm.name, "MTP norm")


_GAINED = "about one greater than the target model's, which are stored minus one"
_LOST = "about one less than the target model's, as if one had been subtracted"


def _summary(module: ScannedModule | None) -> Summary | None:
    return None if module is None or module.weight is None else module.weight.summary


def _is_plus_one(ours: Summary, theirs: Summary) -> bool:
    """Whether the one are factors, the others factors minus one, and these two of one size."""
    if ours.mean is None or theirs.mean is None:
        return False
    return _is_plain(ours) and _is_centred(theirs) and abs(ours.mean - theirs.mean - 1) <= APART


def _is_plain(norm: Summary | None) -> bool:
    """Whether the weights of a norm are factors: above zero, but for very few."""
    return (
        norm is not None
        and norm.mean is not None
        and norm.mean > PLAIN
        and norm.share(norm.negatives) <= FEW
    )


def _is_centred(norm: Summary) -> bool:
    """Whether the weights of a norm are stored minus one: many of them are below zero."""
    mean = norm.mean
    return mean is not None and mean < MOST and (norm.is_zero or norm.share(norm.negatives) >= MANY)
