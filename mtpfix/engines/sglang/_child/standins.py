"""Stand-ins for packages that SGLang imports and a CPU has not: kernels and readers of media.

They are called when a model runs, or looked at when a module is imported. None of them is asked
which quantization method a layer gets.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch

PACKAGES = (
    "causal_conv1d",
    "cuda",
    "cupy",
    "cutlass",
    "decord",
    "decord2",
    "deep_ep",
    "deep_gemm",
    "deepseek_recipe",
    "fast_hadamard_transform",
    "flash_attn_interface",
    "flash_attn_origin",
    "flash_mla",
    "flashinfer",
    "humming",
    "kernels",
    "kt_kernel",
    "librosa",
    "mooncake",
    "mslk",
    "nixl",
    "nvidia_cutlass_dsl",
    "nvshmem",
    "outlines",
    "petit_kernel",
    "pplx_kernels",
    "quack",
    "sgl_kernel",
    "smg_grpc_servicer",
    "tilelang",
    "tml_renderers",
    "tokenspeed_mla",
    "torch_memory_saver",
    "torchaudio",
    "torchcodec",
    "vllm",
)
"""Packages that get a stand-in, unless they are installed."""
DISTRIBUTIONS = ("flashinfer-cubin", "flashinfer-python", "sgl-kernel", "sglang-kernel")
"""What kernels are called by pip, where SGLang asks for their release."""
ARITHMETIC = {"cutlass.cute": {"ceil_div": lambda number, by: -(-number // by)}}
"""Functions that SGLang reckons with while it builds a model, by the module that has them."""
NEWEST = "99.0.0"
"""The release that a stand-in says it is."""


class StandIn(MagicMock):
    """A module that has whatever is asked of it."""

    __path__: Sequence[str] = ()


class Finder(MetaPathFinder, Loader):
    """Finds stand-ins, for imports that SGLang's own files make.

    Other packages ask what is installed, and go by the answer.

    Args:
        packages: those that get one.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages
        self.made: set[str] = set()
        """What stands for something by now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module comes from; None leaves it to the other finders."""
        del path, target
        if fullname.partition(".")[0] not in self.packages or not _asked_by_sglang():
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> Any:
        """Return the stand-in."""
        self.made.add(spec.name)
        made = StandIn(name=spec.name)
        about = {"__spec__": spec, "__loader__": self, "__package__": spec.name, "__all__": []}
        for key, value in {**about, "__name__": spec.name, "__version__": NEWEST}.items():
            setattr(made, key, value)
        for key, value in ARITHMETIC.get(spec.name, {}).items():
            setattr(made, key, value)
        made.__file__ = f"stand-in/{spec.name}"
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it is ready."""


def _asked_by_sglang() -> bool:
    """Return whether the import that is under way is made by a file of SGLang."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "sglang"


def install() -> list[str]:
    """Put stand-ins where packages are missing.

    Returns:
        What was patched, and why, `name: reason` each.
    """
    importlib.import_module("tvm_ffi")  # wants real classes of cuda-python, or none
    missing = frozenset(name for name in PACKAGES if importlib.util.find_spec(name) is None)
    sys.meta_path.insert(0, Finder(missing))
    _releases(missing)
    _fake_operators()
    named = ", ".join(sorted(missing))
    return [
        f"stand_ins: packages that are not installed or have no build for a CPU: {named}",
        f"releases: importlib.metadata says {NEWEST} for stand-ins, which are no distributions",
        "fake_operators: shapes of the operators of sgl_kernel are not registered: it has none",
    ]


def _releases(missing: frozenset[str]) -> None:
    """Have `importlib.metadata` know the stand-ins."""
    real_version = importlib.metadata.version
    real_packages = importlib.metadata.packages_distributions

    def version(distribution_name: str) -> str:
        name = distribution_name
        try:
            return real_version(name)
        except importlib.metadata.PackageNotFoundError:
            if name.replace("_", "-") in DISTRIBUTIONS or name.replace("-", "_") in missing:
                return NEWEST
            raise

    def packages_distributions() -> Any:
        return {**{name: ["stand-in"] for name in missing}, **real_packages()}

    importlib.metadata.version = version
    importlib.metadata.packages_distributions = packages_distributions


def _fake_operators() -> None:
    """Skip `register_fake` for operators that do not exist; needed up to 0.5.14."""
    real = torch.library.register_fake

    def register_fake(op: Any, *rest: Any, **options: Any) -> Any:
        if not str(op).startswith("sgl_kernel::"):
            return real(op, *rest, **options)
        return None if rest else _unchanged

    torch.library.register_fake = register_fake


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
