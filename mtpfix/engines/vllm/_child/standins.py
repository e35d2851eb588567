"""Objects that stand for what only a CUDA device has."""

from __future__ import annotations

from typing import Any


class CudaFace:
    """The detected platform, except that it calls itself CUDA, capability 9.0."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is as the platform has it."""
        from vllm.platforms import current_platform

        return getattr(current_platform, name)

    def is_cpu(self) -> bool:
        """It is not a CPU."""
        return False

    def is_cuda(self) -> bool:
        """It is CUDA."""
        return True

    def is_cuda_alike(self) -> bool:
        """It is CUDA."""
        return True

    def get_device_capability(self, *_: Any, **__: Any) -> Any:
        """The capability of a Hopper device."""
        from vllm.platforms.interface import DeviceCapability

        return DeviceCapability(9, 0)

    def has_device_capability(self, *_: Any, **__: Any) -> bool:
        """It has every capability that is asked for."""
        return True


class _Absent(type):
    """Answers every question about a class with False."""

    def __getattr__(cls, name: str) -> Any:
        """A function that says no."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: False


class NoAttention(metaclass=_Absent):
    """Stands for the run-time part of an attention layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        """No, whatever is asked."""
        if name.startswith("__"):
            raise AttributeError(name)
        return False


class NoBackend(metaclass=_Absent):
    """Stands for an attention backend that this platform does not have."""

    accept_output_buffer = True
    supported_dtypes: tuple[Any, ...] = ()
    forward_includes_kv_cache_update = True

    @staticmethod
    def get_name() -> str:
        """A name that vLLM knows."""
        return "TRITON_MLA"

    @staticmethod
    def get_impl_cls() -> type:
        """The run-time part."""
        return NoAttention

    @classmethod
    def is_mla(cls) -> bool:
        """It stands for MLA backends."""
        return True

    @classmethod
    def full_cls_name(cls) -> tuple[str, str]:
        """Module and name."""
        return cls.__module__, cls.__qualname__


class Idle:
    """Stands for a CUDA stream or event."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Any:
        """A method that does nothing."""
        return lambda *_, **__: None
