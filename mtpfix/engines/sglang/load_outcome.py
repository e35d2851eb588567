"""What a load of the draft comes to: clean, an exception, or silent garbage. Pure.

SGLang's loaders copy a tensor into the parameter of its name. Most drop a tensor without one and
say nothing, or warn; none of them asks in the end which parameters were filled. A plain column of
weights refuses to be cast down to FP8; all other layers, and experts, are cast in silence, and
their scales stay as they were allocated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mtpfix.checkpoint.inventory import Inventory, Stored
from mtpfix.checkpoint.precision import joined_name
from mtpfix.engines.policies import block_rows
from mtpfix.engines.policies.expert_parts import has_one
from mtpfix.engines.sglang.records import LoaderRow, Parameters
from mtpfix.model import Consequence, Decision, Limit, Module, ModuleReport, QuantView, State

CHECKED = "ColumnParallelLinear"
"""The class of linear layers whose weights are never cast down."""
MERGED = ("MergedColumnParallelLinear", "QKVParallelLinear")
"""Classes of layers that load several members, part by part."""
WHOLE = "ReplicatedLinear"
"""The class of fused layers whose loader joins the tensors of their members, scales included."""
_TWICE = "AssertionError: param.shape=torch.Size([…]) …"
_SCALARS = "RuntimeError: zero-dimensional tensor (at position 0) cannot be concatenated"
_STACKED = "{}: '….experts.w2_weight'"
_DOWNCAST = "ValueError: Downcasting not allowed: target.dtype=torch.float8_e4m3fn, …"
_RAGGED = (
    "ValueError: Weight output_partition_size = … is not divisible by weight quantization "
    "block_n = {}."
)
_EXPERTS_RAGGED = (
    "ValueError: The output_size of gate's and up's weight = … is not divisible by weight "
    "quantization block_n = {}."
)
_UNSIZED = Limit(
    reason="SGLang asks the group whose target is `Linear` for the size of blocks, also where "
    "another group gives the layer FP8 in blocks, and it states none",
    outcome="load_error",
    error="TypeError: 'NoneType' object is not subscriptable",
    phase="load",
    good_from=None,
    grade="run",
    remedy="give the group of FP8 blocks the target `Linear`, and the others targets by name",
)
_OVERFLOW = "IndexError: index … is out of bounds for dimension 0 with size 1"
_UNREAD = "AttributeError: '{}' object has no attribute 'weight'"
_ELSEWHERE = frozenset({"bias", "e_score_correction_bias"})
"""Suffixes that go elsewhere whatever the scheme, such as to the router."""
_REPLACED = "never read: the target model's own takes its place"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What goes wrong with a module.

    Attributes:
        consequence: what comes of it.
        detail: the exception, `Type: message`; None: there is none, or it is not known.
    """

    consequence: Consequence
    detail: str | None = None


def judge(
    decision: Decision, inventory: Inventory, loader: LoaderRow, known: Parameters | None
) -> ModuleReport:
    """Return one decision set against the disk.

    Args:
        decision: what is built.
        inventory: what is on disk.
        loader: what the class of the module's part does with tensors that do not fit.
        known: what the built module reads; None: it is unquantized, or that is not known.
    """
    module = decision.module
    found = inventory.stored(module)
    stored = _called(found, loader)
    disk, members = stored.precision, stored.members
    if decision.built == "error":
        return ModuleReport(decision, disk, members, False, "load_error", decision.error)
    if disk.state is State.MISSING:
        optional = module.optional or module.part == "trunk"
        absent: Consequence | None = None if optional else "silent_garbage"
        return ModuleReport(decision, disk, members, None, absent)
    quantized = decision.built == "quantized"
    blind = loader.blind and quantized and disk.state is State.QUANTIZED
    if decision.built == "unknown" or (quantized and known is None) or blind:
        return ModuleReport(decision, disk, members, None)
    plain = not quantized and _dequantized(module, found, loader)
    alike = quantized and disk.state is State.QUANTIZED
    ragged = _ragged(module, members, inventory, loader, known) if alike else None
    wrong = None if plain else ragged or _wrong(decision, stored, inventory, loader, known)
    if wrong is None:
        return ModuleReport(decision, disk, members, True)
    if module.optional and module.kind == "lm_head":
        return ModuleReport(decision, disk, members, True, detail=_REPLACED)
    return ModuleReport(decision, disk, members, False, wrong.consequence, wrong.detail)


def unsized(report: ModuleReport, view: QuantView) -> ModuleReport:
    """Return the report of a fused layer in FP8 blocks, whose loader asks how large they are.

    Of compressed-tensors it asks the group whose target is `Linear`, whichever group the layer is
    of. Source: `CompressedTensorsConfig.weight_block_size`, `weight_loader_v2`.

    Args:
        report: one decision set against the disk.
        view: the metadata.
    """
    decision = report.decision
    fused = decision.module.cls in MERGED and decision.module.part == "draft"
    asked = view.method == "compressed-tensors" and decision.scheme != "Fp8LinearMethod"
    if not (fused and asked and report.agrees and decision.expects == "fp8-block"):
        return report
    linear = [g for g in view.groups if any(t.text == "Linear" for t in g.targets)]
    if linear and (linear[-1].weights or {}).get("block_structure"):
        return report
    return replace(
        report, agrees=False, consequence="load_error", detail=_UNSIZED.error, limit=_UNSIZED
    )


def _ragged(
    module: Module,
    members: Sequence[str],
    inventory: Inventory,
    loader: LoaderRow,
    known: Parameters | None,
) -> Wrong | None:
    """Return what building a layer in FP8 blocks ends in whose parts do not end where one does."""
    if known is None or known.rows is None:
        return None
    merged = module.cls in MERGED and module.name.rpartition(".")[2] not in loader.unasked
    if module.kind != "experts" and not merged:
        return None
    parts = block_rows.followed(module, members, inventory, last=known.last)
    if not any(each % known.rows for each in parts):
        return None
    said = _EXPERTS_RAGGED if module.kind == "experts" else _RAGGED
    return Wrong("load_error", said.format(known.rows))


def _dequantized(module: Module, found: Stored, loader: LoaderRow) -> bool:
    """Return whether the loader turns what is stored into plain weights."""
    scales = (scale for end, scale in loader.dequantizes.items() if module.name.endswith(end))
    wanted = {"weight", next(scales, "weight")}
    quantized = found.precision.state is State.QUANTIZED
    return quantized and len(wanted) > 1 and all(own >= wanted for own in found.suffixes)


def _called(stored: Stored, loader: LoaderRow) -> Stored:
    """Return what is on disk, by the names that the loader gives to its tensors."""
    if not loader.renames:
        return stored
    told = stored.precision
    return replace(
        stored,
        precision=replace(told, format=loader.same_formats.get(told.format or "", told.format)),
        suffixes=frozenset(
            frozenset(loader.renames.get(each, each) for each in own) for own in stored.suffixes
        ),
    )


def _wrong(
    decision: Decision,
    stored: Stored,
    inventory: Inventory,
    loader: LoaderRow,
    known: Parameters | None,
) -> Wrong | None:
    """Return what goes wrong when the tensors are loaded; None: nothing does."""
    module, disk = decision.module, stored.precision
    raised = loader.experts if module.kind == "experts" else loader.unexpected
    if module.cls in MERGED and loader.merged is not None:
        raised = loader.merged
    refused = _refused(module, stored, inventory, loader, known)
    if refused is not None:
        return refused
    strange, missing = _astray(stored, known, _shared(module, stored, inventory, known))
    if strange:
        return _stray(module, stored, loader, raised)
    lost = missing or _dropped(module, loader, known) or not _complete(module, stored)
    if lost or disk.state is State.MIXED:
        return Wrong("silent_garbage")
    return _unreadable(decision, stored, inventory, loader, known)


def _refused(
    module: Module,
    stored: Stored,
    inventory: Inventory,
    loader: LoaderRow,
    known: Parameters | None,
) -> Wrong | None:
    """Return what goes wrong with tensors that do not fit their parameters; None: they do."""
    if _shapes_differ(stored, known):
        return Wrong("silent_garbage" if loader.threads else "load_error")
    if known is None:
        return None
    last = module.name.rpartition(".")[2]
    if last in loader.reads and "weight_packed" in known.needed:
        return Wrong("load_error", _UNREAD.format(module.cls))
    cast = known.float8 and stored.precision.state is State.UNQUANTIZED
    if cast and module.cls == CHECKED and not loader.threads:
        return Wrong("load_error", _DOWNCAST)
    if _overflows(module, stored, inventory, known):
        return Wrong("load_error", _OVERFLOW)
    return Wrong("load_error", known.error) if known.error is not None else None


def _stray(module: Module, stored: Stored, loader: LoaderRow, raised: str) -> Wrong:
    """Return what comes of a tensor that has no parameter."""
    if loader.stacked is None or set(module.stacked).isdisjoint(stored.members):
        return Wrong("silent_garbage" if raised == "skipped" else "load_error")
    bare = all(own == {""} for own in stored.suffixes)
    return Wrong("load_error", _STACKED.format(loader.stacked) if bare else None)


def _unreadable(
    decision: Decision,
    stored: Stored,
    inventory: Inventory,
    loader: LoaderRow,
    known: Parameters | None,
) -> Wrong | None:
    """Return what goes wrong with tensors that all have a parameter of their name."""
    module, disk = decision.module, stored.precision
    if known is not None and disk.format not in (known.stored or decision.expects, None):
        return Wrong("load_error")
    if module.cls != WHOLE or len(module.members) == 1:
        return None
    if disk.state in loader.unjoined:
        return Wrong("load_error")
    return None if known is None else _unjoinable(stored, inventory, loader, known)


def _unjoinable(
    stored: Stored, inventory: Inventory, loader: LoaderRow, known: Parameters
) -> Wrong | None:
    """Return what joining tensors ends in of which a fused layer has one; None: it does not fail.

    Where no header tells whether they are scalars, it fails if it fails for both.
    """
    parts = [inventory.tensors(member) for member in stored.members]
    if any(all(suffix in tensors for tensors in parts) for suffix in known.fixed):
        return Wrong("load_error", _TWICE)
    for suffix in known.once:
        if not all(suffix in tensors for tensors in parts):
            continue
        found = [tensors[suffix] for tensors in parts]
        shapes = [each.shape for each in found if each is not None]
        read = len(shapes) == len(found)
        if loader.first_scalar and not any(shapes):
            continue
        return Wrong("load_error", (_TWICE if all(shapes) else _SCALARS) if read else None)
    return None


def _dropped(module: Module, loader: LoaderRow, known: Parameters | None) -> bool:
    """Return whether a fused layer needs what its loader does not join."""
    whole = module.cls == WHOLE and len(module.members) > 1
    return bool(
        whole and loader.joins is not None and known and set(known.needed) - set(loader.joins)
    )


def _overflows(module: Module, stored: Stored, inventory: Inventory, known: Parameters) -> bool:
    """Return whether a later part of a fused layer has a value that there is no room for."""
    later = stored.members[1:] if module.cls in MERGED else ()
    names = (joined_name(each, suffix) for each in later for suffix in known.undivided)
    return not inventory.names.isdisjoint(names)


def _shared(
    module: Module, stored: Stored, inventory: Inventory, known: Parameters | None
) -> set[str]:
    """Return what experts need for gate and up together, and have."""
    if known is None or module.kind != "experts":
        return set()
    return {each for each in known.either if has_one(inventory, stored.members, each)}


def _astray(stored: Stored, known: Parameters | None, shared: Collection[str]) -> tuple[bool, bool]:
    """Return whether a tensor has no parameter, and whether a member lacks one that is needed."""
    wanted = {"weight"} if known is None else {*known.needed}
    allowed = wanted | _ELSEWHERE | (set() if known is None else {*known.more})
    members = [{_suffix(each) for each in own} for own in stored.suffixes]
    strange = any(own - allowed for own in members)
    missing = any(wanted.difference(own, shared) for own in members)
    return strange, missing


def _suffix(stored: str) -> str:
    """Return the end of a parameter's name; stacked experts have theirs without `weight`."""
    names = {"": "weight", "_scale": "weight_scale", "_scale_inv": "weight_scale_inv"}
    return names.get(stored, stored)


def _shapes_differ(stored: Stored, known: Parameters | None) -> bool:
    """Return whether the weight on disk has another shape than the built one: one is packed.

    Names alone, where no header of the file is read, do not tell a packed one.
    """
    if stored.precision.state is State.QUANTIZED and stored.precision.format is None:
        return False
    packed = known is not None and known.packed
    disk = stored.precision
    halved = disk.state is State.QUANTIZED and _is_packed(disk.format)
    has_weight = any("weight" in own or "" in own for own in stored.suffixes)
    return has_weight and packed != halved


def _is_packed(stored: str | None) -> bool:
    """Return whether weights of a format lie two in a byte under the name of plain ones."""
    return stored in ("modelopt-nvfp4", "quark-mxfp4", "quark-int4")


def _complete(module: Module, stored: Stored) -> bool:
    """Return whether every member of a fused module, and every expert, has weights on disk."""
    if not set(module.stacked).isdisjoint(stored.members):
        return True
    expected = sum(module.experts if "*" in member else 1 for member in module.members)
    return len(stored.members) >= expected
