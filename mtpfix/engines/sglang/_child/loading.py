"""Loads a part for real and says what arrived.

Every parameter is filled with a pattern first: what still holds it afterwards was never written.
Loaders that work in threads are made to work in this one, in order, where their copies can be
seen; an exception stays where it would have stayed in a thread.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from . import scheduler
from .build import describe

if TYPE_CHECKING:
    from torch import nn

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PATTERNS = {1: 0x7F, 2: 0x7FA5, 4: 0x7FA5A5A5, 8: 0x7FA5A5A5A5A5A5A5}
"""A NaN in every floating-point format, by size of an element."""
OPTIONAL = (
    "k_scale",
    "v_scale",
    "q_scale",
    "input_scale",
    "input_global_scale",
    "_zero_point",
    "g_idx",
    "g_idx_sort_indices",
    "_proj.bias",
)
"""Ends of the names of parameters that may stay as they are: they have a default (a bias is zero),
are read only where a checkpoint brings them, or are dropped after the load."""
UNREAD = ("_zero_point", "g_idx", "g_idx_sort_indices")
"""Those of which a value that was never set is not read."""
EXPERT_SCALES = ("w13_input_scale", "w2_input_scale")
"""Scales of activations that experts in FP8 read for all of them, so that the ones which they hold
before a load are a value like any other that no checkpoint has."""
REMARKS = ("weight_shape",)
"""Ends of the names of parameters that are filled and never read, so that a part of one may be
missing, too."""
SHARED = ("model.embed_tokens.weight", "lm_head.weight")
"""Parameters of a draft that its worker replaces by the target's."""
WARNINGS = 40
"""How many warnings are kept."""


def load_part(model: nn.Module, planned: scheduler.Plan) -> dict[str, Any]:
    """Load a model and return what came of it, as plain values.

    Args:
        model: target or draft, in memory.
        planned: what it was built from.
    """
    trace, log = Trace(model, shared=SHARED if planned.draft else ()), Log()
    failure = postprocess = None
    real = concurrent.futures.ThreadPoolExecutor
    concurrent.futures.ThreadPoolExecutor = Here  # type: ignore[assignment,misc]
    try:
        with trace, log:
            scheduler.load(model, planned, trace.follow)
    except NotImplementedError as error:  # no kernel for a CPU is no fault of the checkpoint
        postprocess = describe(error)
    except Exception as error:  # noqa: BLE001 - this is what the caller asks about
        failure = describe(error)
    finally:
        concurrent.futures.ThreadPoolExecutor = real  # type: ignore[misc]
    told = {"failure": failure, "postprocess": postprocess, "warnings": log.lines}
    return {**told, **trace.result()}


class Here(concurrent.futures.Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Return a future that is done; its exception is raised where its result is asked for."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as a thread does
            future.set_exception(error)
        return future


class Log(logging.Handler):
    """Keeps the warnings that SGLang logs.

    Attributes:
        lines: `LEVEL message`, the first of them.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        if len(self.lines) < WARNINGS:
            self.lines.append(f"{record.levelname} {record.getMessage()}"[:200])

    def __enter__(self) -> Log:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


class Trace(TorchDispatchMode):  # type: ignore[misc]
    """Notes which tensors are read, which parameters they change, and what is cast on the way.

    Args:
        model: its parameters are overwritten with the pattern.
        shared: parameters that may stay as they are, by their names.
    """

    def __init__(self, model: nn.Module, *, shared: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._model = model
        self._shared = shared
        self._owner: dict[int, str] = {}
        self._read: dict[str, torch.Tensor] = {}
        self._name: dict[int, str] = {}
        self._used: set[str] = set()
        self._casts: set[str] = set()
        self._blank: set[str] = set()
        for name, parameter in model.named_parameters():
            if parameter.numel():
                self._owner[address(parameter)] = name
                if is_blank(parameter.data):
                    self._blank.add(name)
                bits(parameter.data).fill_(PATTERNS[parameter.element_size()])

    def follow(self, tensors: Iterator[Any]) -> Iterator[Any]:
        """Pass the tensors of the checkpoint on, and remember them."""
        for name, tensor in tensors:
            self._read[name] = tensor
            self._name[address(tensor)] = name
            yield name, tensor

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        names = (self._name.get(address(leaf)) for leaf in leaves if leaf.device.type == "cpu")
        self._used.update(filter(None, names))
        if func is torch.ops.aten.copy_.default:
            self._note(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _note(self, into: torch.Tensor, source: torch.Tensor) -> None:
        """Remember a cast of what goes into a parameter."""
        owner = self._owner.get(address(into)) if into.device.type == "cpu" else None
        if owner is not None and into.dtype != source.dtype:
            kinds = (str(t.dtype).removeprefix("torch.") for t in (source, into))
            self._casts.add(f"{owner}: {'->'.join(kinds)}")

    def result(self) -> dict[str, Any]:
        """Return what arrived and what did not."""
        untouched: dict[str, list[int]] = {}
        partial: dict[str, list[int]] = {}
        optional: dict[str, list[int]] = {}
        for name, parameter in self._model.named_parameters():
            if self._owner.get(address(parameter)) != name:
                continue  # empty, or replaced by the loader
            left = bits(parameter.data) == PATTERNS[parameter.element_size()]
            if bool(left.any()) and (name.endswith(REMARKS) or self._is_dropped(name)):
                optional[name] = list(parameter.shape)
            elif bool(left.all()):
                spared = self._may_stay(name) or name in self._shared
                kind = optional if spared else untouched
                kind[name] = list(parameter.shape)
            elif bool(left.any()) and parameter.element_size() > 1:  # a byte may hold it by chance
                partial[name] = list(parameter.shape)
        return {
            "uninitialised": untouched,
            "optional": optional,
            "partial": partial,
            "casts": sorted(self._casts),
            "unused": sorted(set(self._read) - self._used),
            "read": len(self._read),
        }

    def _may_stay(self, name: str) -> bool:
        """Return whether a parameter does no harm where no tensor reaches it."""
        if name.endswith(EXPERT_SCALES) and "fp8" in self._scheme(name).lower():
            return False
        return name.endswith(OPTIONAL) and (name not in self._blank or name.endswith(UNREAD))

    def _is_dropped(self, name: str) -> bool:
        """Return whether a parameter is dropped after the load: nothing quantizes activations."""
        return name.endswith("input_global_scale") and "W4A16" in self._scheme(name)

    def _scheme(self, name: str) -> str:
        """Return the class of what a parameter's owner is quantized by."""
        owner = self._model.get_submodule(name.rpartition(".")[0])
        scheme = getattr(owner, "scheme", None) or getattr(owner, "quant_method", None)
        return type(scheme).__name__


def is_blank(tensor: torch.Tensor) -> bool:
    """Return whether no value was put into what was just allocated, but for a mark of that."""
    values = tensor.float()
    unset = values.isnan() | (values == torch.finfo(torch.float32).min)
    return tensor.is_floating_point() and bool(unset.any())


def address(tensor: torch.Tensor) -> int:
    """Return what tells the storage of a tensor from others."""
    return int(tensor.untyped_storage().data_ptr())


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same memory, as integers: NaNs compare, and nothing is rounded."""
    return tensor.view(INTEGERS[tensor.element_size()])
