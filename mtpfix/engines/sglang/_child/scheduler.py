"""How a scheduler process of SGLang gets from arguments to models: all that differs by release.

The order is SGLang's own: arguments are published (which resolves them), the world of one rank is
made, and each model gets a configuration, a quantization configuration and its layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import os
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import late
from .device import Elsewhere

WARM = (
    "sglang.srt.utils.common",
    "sglang.srt.utils.hf_transformers_utils",
    "sglang.srt.configs.model_config",
    "sglang.srt.layers.quantization",
    "sglang.srt.layers.sampler",
    "sglang.srt.model_loader.loader",
)
"""Slow imports that every build needs: made once, in an order that has no cycles."""
PACKAGES = (
    "sglang.srt.arg_groups",
    "sglang.srt.distributed.device_communicators",
    "sglang.srt.layers.quantization",
)
"""Packages of which builds import what they need, late."""
ARGUMENTS: dict[str, Any] = {
    "skip_tokenizer_init": True,
    "trust_remote_code": False,
    "dtype": "bfloat16",
    "device": "cuda",
    "context_length": 128,
    "max_running_requests": 2,
    "chunked_prefill_size": 128,
    "mem_fraction_static": 0.5,
    "random_seed": 1,
    "disable_cuda_graph": True,
    "disable_radix_cache": True,
    "speculative_algorithm": "EAGLE",
    "speculative_num_steps": 1,
    "speculative_eagle_topk": 1,
    "speculative_num_draft_tokens": 2,
}
"""The smallest server that has an MTP draft."""
_late: list[str] = []
"""Models that are imported once arguments are published."""
GEMMS = ("fp8", "fp4")
"""Precisions whose kernels are chosen once a process."""


class Plan(NamedTuple):
    """What SGLang builds one model from."""

    config: Any
    load_config: Any
    quantization: Any
    """The configuration object that layers ask, or None."""
    draft: bool


def warm() -> None:
    """Import what each build would import again, every model included but those that wait."""
    _late[:] = late.names()
    with late.kept_out(_late):
        _import_all()


def _import_all() -> None:
    for name in WARM:
        importlib.import_module(name)
    importlib.import_module("sglang.srt.models.registry").ModelRegistry.get_supported_archs()
    for package in filter(None, map(_module, PACKAGES)):
        for info in pkgutil.iter_modules(package.__path__):
            with contextlib.suppress(Exception):  # those of other platforms
                importlib.import_module(f"{package.__name__}.{info.name}")


def arguments(folder: str, more: dict[str, Any]) -> Any:
    """Return the arguments of a server, without those that a release does not have.

    Args:
        folder: the checkpoint.
        more: arguments besides `ARGUMENTS`, or instead of them.
    """
    from sglang.srt.server_args import ServerArgs

    stated = {"model_path": folder, "tokenizer_path": folder, **ARGUMENTS, **more}
    if dataclasses.is_dataclass(ServerArgs):
        known = {field.name for field in dataclasses.fields(ServerArgs)}
    else:
        known = set(getattr(ServerArgs, "__struct_fields__", stated))
    unknown = set(more) - known
    if unknown:
        raise TypeError(f"this release has no argument {', '.join(sorted(unknown))}")
    return ServerArgs(**{name: value for name, value in stated.items() if name in known})


def publish(args: Any) -> None:
    """Make arguments those of this process, and the world that layers expect."""
    context = _module("sglang.srt.runtime_context")
    if not hasattr(context, "publish"):  # up to 0.5.16
        importlib.import_module("sglang.srt.server_args").set_global_server_args_for_scheduler(args)
    elif hasattr(context, "SpawnRanks"):  # from 0.5.21
        context.publish(args, role="scheduler", ranks=context.SpawnRanks(world_rank=0, gpu_id=0))
    else:
        context.publish(args, role="scheduler")
    late.bring_in(_late)
    _world(args)


def _world(args: Any) -> None:
    """Make the process groups of one rank, and what is initialized once a process."""
    parallel = importlib.import_module("sglang.srt.distributed.parallel_state")
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1"
    )
    meeting = (Path(tempfile.mkdtemp()) / "meeting").as_uri()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    with Elsewhere("cpu"):
        parallel.init_distributed_environment(world_size=1, rank=0, local_rank=0, backend="gloo")
        parallel.initialize_model_parallel(backend="gloo")
    layers = "sglang.srt.layers"
    _initialize(f"{layers}.dp_attention", "initialize_dp_attention", args)
    _initialize(f"{layers}.moe.utils", "initialize_moe_config", args)
    for kind in GEMMS:
        module = f"{layers}.quantization.{kind}_utils"
        _initialize(module, f"initialize_{kind}_gemm_config", args)


def _initialize(module: str, name: str, args: Any) -> None:
    """Call what initializes a part of SGLang with what it takes; some releases have none."""
    function: Callable[..., Any] | None = getattr(_module(module), name, None)
    if function is None:
        return
    taken = len(inspect.signature(function).parameters)
    given = [args, model_config(args, args.model_path)] if taken > 1 else [args]
    function(*given[:taken])


def _module(name: str) -> Any:
    """Return a module, or None where this release has none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def model_config(args: Any, folder: str, *, draft: bool = False) -> Any:
    """Return the configuration of the target, or of the draft that is in a folder."""
    from sglang.srt.configs.model_config import ModelConfig

    more = {"is_draft_model": True} if draft else {}
    return ModelConfig.from_server_args(args, model_path=folder, **more)


def draft_folder(args: Any) -> str:
    """Return the folder that the draft is read from, once arguments are published."""
    context = _module("sglang.srt.runtime_context")
    resolved = context.get_spec() if hasattr(context, "get_spec") else args
    return str(resolved.speculative_draft_model_path or args.model_path)


def plan(config: Any, *, draft: bool) -> Plan:
    """Return what a model is built from: its own quantization configuration is parsed here."""
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.model_loader.loader import _get_quantization_config

    load_config = LoadConfig(load_format="safetensors")
    return Plan(config, load_config, _get_quantization_config(config, load_config), draft)


def model_class(config: Any) -> type:
    """Return the class that a configuration names."""
    from sglang.srt.model_loader.utils import get_model_architecture

    found: type = get_model_architecture(config)[0]
    return found


def construct(planned: Plan, device: str) -> Any:
    """Construct a model on a device; of what is allocated and not set, each value is a NaN."""
    from sglang.srt.model_loader.loader import _initialize_model
    from sglang.srt.model_loader.utils import set_default_torch_dtype

    with (
        _draft_scope() if planned.draft else contextlib.nullcontext(),
        set_default_torch_dtype(planned.config.dtype),
        torch.device(device),
        Elsewhere(device),
        _unset_as_nan(),
    ):
        return _initialize_model(planned.config, planned.load_config, planned.quantization)


@contextlib.contextmanager
def _unset_as_nan() -> Iterator[None]:
    """Have torch put a NaN into what is allocated, which it does where it must be deterministic."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def _draft_scope() -> Iterator[None]:
    """What the worker of a draft builds it inside of."""
    from sglang.srt.layers.moe import utils

    scope = getattr(utils, "draft_model_build_scope", contextlib.nullcontext)
    with utils.speculative_moe_backend_context(), scope():
        yield


def load(model: Any, planned: Plan, follow: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
    """Have a model load its tensors, read by SGLang's own iterator.

    Args:
        model: a model in memory.
        planned: what it was built from.
        follow: passes the tensors on.
    """
    from sglang.srt.model_loader.loader import DefaultModelLoader
    from sglang.srt.model_loader.utils import set_default_torch_dtype

    loader = DefaultModelLoader(planned.load_config)
    with set_default_torch_dtype(planned.config.dtype), Elsewhere("cpu"):
        model.load_weights(follow(loader._get_all_weights(planned.config, model)))
