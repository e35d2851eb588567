"""Loads the draft for real and proves, tensor by tensor, what arrived.

Every parameter is filled with a pattern first: what still holds it afterwards was never
written. While vLLM loads, the copies into parameters are noted; afterwards each tensor that
was read is looked for where it was copied to.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .build import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PATTERNS = {1: 0x7F, 2: 0x7FA5, 4: 0x7FA5A5A5, 8: 0x7FA5A5A5A5A5A5A5}
"""A NaN in every floating-point format, by size of an element."""

OPTIONAL = (
    *(f".{name}_{end}" for name in ("q", "k", "v", "prob") for end in ("scale", "zero_point")),
    "g_idx",
    "_g_idx_sort_indices",
)
"""Ends of the names of parameters that may stay as they are: those of the KV cache have a good
default, and the order of activations is read only where a checkpoint brings one, or GPTQ metadata
say that there is one."""
SHARED = ("lm_head.weight", "model.embed_tokens.weight")
"""Parameters that the proposer replaces by the target's."""
HEADS = (".lm_head.", ".shared_head.head.")
"""Parts of the names of heads: unless the draft says that it has its own, the proposer puts the
target's in their place, so that it does not matter what was loaded into them."""
PADDED = ("attn_sink",)
"""Ends of the names of parameters that are larger than what is stored."""
BIASED = ("AutoGPTQMoEMethod", "GPTQMarlinMoEMethod")
"""Methods whose experts have biases of zero where a checkpoint has none."""
REMARKS = ("weight_shape",)
"""Ends of the names of tensors that vLLM reads and does not use, so that one may be missing."""
LOSSLESS = (
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64},
    {torch.int8, torch.uint8},  # of packed values: the bits stay
)
"""Dtypes that need no scale: a cast between them keeps the meaning of a weight."""
EXPONENTS = getattr(torch, "float8_e8m0fnu", None)
"""Powers of two: each is a float of eight bits of exponent, too."""
WIDE = (torch.float64, torch.float32, torch.bfloat16)
"""Dtypes that hold them all."""


class Copy(NamedTuple):
    """One copy from a tensor on disk into a parameter."""

    into: torch.Tensor
    source: torch.Tensor


def load_draft(model: nn.Module, model_config: Any, config: Any) -> dict[str, Any]:
    """Loads the draft and says what came of it, as plain values.

    Args:
        model: the draft, in memory.
        model_config: the configuration of the draft.
        config: the configuration of the engine.
    """
    trace = Trace(model)
    failure = None
    try:
        run_loader(trace, model, model_config, config)
    except Exception as error:  # noqa: BLE001 - this is what the caller asks about
        failure = describe(error)
    result = trace.result()
    wrong = (*result["uninitialised"], *result["partial"], *result["lossy"])
    garbage = bool(result["cut"]) or any(not replaced(name, model) for name in wrong)
    verdict = "load_error" if failure else "silent_garbage" if garbage else "clean"
    after = None if failure else finish(model, model_config, config)
    return {"verdict": verdict, "failure": failure, "postprocess": after, **result}


def replaced(name: str, model: nn.Module) -> bool:
    """Whether the proposer puts the target's module in the place of the one that `name` is of."""
    return not getattr(model, "has_own_lm_head", False) and any(p in f".{name}" for p in HEADS)


def run_loader(trace: Trace, model: nn.Module, model_config: Any, config: Any) -> None:
    """Has vLLM's own loader fill the draft, with everything it reads traced."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader import get_model_loader, utils
    from vllm.utils.torch_utils import set_default_torch_dtype

    choose = getattr(utils, "get_draft_load_config", lambda config: config.load_config)
    loader = get_model_loader(choose(config))
    read = loader.get_all_weights
    loader.get_all_weights = lambda *args: trace.follow(read(*args))
    with set_current_vllm_config(config), set_default_torch_dtype(model_config.dtype), trace:
        loader.load_weights(model, model_config)


def finish(model: nn.Module, model_config: Any, config: Any) -> dict[str, str] | None:
    """Prepares the weights for their kernels; the failure, which may be the CPU's alone."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import process_weights_after_loading
    from vllm.utils.torch_utils import set_default_torch_dtype

    try:
        with set_current_vllm_config(config), set_default_torch_dtype(model_config.dtype):
            process_weights_after_loading(model, model_config, torch.device("cpu"))
    except Exception as error:  # noqa: BLE001 - no kernel for a CPU is no fault of the checkpoint
        return describe(error)
    return None


class Trace(TorchDispatchMode):  # type: ignore[misc]
    """Notes which tensors are read and which parameters they are copied into.

    Args:
        model: its parameters are overwritten with the pattern.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._before: dict[str, torch.Tensor] = {}
        self._owner: dict[int, str] = {}
        self._parameters = dict(model.named_parameters())
        self._unread = tuple(unread(model))
        self._read: dict[str, torch.Tensor] = {}
        self._name: dict[int, str] = {}
        self._used: set[str] = set()
        self._copies: dict[str, list[Copy]] = {}
        self._writes: dict[str, list[torch.Tensor]] = {}
        self._scalar: str | None = None
        for name, parameter in self._parameters.items():
            self._before[name] = parameter.detach().clone()
            self._owner[address(parameter)] = name
            bits(parameter.data).fill_(PATTERNS[parameter.element_size()])

    def follow(self, tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[Any]:
        """Passes the tensors of the checkpoint on, and remembers them."""
        for name, tensor in tensors:
            self._read[name] = tensor
            self._name[address(tensor)] = name
            yield name, tensor

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        names = [self._name[address(leaf)] for leaf in leaves if address(leaf) in self._name]
        self._used.update(names)
        if func is torch.ops.aten.copy_.default:
            self._note(args[0], args[1])
        elif func is torch.ops.aten._local_scalar_dense.default:
            self._scalar = names[0] if names else None
        elif func is torch.ops.aten.fill_.Scalar:
            self._note(args[0], self._read.get(self._scalar or ""))
        return func(*args, **(kwargs or {}))

    def _note(self, into: torch.Tensor, source: torch.Tensor | None) -> None:
        """Remembers a write into a parameter, and the tensor on disk that it came from."""
        owner = self._owner.get(address(into))
        if owner is None:
            return
        into = into.detach()  # a view made under no_grad may not be read once its base has changed
        self._writes.setdefault(owner, []).append(into)
        name = None if source is None else self._name.get(address(source))
        if name is not None and source is not None:
            self._copies.setdefault(name, []).append(Copy(into, source))

    def result(self) -> dict[str, Any]:
        """What arrived and what did not."""
        untouched, partial = self._untouched()
        used = {name for name in self._used if not name.endswith(REMARKS)}
        equal = {name for name in used if self._arrived(name)}
        found = {
            "uninitialised": untouched,
            "partial": partial,
            "lossy": sorted(set(self._lossy())),
            "unused": sorted(set(self._read) - self._used),
            "equal": len(equal),
            "unequal": sorted(used - equal),
            "cut": sorted(name for name in used - equal if self._is_cut(name)),
            "digests": {name: digest(p.data) for name, p in self._parameters.items()},
        }
        self._restore()
        return found

    def _untouched(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Parameters that were never written, and those written in part, with their shapes."""
        never, partial = {}, {}
        for name, parameter in self._parameters.items():
            left = self._left(name)
            if parameter.numel() == 0 or name in self._unread or name.endswith(REMARKS):
                continue
            if bool(left.all()) and name not in SHARED and not name.endswith(OPTIONAL):
                never[name] = list(parameter.shape)
            elif bool(left.any()) and not bool(left.all()) and not name.endswith(PADDED):
                partial[name] = list(parameter.shape)
        return never, partial

    def _left(self, name: str) -> torch.Tensor:
        """Which elements of a parameter were never written.

        A byte may hold the pattern by chance, so writes that were seen count too.
        """
        parameter = self._parameters[name].data
        left = bits(parameter) == PATTERNS[parameter.element_size()]
        if bool(left.any()):
            for into in self._writes.get(name, ()):
                cover(left, into, parameter, value=False)
        return left

    def _arrived(self, name: str) -> bool:
        """Whether every element of a tensor lies unchanged where it was copied to."""
        seen = self._seen(name)
        return seen is not None and bool(seen.all())

    def _is_cut(self, name: str) -> bool:
        """Whether a part of a tensor was copied, and the rest left behind."""
        seen = self._seen(name)
        return seen is not None and bool(seen.any()) and not bool(seen.all())

    def _seen(self, name: str) -> torch.Tensor | None:
        """Which elements of a tensor lie where they were copied to; None: some do not."""
        tensor = self._read[name]
        seen = torch.zeros(tensor.numel(), dtype=torch.bool)
        for into, source in self._copies.get(name, ()):
            parameter = self._parameters[self._owner[address(into)]]
            if address(parameter) != address(into) or not same(into, source):
                return None
            cover(seen, source, tensor, value=True)
        return seen

    def _lossy(self) -> Iterator[str]:
        """Casts into or out of a quantized dtype: the scale is lost on the way.

        Zero points of routed experts do not count: CUDA's kernels read none of a symmetric GPTQ,
        and older releases keep them as floats.
        """
        for copies in self._copies.values():
            for into, source in copies:
                kinds = into.dtype, source.dtype
                if self._owner[address(into)].endswith(("w13_qzeros", "w2_qzeros")):
                    continue
                if source.dtype is EXPONENTS and into.dtype in WIDE:
                    continue
                if into.dtype != source.dtype and not any(set(kinds) <= s for s in LOSSLESS):
                    names = (str(kind).removeprefix("torch.") for kind in reversed(kinds))
                    yield f"{self._owner[address(into)]}: {'->'.join(names)}"

    def _restore(self) -> None:
        """Gives what was not written the value it had before."""
        for name, parameter in self._parameters.items():
            left = self._left(name)
            bits(parameter.data)[left] = bits(self._before[name])[left]


def unread(model: nn.Module) -> Iterator[str]:
    """Parameters that a method has a place for, and needs nothing in.

    Scales of activations, where it quantizes none; and biases of experts, which no model of
    ours has.
    """
    for name, layer in model.named_modules():
        method = getattr(layer, "quant_method", None)
        spec = getattr(method, "spec", None)
        alone = spec is not None and getattr(spec, "activation", spec) is None
        if alone or getattr(method, "use_a16", False) or "W4A16" in type(method).__name__:
            yield from (f"{name}.{part}input_scale" for part in ("", "w13_", "w2_"))
        if type(method).__name__ in BIASED:
            yield from (f"{name}.{part}_bias" for part in ("w13", "w2"))
        yield from (f"{name}.{point}" for point in spare_points(layer))


def spare_points(layer: nn.Module) -> Iterator[str]:
    """Zero points of symmetric integers: Quark's classes make them, and never look at them."""
    method = getattr(layer, "scheme", None) or getattr(layer, "quant_method", None)
    kind = type(method).__name__
    symmetric = getattr(method, "is_symmetric", kind.startswith("QuarkW8A8Int8"))
    if kind.startswith("Quark") and symmetric:
        yield from (f"{part}weight_zero_point" for part in ("", "w13_", "w2_"))
    if kind == "QuarkW8A8Int8MoEMethod" or getattr(method, "input_symmetric", False):
        yield from (f"{part}input_zero_point" for part in ("", "w13_", "w2_"))


def address(tensor: torch.Tensor) -> int:
    """What tells the storage of a tensor from others."""
    return int(tensor.untyped_storage().data_ptr())


def same(into: torch.Tensor, source: torch.Tensor) -> bool:
    """Whether a parameter holds what was copied into it, bit by bit.

    A wider dtype counts when it gives the same bits back; a scalar may fill many places.
    """
    back = into.to(source.dtype)
    if back.numel() != source.numel():
        return source.numel() == 1 and bool((bits(back) == bits(source)).all())
    return bool(torch.equal(bits(back.reshape(source.shape)), bits(source)))


def cover(mask: torch.Tensor, part: torch.Tensor, whole: torch.Tensor, *, value: bool) -> None:
    """Sets the elements of `mask`, which is as large as `whole`, that `part` is a view of."""
    if part.element_size() == whole.element_size():
        offset = part.storage_offset() - whole.storage_offset()
        mask.as_strided(part.shape, part.stride(), offset).fill_(value)


def digest(tensor: torch.Tensor) -> str:
    """SHA-256 of what a tensor holds."""
    return sha256(bits(tensor).flatten().contiguous().view(torch.uint8).numpy()).hexdigest()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory, as integers: NaNs compare, and nothing is rounded."""
    return tensor.view(INTEGERS[tensor.element_size()])
