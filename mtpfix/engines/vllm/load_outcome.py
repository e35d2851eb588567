"""What a load of the draft comes to: clean, an exception, or silent garbage. Pure.

vLLM's loaders copy a tensor into the parameter of its name. A tensor without a
parameter ends the load with an exception; a parameter without a tensor stays
uninitialised and nobody is told; a tensor of another dtype is cast. Which of
these happens follows from the parameters that the built modules have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mtpfix.checkpoint.inventory import Inventory, Stored
from mtpfix.checkpoint.precision import joined_name
from mtpfix.engines.policies.expert_parts import has_one
from mtpfix.engines.vllm import scale_shapes
from mtpfix.engines.vllm.destinations import NOTHING, Placement
from mtpfix.engines.vllm.loader import CACHE_SCALES, Loader
from mtpfix.engines.vllm.methods.shared.parameters import Params, params
from mtpfix.engines.vllm.sizes import CUTS, SHORT, Misfit, size_misfit
from mtpfix.model import Consequence, Decision, Kind, Module, ModuleReport, Precision, State

_ELSEWHERE = frozenset({"bias", "e_score_correction_bias"})
"""Suffixes that go elsewhere whatever the scheme, such as to the router."""

_REPLACED = "cast without its scales, then replaced by the target model's own"
"""What becomes of a head of its own that is built in another way than it is stored."""

_SHAPE = (
    "RuntimeError: The size of tensor a (…) must match the size of tensor b (…) "
    "at non-singleton dimension 1"
)


def judge(
    decision: Decision, inventory: Inventory, loader: Loader, placement: Placement = NOTHING
) -> ModuleReport:
    """Sets one decision against the disk.

    Args:
        decision: what is built.
        inventory: what is on disk.
        loader: how the model class of the module's part loads.
        placement: where the tensors of the MTP block go.
    """
    module = decision.module
    respelled = placement.respelled.get(module.param) if module.param else None
    stored = inventory.stored(module, respelled.members if respelled else ())
    disk, members = stored.precision, stored.members
    if decision.built == "error":
        return ModuleReport(decision, disk, members, False, "load_error", decision.error)
    if decision.built == "unknown":
        return ModuleReport(decision, disk, members, None)
    if disk.state is State.MISSING:
        return ModuleReport(decision, disk, members, None, *_absent(module, loader))
    whole = respelled.whole if respelled else not _incomplete(module, stored)
    if module.lenient or module.tied:
        wrong = _unscaled_misfit(decision, whole=whole)
    else:
        wrong = _misfit(decision, stored, inventory, loader, whole=whole)
    if wrong is not None and module.optional and wrong.consequence == "silent_garbage":
        return ModuleReport(decision, disk, members, True, detail=_REPLACED, replaced=True)
    return ModuleReport(decision, disk, members, wrong is None, *(wrong or ()))


def _absent(module: Module, loader: Loader) -> tuple[Consequence | None, str | None]:
    """An absent module stays uninitialised, unless the trunk's own takes its place."""
    if module.optional or module.part == "trunk":
        return None, None
    return ("load_error", loader.unfilled) if loader.strict else ("silent_garbage", None)


@dataclass(frozen=True, slots=True)
class _Found:
    """One tensor on disk of a member of the module."""

    member: str
    suffix: str
    """As the loader has it."""
    name: str


def _tensors(
    inventory: Inventory, members: Iterable[str], kind: Kind, loader: Loader
) -> Iterator[_Found]:
    for member in members:
        for suffix, name in inventory.tensor_names(member):
            yield _Found(member, loader.suffix(suffix, kind), name)


def _misfit(
    decision: Decision, stored: Stored, inventory: Inventory, loader: Loader, *, whole: bool
) -> Misfit | None:
    """What goes wrong when the tensors are loaded into the built module; None if nothing does."""
    known, disk, module = params(loader.method, decision.expects), stored.precision, decision.module
    same = (disk.state is State.UNQUANTIZED) == loads_plain(decision)
    if known is None:
        fits = same and disk.state is not State.MIXED
        return None if fits else Misfit("load_error", None, None)
    kind = module.kind
    each = [{loader.suffix(suffix, kind) for suffix in own} for own in stored.suffixes]
    suffixes = set().union(*each)
    found = _tensors(inventory, stored.members, kind, loader)
    agree = _formats_agree(decision, known, loader.formats(disk))
    partly = _fewer_scales(decision, known, loader.formats(disk))
    shaped = known.grain is None or partly or (agree and known.dimensions is None)
    misshapen = None if shaped else _misshapen(module, known, stored, inventory, agree=agree)
    strange = _strange(
        decision, known, disk, suffixes=suffixes, found=found, misshapen=misshapen, loader=loader
    )
    if strange is not None:
        return strange
    # A bias of experts may have a module on disk to itself; of others each needs every parameter.
    counted = [own for own in each if kind != "experts" or own - {"bias"}]
    needed = known.needed | known.always if loader.strict else known.needed
    missing = needed - suffixes.intersection(*counted)
    if kind == "experts":
        missing -= {each for each in known.either if has_one(inventory, stored.members, each)}
    if module.part == "draft" and kind == "linear":  # a fused layer has a bias as a whole
        whole = whole and ("bias" not in suffixes or all("bias" in own for own in each))
    alike = same and disk.state is not State.MIXED
    met = suffixes & known.needed > {"weight"} or not missing  # by a parameter of another shape
    if alike and not agree and not partly and (met or _other_groups(decision, known, disk)):
        cast = _of_one_shape(known.stored or decision.expects, disk.format)
        name = next((tensor.name for tensor in found), None)
        return Misfit("silent_garbage" if cast else "load_error", None, None if cast else name)
    if alike and whole and not missing and not partly:
        return _sizes_differ(decision, stored, inventory, loader)
    if loader.strict and missing:
        return Misfit("load_error", loader.unfilled, None)
    return Misfit("silent_garbage", None, None)


_EIGHT_BITS = frozenset({"fp8", "int8"})
_GROUPS = {"nvfp4-pack": 16, "mxfp4-pack": 32}
"""Formats of `weight_packed` whose scales each cover so many weights of a row."""
_EXPERT_GROUPS = {**_GROUPS, "modelopt-nvfp4": 16, "quark-mxfp4": 32}
"""The same, with those of a packed `weight`."""


def _of_one_shape(built: str | None, disk: str | None) -> bool:
    """Return whether all tensors of two formats have one shape: codes are cast to other codes."""
    (one, _, grain), (other, _, its_grain) = ((f or "").partition("-") for f in (built, disk))
    return {one, other} == _EIGHT_BITS and grain == its_grain


def _other_groups(decision: Decision, known: Params, disk: Precision) -> bool:
    """Return whether scales lie under the right name, and in groups of another size."""
    built = _GROUPS.get(known.stored or decision.expects or "")
    return built is not None and _GROUPS.get(disk.format or "", built) != built


def _fewer_scales(decision: Decision, known: Params, formats: Iterable[str]) -> bool:
    """Return whether packed experts fit and their scales fill a part of the parameter.

    Their loader takes what is smaller without a word, as if the rest were padding.
    """
    built = _EXPERT_GROUPS.get(known.stored or decision.expects or "")
    if built is None or decision.module.kind != "experts":
        return False
    return any(_EXPERT_GROUPS.get(each, built) > built for each in formats)


def _sizes_differ(
    decision: Decision, stored: Stored, inventory: Inventory, loader: Loader
) -> Misfit | None:
    """What goes wrong since the metadata states other bits, groups or blocks than the disk has."""
    if loads_plain(decision) or (decision.packing is None and decision.block is None):
        return None
    wrong = size_misfit(decision, inventory.layers(stored.members))
    unworded = loader.style == "unknown" or decision.module.part == "trunk"
    return wrong._replace(detail=None) if wrong is not None and unworded else wrong


def _unscaled_misfit(decision: Decision, *, whole: bool) -> Misfit | None:
    """The same of a module that takes no scales: one that is dequantized, or tied to another."""
    module = decision.module
    fits = loads_plain(decision) if module.tied else whole or module.part == "trunk"
    return None if fits else Misfit("silent_garbage", None, None)


def _strange(
    decision: Decision,
    known: Params,
    disk: Precision,
    *,
    suffixes: set[str],
    found: Iterator[_Found],
    misshapen: tuple[str, str | None] | None,
    loader: Loader,
) -> Misfit | None:
    """What goes wrong with a tensor that has no parameter, or one of another shape.

    Tensors are loaded in the order of their names, so the first of them counts.
    """
    module = decision.module
    elsewhere = _ELSEWHERE | (CACHE_SCALES if loader.cache_scales != "named" else frozenset())
    unknown = suffixes - known.needed - (known.more - loader.gone) - elsewhere
    unknown -= _dropped(module, unknown, loader) | loader.unseen
    lost = suffixes - set(loader.takes) - elsewhere if loader.takes else set()
    # The part of a larger parameter that fits is filled: then the scales are the first to fail.
    padded = module.kind == "experts" and not known.packed and misshapen is not None
    cut = known.packed and module.cls == CUTS  # to the size of the parameter: what fits goes in
    equal = cut or padded or _fewer_scales(decision, known, loader.formats(disk))
    unequal = not equal and _unequal(known.packed, disk, loader)
    if not (unknown | lost or misshapen or unequal):
        return None
    misfits = [] if misshapen is None else [misshapen]
    if module.part == "trunk":  # of targets it is recorded what names do, not what shapes do
        misfits = [(name, None) for name, _ in misfits]
    tensors = list(found)
    if unknown | lost:
        first = min((t for t in tensors if t.suffix in unknown | lost), key=lambda t: t.name)
        error = _lost(module, first) if first.suffix in lost else None
        misfits.append((first.name, error or _refusal(module, first, loader)))
    if unequal:
        weights = (tensor.name for tensor in tensors if tensor.suffix == "weight")
        error = None if _narrowed(decision, known) else _mismatch(module, loader)
        misfits.append((min(weights, default=""), error))
    name, error = min(misfits, key=lambda each: each[0])
    return Misfit("load_error", error if loader.style != "unknown" else None, name or None)


def _misshapen(
    module: Module, known: Params, stored: Stored, inventory: Inventory, *, agree: bool
) -> tuple[str, str | None] | None:
    """The first scales, by name, whose parameter has another shape, and the exception then."""
    for member in sorted(stored.members):
        tensors = inventory.tensors(member)
        scale = tensors.get(scale_shapes.SCALE)
        if scale is not None and not scale_shapes.fits(known, tensors, agree=agree):
            name = joined_name(member, scale_shapes.SCALE)
            return name, scale_shapes.error(module, known, scale.shape)
    return None


def _unequal(packed: bool, disk: Precision, loader: Loader) -> bool:
    """Whether a weight on disk has another shape than the built one, since one is packed.

    Of quantized weights whose headers were not read it is not known.
    """
    if disk.state is State.QUANTIZED and disk.format is None:
        return False
    known = (params(loader.method, each) for each in loader.formats(disk))
    stored = any(each is not None and each.packed for each in known)
    return packed != stored or (packed and disk.state is State.MIXED)


def _mismatch(module: Module, loader: Loader) -> str | None:
    """What is raised for a weight of another shape; linear layers print nothing of use."""
    if loader.style == "unknown" or module.part == "trunk":
        return None
    if module.cls == CUTS:
        return SHORT
    return "AssertionError: " if module.kind == "linear" else _SHAPE


def _narrowed(decision: Decision, known: Params) -> bool:
    """Whether packed experts lie in larger weights, and die of their scales in a word of torch."""
    scheme = known.stored or decision.expects or ""
    return decision.module.kind == "experts" and not known.packed and scheme.endswith("-tensor")


def loads_plain(decision: Decision) -> bool:
    """Whether plain weights are loaded: as they stay, or to be quantized by the engine itself."""
    return decision.built == "unquantized" or decision.expects == "unquantized"


def _incomplete(module: Module, stored: Stored) -> bool:
    """Whether a member of a fused module, or an expert, has no weights on disk."""
    if not set(module.stacked).isdisjoint(stored.members):
        return False
    expected = sum(module.experts if "*" in member else 1 for member in module.members)
    return len(stored.members) < expected


def _formats_agree(decision: Decision, known: Params, disk: set[str]) -> bool:
    """Whether the format on disk is the one that the built module reads, as far as is known."""
    if loads_plain(decision) or not disk or decision.expects is None:
        return True
    return disk == {known.stored or decision.expects}


def _dropped(module: Module, unknown: set[str], loader: Loader) -> set[str]:
    """The suffixes without a parameter that the loader passes over in silence."""
    if loader.drops_experts if module.kind == "experts" else loader.drops:
        return unknown
    return set(loader.skips) if _plain(module) else set()


def _plain(module: Module) -> bool:
    """Whether a module is loaded from one member under its own name."""
    return module.kind != "experts" and len(module.members) == 1


def _lost(module: Module, tensor: _Found) -> str:
    """What a loader with a fixed table raises for a tensor that is not in it."""
    shard, fused = tensor.member.rpartition(".")[2], module.name.rpartition(".")[2]
    name = tensor.name if _plain(module) else tensor.name.replace(shard, fused)
    return f"KeyError: {name!r}"


def _refusal(module: Module, tensor: _Found, loader: Loader) -> str | None:
    """What the loader raises for a tensor that the built module has no parameter for."""
    if loader.style == "unknown":
        return None
    if loader.unexpected:
        return loader.unexpected.replace("{tensor}", tensor.name)
    shard = _shard_of(module, tensor.member)
    if loader.style == "auto" and module.kind == "experts":
        return f"AttributeError: Layer {module.name} has no parameter '{shard}{tensor.suffix}'"
    if loader.style == "auto" and not _plain(module):
        return f"AttributeError: {module.cls!r} object has no attribute 'data'"
    path = _path(module, tensor.suffix, loader, shard)
    fused = module.param.rpartition(".")[2]
    if fused in loader.unfused:  # what leads nowhere keeps the name of its part
        path = path.replace(fused, tensor.member.rpartition(".")[2])
    if loader.style == "auto":
        return f"ValueError: There is no module or parameter named {path!r} in {loader.cls}"
    return f"KeyError: {path!r}"


def _shard_of(module: Module, member: str) -> str:
    """`w13_` or `w2_` for a member of routed experts; empty for other modules."""
    if module.kind != "experts":
        return ""
    return "w2_" if member.endswith((".w2", ".down_proj")) else "w13_"


def _path(module: Module, suffix: str, loader: Loader, shard: str = "") -> str:
    """The path of a parameter as the loader prints it; those of targets are mapped in many ways."""
    if loader.style == "dict" and module.part == "trunk":
        return f"…{shard}{suffix}"
    name = f"{module.param}{loader.experts if module.kind == 'experts' else ''}.{shard}{suffix}"
    return name.removeprefix(loader.root)
