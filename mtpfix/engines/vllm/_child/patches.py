"""What it takes to construct CUDA-only code on a CPU, whatever the model; one function a patch.

What a single family needs stands in its folder, in `stand_ins.py`.
"""

from __future__ import annotations

import contextlib
import sys
import types
from typing import TYPE_CHECKING, Any
from unittest import mock
from unittest.mock import MagicMock

import torch

from .patch import (
    GENERIC,
    always,
    module,
    patch,
    platform,
    show_cuda,
    submodules,
    substitute,
)
from .standins import CudaFace, Idle, NoAttention, NoBackend

if TYPE_CHECKING:
    from collections.abc import Callable


# --- every model: platform and registry --------------------------------------


@patch()
def registry_in_process() -> None:
    """Model classes are inspected in this process: a subprocess would not be patched."""
    registry = module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda function: function()


@patch()
def every_method() -> None:
    """The CPU platform accepts every quantization method: it would refuse those without kernels."""
    platform().verify_quantization = classmethod(lambda *_: None)
    platform().supported_quantization = []


@patch()
def streams() -> None:
    """CUDA streams and events are dummies: constructors make them, nothing here runs them."""
    for name in ("Stream", "Event"):
        setattr(torch.cuda, name, Idle)


@patch(since=(0, 34))
def configuration_without_triton() -> None:
    """The CPU platform finds Triton while it checks a configuration: it refuses any without."""
    triton, here = module("vllm.triton_utils"), platform()
    check = here.check_and_update_config

    def checked(config: Any) -> None:
        with mock.patch.object(triton, "HAS_TRITON", new=True):
            check(config)

    here.check_and_update_config = staticmethod(checked)


@patch(until=(0, 24))
def compute_units() -> None:
    """The platform has 132 compute units: Marlin workspaces are sized by them."""
    platform().num_compute_units = classmethod(lambda *_, **__: 132)


@patch(until=(0, 27))
def without_allreduce_fusion() -> None:
    """The all-reduce fusion cannot be imported: models guard against that, not against its ops."""
    name = "vllm.compilation.passes.fusion.allreduce_rms_fusion"
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]


# --- every model: attention --------------------------------------------------


@patch()
def mla_attention() -> None:
    """MLA attention gets a dummy backend: a CPU has none, or none that is sparse."""
    layer = module("vllm.model_executor.layers.attention.mla_attention")
    real = layer.get_attn_backend
    layer.get_attn_backend = lambda *a, **k: NoBackend if k.get("use_mla") else real(*a, **k)
    for name in (
        "vllm.model_executor.layers.attention.mla_attention",
        "vllm.v1.attention.backends.mla.prefill",
        "vllm.v1.attention.backends.mla.prefill.selector",
    ):
        holder = module(name)
        if hasattr(holder, "get_mla_prefill_backend"):
            holder.get_mla_prefill_backend = lambda *_, **__: NoAttention


@patch(until=(0, 24))
def attention_sinks() -> None:
    """Flash attention says that it supports sinks: its CUDA build is missing."""
    flash = module("vllm.v1.attention.backends.flash_attn")
    if flash is not None and not hasattr(flash, "flash_attn_supports_sinks"):
        flash.flash_attn_supports_sinks = lambda: True


# --- every model: kernels ----------------------------------------------------


@patch()
def wna16_experts() -> None:
    """Packed integer experts get Marlin, as on CUDA: the kernel of a CPU refuses some scales."""
    for holder in submodules("vllm.model_executor.layers.fused_moe.oracle"):
        select = getattr(holder, "select_wna16_moe_backend", None)
        if select is not None and select.__module__ == holder.__name__:
            substitute({select: always((holder.WNA16MoEBackend.MARLIN, None))})


@patch()
def expert_kernels() -> None:
    """No kernel for experts here is no error: a dummy is chosen, after the method is decided."""
    replacements = {}
    for holder in submodules("vllm.model_executor.layers.fused_moe.oracle"):
        backends = [v for k, v in vars(holder).items() if k.endswith("Backend") and is_enum(v)]
        for name, function in list(vars(holder).items()):
            chooses = name.startswith("select_") and name.endswith("_backend")
            if chooses and backends and getattr(function, "__module__", "") == holder.__name__:
                replacements[function] = with_backend(function, backends[0])
    substitute(replacements)


def is_enum(value: Any) -> bool:
    """Whether `value` is an enumeration class."""
    return isinstance(value, type) and hasattr(value, "__members__")


def with_backend(function: Callable[..., Any], backends: Any) -> Callable[..., Any]:
    """`function`, with a backend of the enumeration where it finds none."""

    def select(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (NotImplementedError, ValueError):
            members = backends.__members__
            return members.get("TRITON") or next(iter(members.values())), None

    return select


@patch()
def linear_kernels() -> None:
    """No kernel for a linear layer here is no error: a dummy is chosen, after the decision."""
    package = module("vllm.model_executor.kernels.linear")
    replacements = {
        function: with_dummy(function)
        for name, function in vars(package).items()
        if isinstance(function, types.FunctionType)
        and (name.startswith("choose_") or (name.startswith("init_") and name.endswith("kernel")))
    }
    substitute(replacements)


@patch(since=(0, 21), until=(0, 32))
def weight_only_fp4() -> None:
    """Marlin takes FP4 weights, as on CUDA: some layers make its kernel and look no further."""
    holder = module("vllm.model_executor.kernels.linear.nvfp4.marlin")
    if holder is not None:
        holder.MarlinNvFp4LinearKernel.is_supported = classmethod(always((True, None)))


def with_dummy(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with a dummy kernel where it raises."""

    def choose(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except Exception:  # noqa: BLE001 - each kernel says no in its own way
            kernel = MagicMock(name="kernel")
            kernel.__name__ = "NoKernel"
            return kernel

    return choose


@patch()
def kernel_names() -> None:
    """A key of the kernel table can always be printed: the KeyError hid "no kernel" above."""
    utils = module("vllm.model_executor.layers.quantization.utils.quant_utils")
    real = utils.QuantKey.__str__

    def text(self: Any) -> str:
        try:
            return str(real(self))
        except KeyError:
            return repr(self)

    utils.QuantKey.__str__ = text


@patch()
def ungated_experts() -> None:
    """Experts without a gate are accepted: vLLM refuses them outside CUDA (Nemotron-H)."""
    config = module("vllm.model_executor.layers.fused_moe.config").FusedMoEConfig
    real = vars(config).get("__post_init__")
    if real is None:
        return

    def post_init(self: Any) -> None:
        try:
            real(self)
        except NotImplementedError as error:
            if "is_act_and_mul" not in str(error):
                raise

    config.__post_init__ = post_init


@patch(until=(0, 24))
def ungated_experts_in_layer() -> None:
    """The expert layer sees CUDA: it asks only to refuse experts without a gate."""
    module("vllm.model_executor.layers.fused_moe.layer").current_platform = CudaFace()


@patch(until=(0, 24))
def monolithic_experts() -> None:
    """A method without a kernel is not monolithic: the property asks the kernel."""
    base = module("vllm.model_executor.layers.fused_moe.fused_moe_method_base").FusedMoEMethodBase
    real = base.is_monolithic.fget

    def is_monolithic(self: Any) -> bool:
        try:
            return bool(real(self))
        except AttributeError:
            return False

    base.is_monolithic = property(is_monolithic)


@patch(until=(0, 22))
def hyper_connections_old() -> None:
    """The hyper-connection layer is a dummy: its TileLang kernels are missing."""
    sys.modules["vllm.model_executor.layers.mhc"] = MagicMock(name="mhc")


@patch(until=(0, 22))
@patch(since=(0, 29), until=(0, 31))
def hyper_connections() -> None:
    """The hyper-connection kernels are a dummy: TileLang is missing."""
    sys.modules["vllm.model_executor.kernels.mhc.tilelang_kernels"] = MagicMock(name="mhc")


# --- every model: modules that would decide for a CPU --------------------------


@patch()
def cuda_face() -> None:
    """AWQ, Marlin, WNA16 experts and auto-round see CUDA: their CPU branches decide otherwise."""
    show_cuda(
        "auto_awq",
        "awq",
        "awq_marlin",
        "cpu_wna16",
        "gptq_marlin",
        "inc",
        "inc.inc",
        "inc.schemes.inc_mxfp4_moe",
        "inc.schemes.inc_wna16_moe",
        "inc.schemes.inc_wna16_scheme",
        "moe_wna16",
        "utils.marlin_utils",
    )


@patch(until=(0, 24))
def wide_layers() -> None:
    """AWQ layers are as wide as real ones, which Marlin takes: tiny ones go to another class."""
    holder = module("vllm.model_executor.layers.quantization.awq_marlin")
    real = holder.check_marlin_supports_layer
    holder.check_marlin_supports_layer = lambda *a, **k: bool(real(*a, **k)) or True


@patch(until=(0, 33))
def cuda_face_of_schemes() -> None:
    """compressed-tensors and quark see CUDA: they ask the device whether a scheme is supported."""
    show_cuda("compressed_tensors.compressed_tensors", "quark.quark")


@patch()
def remote_configs() -> None:
    """Model types known only to remote code get a generic configuration class."""
    import transformers

    for model_type, base in GENERIC.items():
        with contextlib.suppress(ValueError):
            cls = type(
                f"Generic_{model_type}", (getattr(transformers, base),), {"model_type": model_type}
            )
            transformers.AutoConfig.register(model_type, cls)
