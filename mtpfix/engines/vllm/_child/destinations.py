"""Asks the draft's own loader where it puts a tensor of a given name.

The loader runs over that tensor alone, and every parameter notes what it is given instead of
copying it. Names decide, sizes do not: no tensor has to fit, and the draft may stand on the
meta device. What the loader raises for an empty checkpoint too is no answer.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .build import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

Shapes = dict[str, tuple[list[int], str]]
"""Name of a tensor -> its shape and dtype."""
DROPPED = ""
"""Stands for the parameter where a tensor reaches none."""


def ask(model: nn.Module, model_config: Any, config: Any, tensors: Shapes) -> dict[str, list[str]]:
    """Where each asked name goes: parameters, `""` for dropped, or `Type: message` after `!`.

    Args:
        model: the draft.
        model_config: its configuration.
        config: the configuration of the engine.
        tensors: the names to ask about, one at a time, with the sizes of their tensors.
    """
    listener = Listener(model, model_config, config)
    return {name: listener.follow(name, empty(*size)) for name, size in tensors.items()}


class Listener(TorchDispatchMode):  # type: ignore[misc]
    """A draft whose parameters tell what they are given.

    Most are filled by their weight loader, which notes the call; some loaders copy for
    themselves, and the copy is seen.

    Args:
        model: the draft; its weight loaders are replaced for good.
        model_config: its configuration.
        config: the configuration of the engine.
    """

    def __init__(self, model: nn.Module, model_config: Any, config: Any) -> None:
        super().__init__()
        self._owners = {storage(p): name for name, p in model.named_parameters()}
        self._children = [(module, dict(module._modules)) for module in model.modules()]
        self._model = model
        self._dtype = model_config.dtype
        self._config = config
        self._reached: dict[str, None] = {}
        for name, parameter in model.named_parameters():
            with contextlib.suppress(AttributeError):
                del parameter.weight_loader
            parameter.weight_loader = self._noting(name)
        self._for_nothing = _unnumbered(self._load([]) or "")

    def _noting(self, parameter: str) -> Callable[..., bool]:
        def load(*_: Any, **__: Any) -> bool:
            self._reached[parameter] = None
            return True

        return load

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and storage(args[0]) in self._owners:
            self._reached[self._owners[storage(args[0])]] = None
        return func(*args, **(kwargs or {}))

    def follow(self, name: str, tensor: torch.Tensor) -> list[str]:
        """Runs the loader over one tensor, and says what came of it."""
        self._reached.clear()
        for module, children in self._children:  # a loader may drop what it met no tensor of
            module._modules.update(children)
        failure = self._load([(name, tensor)])
        if self._reached or failure is None or _unnumbered(failure) == self._for_nothing:
            return list(self._reached) or [DROPPED]
        return [f"!{failure}"]

    def _load(self, tensors: list[tuple[str, torch.Tensor]]) -> str | None:
        """What the loader raises, as `Type: message`."""
        from vllm.config import set_current_vllm_config
        from vllm.utils.torch_utils import set_default_torch_dtype

        try:
            with set_current_vllm_config(self._config), set_default_torch_dtype(self._dtype), self:
                self._model.load_weights(iter(tensors))
        except Exception as error:  # noqa: BLE001 - this is what the caller asks about
            failure = describe(error)
            return f"{failure['type']}: {failure['message'][:200]}"
        return None


def _unnumbered(text: str) -> str:
    """A message without its numbers: any of several layers may be the one that is missed."""
    return re.sub(r"[0-9]+", "N", text)


def storage(tensor: torch.Tensor) -> int:
    """What tells the storage of a tensor from others, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)


def empty(shape: list[int], dtype: str) -> torch.Tensor:
    """A tensor of some shape in memory, with nothing in it."""
    return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
