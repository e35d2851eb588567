"""What it takes to construct CUDA-only code on a CPU, one function a patch.

No patch touches the decision which quantization method a layer gets. A patch that
shows a module the face of a CUDA device (compute capability 9.0) is there because the
module would otherwise decide for a CPU, and CUDA is the platform that mtpfix predicts.
The first line of a docstring says what and why; the decorator says for which releases.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import MagicMock

import torch

from .standins import CudaFace, Idle, NoAttention, NoBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Release = tuple[int, ...]


class Patch(NamedTuple):
    """A function and the releases and model types that need it."""

    run: Callable[[], None]
    since: Release
    until: Release
    only: frozenset[str]
    past_failures: bool
    """Whether it carries a build past an exception that the release really raises."""

    def wanted(self, release: Release, model_type: str | None, *, past_failures: bool) -> bool:
        """Whether it applies; `model_type` None selects the patches that fit all models."""
        fits = model_type in self.only if self.only else model_type is None
        return (
            fits
            and self.since <= release < self.until
            and (past_failures or not self.past_failures)
        )

    def __str__(self) -> str:
        """Its name, and the reason for it."""
        reason = (self.run.__doc__ or "").strip().splitlines()[0]
        return f"{self.run.__name__}: {reason}"


PATCHES: list[Patch] = []


def patch(
    *,
    since: Release = (0,),
    until: Release = (sys.maxsize,),
    only: tuple[str, ...] = (),
    past_failures: bool = False,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a patch for releases from `since` up to, not with, `until`."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        PATCHES.append(Patch(run, since, until, frozenset(only), past_failures))
        return run

    return register


def apply(
    release: Release, model_type: str | None = None, *, past_failures: bool = False
) -> list[str]:
    """Applies the patches of `release`: those for every model, or those for one model type.

    Args:
        release: of the installed vLLM.
        model_type: of the model; None: those for every model.
        past_failures: with those that go past a failure, so that decisions after it are heard.

    Returns:
        What was applied. A patch that finds other code than it knows is left out, and says
        so: the build then succeeds without it or fails for a reason that is reported.
    """
    applied = []
    for each in PATCHES:
        if each.wanted(release, model_type, past_failures=past_failures):
            try:
                each.run()
            except Exception as error:  # noqa: BLE001 - a newer release may break it in any way
                applied.append(f"{each} FAILED: {type(error).__name__}: {error}")
            else:
                applied.append(str(each))
    return applied


# --- helpers -----------------------------------------------------------------


def module(name: str) -> Any:
    """The module, or None where this release has none that can be imported."""
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - CUDA-only modules fail in every way there is
        return None


def submodules(package: str) -> Iterator[Any]:
    """The modules of a package that can be imported here."""
    parent = module(package)
    for info in pkgutil.iter_modules(getattr(parent, "__path__", [])):
        found = module(f"{package}.{info.name}")
        if found is not None:
            yield found


def substitute(replacements: dict[Any, Any]) -> None:
    """Puts new functions in the place of old ones, in every vLLM module that holds them."""
    for name, holder in list(sys.modules.items()):
        if name.startswith("vllm.") and type(holder) is types.ModuleType:
            for key, value in list(vars(holder).items()):
                if isinstance(value, types.FunctionType) and value in replacements:
                    setattr(holder, key, replacements[value])


def platform() -> Any:
    """The class of the platform that vLLM detected."""
    from vllm.platforms import current_platform

    return type(current_platform)


def show_cuda(*names: str) -> None:
    """Shows the CUDA face to modules of the quantization package."""
    for name in names:
        found = module(f"vllm.model_executor.layers.quantization.{name}")
        if hasattr(found, "current_platform"):
            found.current_platform = CudaFace()


def plugin_for_cuda() -> None:
    """Has mtpfix's plugin in this process judge for CUDA, which is what is built here."""
    vars(importlib.import_module("mtpfix.serving.engine"))["platform"] = always("cuda")


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


@patch(until=(0, 24))
def rope_tables() -> None:
    """DeepSeek-V4 computes its rotary tables on the CPU: it reads values, which meta has not."""
    rope = module("vllm.model_executor.layers.rotary_embedding.deepseek_scaling_rope")
    cls = getattr(rope, "DeepseekV4ScalingRotaryEmbedding", None)
    if cls is None:
        return
    real = cls._compute_cos_sin_cache

    def compute(self: Any) -> Any:
        with torch.device("cpu"):
            return real(self)

    cls._compute_cos_sin_cache = compute


# --- every model: kernels ----------------------------------------------------


@patch()
def wna16_experts() -> None:
    """Packed integer experts get Marlin, as on CUDA: the kernel of a CPU refuses some scales."""
    for holder in submodules("vllm.model_executor.layers.fused_moe.oracle"):
        select = getattr(holder, "select_wna16_moe_backend", None)
        if select is not None and select.__module__ == holder.__name__:
            substitute({select: always((holder.WNA16MoEBackend.MARLIN, None))})


def always(value: Any) -> Callable[..., Any]:
    """A function that returns the same, whatever it is asked."""
    return lambda *_, **__: value


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


# --- every model: configurations ----------------------------------------------


@patch()
def remote_configs() -> None:
    """Model types known only to remote code get a generic configuration class."""
    from transformers import AutoConfig, PretrainedConfig, Qwen2Config

    bases = dict.fromkeys(
        (
            "mimo_v2",
            "mimo_v2_pro",
            "pangu_ultra_moe",
            "bailing_hybrid",
            "bailing_moe_linear",
            "bailing_moe_v3",
            "step5",
            "nemotron_h_puzzle",
            "bailing_hybrid_v3",
        ),
        PretrainedConfig,
    )
    for model_type, base in {"mimo": Qwen2Config, **bases}.items():
        with contextlib.suppress(ValueError):
            cls = type(f"Generic_{model_type}", (base,), {"model_type": model_type})
            AutoConfig.register(model_type, cls)


@patch(only=("NemotronH_Super_Omni_Reasoning_V3", "nemotron_h_omni"))
def nemotron_omni_config() -> None:
    """Nemotron-H with vision gets a configuration class and a tokenizer: both are remote code."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, text_config: Any = None, vision_config: Any = None, **options: Any) -> None:
        PretrainedConfig.__init__(self, **options)
        self.text_config = AutoConfig.for_model(**(text_config or {"model_type": "nemotron_h"}))
        self.vision_config = PretrainedConfig(**(vision_config or {}))

    for model_type in ("NemotronH_Super_Omni_Reasoning_V3", "nemotron_h_omni"):
        with contextlib.suppress(ValueError):
            members = {"model_type": model_type, "__init__": init}
            AutoConfig.register(model_type, type("NemotronOmni", (PretrainedConfig,), members))
    holder = module("vllm.model_executor.models.nano_nemotron_vl")
    holder.cached_tokenizer_from_config = always(MagicMock(name="tokenizer"))


@patch(since=(0, 28), only=("interns2_mobius",))
def mobius_config() -> None:
    """Intern-S2-Mobius gets a configuration class and no tokenizer: both are remote code."""
    from transformers import AutoConfig
    from transformers.models.qwen3_5_moe import configuration_qwen3_5_moe as base

    text = type("Text", (base.Qwen3_5MoeTextConfig,), {"model_type": "interns2_mobius_text"})
    vision = type("Vision", (base.Qwen3_5MoeVisionConfig,), {"model_type": "interns2_mobius"})
    parts = {"vision_config": vision, "text_config": text}
    members = {"model_type": "interns2_mobius", "sub_configs": parts}
    whole = type("Whole", (base.Qwen3_5MoeConfig,), members)
    AutoConfig.register("interns2_mobius", whole)
    holder = module("vllm.model_executor.models.interns2_mobius")
    holder.cached_tokenizer_from_config = always(None)


@patch(since=(0, 22), only=("intern_s2_preview",))
def interns2_preview_config() -> None:
    """Intern-S2-Preview gets a configuration class: its own is remote code."""
    from transformers import AutoConfig
    from transformers.models.qwen3_5_moe import configuration_qwen3_5_moe as base

    parts = {"vision_config": base.Qwen3_5MoeVisionConfig, "text_config": base.Qwen3_5MoeTextConfig}
    members = {"model_type": "intern_s2_preview", "sub_configs": parts}
    cls = type("InternS2Preview", (base.Qwen3_5MoeConfig,), members)
    AutoConfig.register("intern_s2_preview", cls, exist_ok=True)


@patch(since=(0, 23), only=("step3p7",))
def step3p7_config() -> None:
    """Step-3.7 gets a generic configuration class: its own is remote code, and keeps all lists."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, text_config: Any = None, vision_config: Any = None, **options: Any) -> None:
        PretrainedConfig.__init__(self, **options)
        self.text_config = text(**(text_config or {}))
        self.vision_config = PretrainedConfig(**(vision_config or {}))

    text = type("Step3p7Text", (PretrainedConfig,), {"model_type": "step3p5"})
    members = {"model_type": "step3p7", "__init__": init, "sub_configs": {"text_config": text}}
    cls = type("Step3p7Generic", (PretrainedConfig,), members)
    AutoConfig.register("step3p7", cls, exist_ok=True)


@patch(only=("step3p5",), past_failures=True)
def step_layer_types() -> None:
    """Step-3.5 keeps the layer types of its draft layers: cut off, the draft raises IndexError."""
    holder = module("vllm.transformers_utils.configs.step3p5")
    if holder is None:
        return
    real = holder.Step3p5Config.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        if options.get("layer_types") is not None:
            self.layer_types = options["layer_types"]

    holder.Step3p5Config.__init__ = init


@patch(since=(0, 33), only=("step3p5", "step3p7"), past_failures=True)
def step_heads() -> None:
    """A Step-3.5 draft layer past the per-layer list of heads gets the general number."""
    holder = module("vllm.model_executor.models.step3p5")
    real = holder._get_num_attention_heads

    def heads(config: Any, *rest: Any) -> Any:
        try:
            return real(config, *rest)
        except IndexError:
            return config.num_attention_heads

    holder._get_num_attention_heads = heads


@patch(until=(0, 28))
def longcat_config() -> None:
    """LongCat's configuration may be set freely: the installed transformers checks the type."""
    holder = module("transformers.models.longcat_flash.configuration_longcat_flash")
    if holder is None:
        return
    cls = holder.LongcatFlashConfig
    real = cls.__setattr__

    def put(self: Any, name: str, value: Any) -> None:
        try:
            real(self, name, value)
        except Exception:  # noqa: BLE001 - the checker has an error class of its own
            object.__setattr__(self, name, value)

    cls.__setattr__ = put


@patch(until=(0, 31))
def exaone_config() -> None:
    """EXAONE's configuration gets the per-layer lists that the installed transformers dropped."""
    holder = module("transformers.models.exaone_moe.configuration_exaone_moe")
    if holder is None:
        return
    defaults = {
        "sliding_windows": None,
        "mtp_sliding_windows": None,
        "mtp_layer_types": "full_attention",
    }
    for name, value in defaults.items():
        if not hasattr(holder.ExaoneMoeConfig, name):
            setattr(holder.ExaoneMoeConfig, name, [value] * 64)


@patch(until=(0, 22), only=("exaone4_5",))
def exaone_image_processor() -> None:
    """EXAONE-4.5 gets a dummy image processor: the installed transformers has none to import."""
    holder = module("transformers.models.exaone4_5")
    if holder is not None and not hasattr(holder, "Exaone4_5_ImageProcessor"):
        holder.Exaone4_5_ImageProcessor = type("Exaone4_5_ImageProcessor", (), {})


# --- one model: the classes of its CUDA implementation --------------------------


@patch(since=(0, 29), only=("deepseek_v32", "glm_moe_dsa"))
def deepseek_v32_for_cuda() -> None:
    """DeepSeek-V3.2 and GLM-5 resolve to their CUDA classes."""
    package = module("vllm.models.deepseek_v32")
    model = importlib.import_module("vllm.models.deepseek_v32.nvidia.model")
    draft = importlib.import_module("vllm.models.deepseek_v32.nvidia.mtp")
    package.DeepseekV32ForCausalLM = model.DeepseekV32ForCausalLM
    package.GlmMoeDsaForCausalLM = model.DeepseekV32ForCausalLM
    package.DeepseekV32MTP = draft.DeepseekV32MTP


@patch(since=(0, 22), only=("deepseek_v4",))
def deepseek_v4_for_cuda() -> None:
    """DeepSeek-V4 resolves to its CUDA classes, with the matrix layout of capability 9.0."""
    package = module("vllm.models.deepseek_v4")
    model = importlib.import_module("vllm.models.deepseek_v4.nvidia.model")
    draft = importlib.import_module("vllm.models.deepseek_v4.nvidia.mtp")
    package.DeepseekV4ForCausalLM = model.DeepseekV4ForCausalLM
    package.DeepSeekV4MTP = draft.DeepSeekV4MTP
    for name, holder in list(sys.modules.items()):
        if name.startswith("vllm.models.deepseek_v4") and hasattr(
            holder, "compute_fp8_einsum_recipe"
        ):
            vars(holder)["compute_fp8_einsum_recipe"] = always(((1, 128, 128), False))


@patch(since=(0, 32), only=("deepseek_v4",))
def deepseek_v4_quantization_for_cuda() -> None:
    """DeepSeek-V4 gets the quantization class of CUDA, that of V4.1: a CPU gets an older one."""
    package = module("vllm.models.deepseek_v4")
    file = Path(package.__file__).parents[1] / "deepseek_v41" / "quant_config.py"
    name = "vllm.models.deepseek_v41.quant_config"
    loader = SourceFileLoader(name, str(file))
    holder = types.ModuleType(name)
    loader.exec_module(holder)
    package.DeepseekV4FP8Config = holder.DeepseekV4FP8Config


@patch(only=("qwen4_exp", "qwen4_exp_text"))
def qwen4_sparse_attention() -> None:
    """Qwen4-Exp's sparse attention finds flash attention: its CUDA build is missing."""
    module("vllm.models.qwen4_exp.nvidia.model")  # imports the next one, which cannot come first
    qsa = module("vllm.models.qwen4_exp.nvidia.qsa")
    qsa.is_flash_attn_varlen_func_available = always(True)


@patch(until=(0, 24), only=("deepseek_v4",))
def deepseek_v4_capability() -> None:
    """The platform has capability 9.0: DeepSeek-V4's attention asks for it."""
    capability = CudaFace().get_device_capability()
    platform().get_device_capability = classmethod(always(capability))


@patch(until=(0, 30), only=("deepseek_v4",))
def deepseek_v4_cache() -> None:
    """The KV cache is FP8, as DeepSeek-V4 demands: the CPU platform resets it to auto."""
    from vllm.engine.arg_utils import EngineArgs

    real = EngineArgs.create_engine_config

    def create(self: Any, *args: Any, **options: Any) -> Any:
        config = real(self, *args, **options)
        config.cache_config.cache_dtype = "fp8"
        return config

    EngineArgs.create_engine_config = create


@patch(since=(0, 29), only=("hy_v4",))
def hy_v4_backend() -> None:
    """Sparse HY-V4 attention finds a dummy backend: it looks for one itself, a CPU has none."""
    layer = module("vllm.models.hy_v4.nvidia.attention")
    real = layer.get_attn_backend
    layer.get_attn_backend = lambda *a, **k: NoBackend if k.get("use_mla") else real(*a, **k)


@patch(since=(0, 29), until=(0, 32), only=("hy_v4",))
def hy_v4_sparse_layers() -> None:
    """HY-V4 knows sparse layers by the name that the installed transformers gives them too."""
    layer = module("vllm.models.hy_v4.nvidia.attention")
    layer._SPARSE_LAYER_TYPES = (*layer._SPARSE_LAYER_TYPES, "indexed_attention")


@patch(until=(0, 28), only=("kimi_k3",))
def kimi_k3_attention() -> None:
    """Kimi-K3's own MLA gets dummy backends: a CPU has none yet."""
    mla = module("vllm.models.kimi_k3.nvidia.mla")
    mla.get_attn_backend = always(NoBackend)
    mla.get_mla_prefill_backend = always(NoAttention)


@patch(since=(0, 31), only=("kimi_k3",))
def kimi_k3_plain_reduction() -> None:
    """Kimi-K3 fuses no GEMM with a reduction: one device never does, but CUTLASS is imported."""
    module("vllm.models.kimi_k3.nvidia.model").maybe_init_gemm_rs_ar = always(False)


@patch(since=(0, 33), only=("step5", "step5_vl", "radio_mbart_prefix"))
def second_runner() -> None:
    """The V1 runner refuses nothing: CUDA has the V2 runner, which builds the same modules."""
    from vllm.config import VllmConfig

    name = "_get_v1_model_runner_unsupported_features"
    setattr(VllmConfig, name, always([]))


@patch(since=(0, 33), only=("step5", "step5_vl"))
def step5_attention() -> None:
    """Step-5's attention sees capability 9.0 and gets a dummy backend: a CPU has none."""
    vars(importlib.import_module("vllm.models.step5.nvidia.model"))["current_platform"] = CudaFace()
    sparse = types.ModuleType("vllm.models.step5.nvidia.sparse_attention")
    for name in ("Step5DSAAttentionBackend", "Step5SplitKVFlashAttentionBackend"):
        backend = {"supports_compute_capability": always(True)}
        setattr(sparse, name, type(name, (NoBackend,), backend))
    sys.modules[sparse.__name__] = sparse


@patch(since=(0, 33), only=("radio_mbart_prefix",))
def parse_config() -> None:
    """Nemotron-Parse 3.5 gets a generic configuration class with parts: its own is remote code."""
    from transformers import AutoConfig, PretrainedConfig

    def init(self: Any, encoder: Any = None, decoder: Any = None, **options: Any) -> None:
        self.encoder = PretrainedConfig(**(encoder or {}))
        self.decoder = PretrainedConfig(**(decoder or {}))
        PretrainedConfig.__init__(self, **options)

    own = {
        "model_type": "radio_mbart_prefix",
        "__init__": init,
        "get_text_config": lambda self, *_, **__: self.decoder,
    }
    with contextlib.suppress(ValueError):
        cls = type("Generic_radio_mbart_prefix", (PretrainedConfig,), own)
        AutoConfig.register("radio_mbart_prefix", cls)


@patch(only=("dots3_note",))
def dots3_note_for_cpu() -> None:
    """dots3.note is imported without Flash Attention and DeepGEMM: their CUDA builds are missing.

    Its attention backends are dummies, and the tokenizer's image token is made up: nothing of
    that decides how a layer is quantized.
    """
    for name in (
        "vllm.vllm_flash_attn",
        "vllm.vllm_flash_attn.flash_attn_interface",
        "vllm.third_party.deep_gemm",
    ):
        sys.modules[name] = MagicMock(name=name)
    vars(module("vllm.v1.attention.backends.fa_utils"))["__getattr__"] = missing
    model: Any = importlib.import_module("vllm.models.dots3_note.nvidia.model")
    model.Dots3NoteTritonMLABackend = NoBackend
    model.Dots3NotePaddedSparseBackend = NoBackend
    model.Dots3NoteFlashAttnPrefillBackend = NoAttention
    towers: Any = importlib.import_module("vllm.models.dots3_note.nvidia.multimodal")
    towers.get_hf_file_to_dict = always({towers.IMAGE_PAD: 500})


def missing(name: str) -> Any:
    """What stands for a name that a module lacks in the CPU build."""
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock(name=name)
