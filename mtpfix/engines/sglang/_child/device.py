"""Shows torch one CUDA device where there is none, so that SGLang builds what it builds on CUDA.

Nothing is computed on it: what is made "on cuda" is made on another device (`Elsewhere`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CAPABILITY = "MTPFIX_CAPABILITY"
"""The variable that says which compute capability is shown."""
CUDA = "13.0"
"""The release of CUDA that torch says it was built for: the one that SGLang's wheels want."""
GIBIBYTES = 80
"""Memory of the device."""
_SIZE = GIBIBYTES << 30


def capability() -> tuple[int, int]:
    """Return the compute capability that is shown: that of a Hopper, unless told otherwise."""
    major, _, minor = os.environ.get(CAPABILITY, "9.0").partition(".")
    return int(major), int(minor or 0)


class Idle:
    """Stands for a CUDA stream or event: made by constructors, used by nothing that runs here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        """Return a method that does nothing."""
        if name.startswith("__"):
            raise AttributeError(name)
        return always(None)

    def __enter__(self) -> Idle:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def always(value: Any) -> Callable[..., Any]:
    """Return a function that returns the same, whatever it is asked."""
    return lambda *_, **__: value


def show() -> str:
    """Have torch say that there is one CUDA device.

    Returns:
        What was patched, and why.
    """
    shown = capability()
    for name, value in (_facts(shown) | _nothings()).items():
        setattr(torch.cuda, name, value)
    torch.version.cuda = CUDA
    return f"cuda: torch says that there is one device of compute capability {shown[0]}.{shown[1]}"


def _facts(shown: tuple[int, int]) -> dict[str, Callable[..., Any]]:
    """Return what is said about the device."""
    about = SimpleNamespace(
        name="NVIDIA H100 80GB HBM3" if shown[0] == 9 else "NVIDIA B200",  # noqa: PLR2004 - Hopper
        major=shown[0],
        minor=shown[1],
        total_memory=_SIZE,
        multi_processor_count=132,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=1 << 16,
        shared_memory_per_block_optin=227 << 10,
        L2_cache_size=50 << 20,
        warp_size=32,
        uuid="GPU-0",
        gcnArchName="",
    )
    answers = {
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": about.name,
        "get_device_capability": shown,
        "get_device_properties": about,
        "mem_get_info": (_SIZE - (_SIZE >> 3), _SIZE),
        "memory_allocated": 0,
        "memory_reserved": 0,
        "_get_nvml_device_index": 0,
    }
    return {name: always(value) for name, value in answers.items()}


def _nothings() -> dict[str, Any]:
    """Return what would act on the device, and does nothing."""
    actions = ("init", "_lazy_init", "set_device", "synchronize", "empty_cache")
    seeds = ("manual_seed", "manual_seed_all")
    idle = {"Stream": Idle, "Event": Idle, "stream": Idle, "current_stream": Idle}
    return {name: always(None) for name in (*actions, *seeds)} | idle


class Elsewhere(TorchFunctionMode):  # type: ignore[misc]
    """Makes on another device what is to be made on a CUDA device.

    Args:
        device: where to.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = self._device
        if func is torch.Tensor.cuda:
            return args[0].to(self._device)
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], self._device, *args[2:])
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    """Return whether what names a device names that one."""
    number = isinstance(device, int) and not isinstance(device, bool)
    return number or (device is not None and str(device).startswith("cuda"))
