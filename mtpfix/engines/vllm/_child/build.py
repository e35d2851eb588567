"""Builds target and draft as vLLM does at run time, and says what came of it.

The order is vLLM's own: engine configuration, one shared quantization configuration,
the target (on the meta device), the draft, and, where asked, the weights of the draft.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..._child.build import attempt, described, dotted, installed, shapes, state
from . import patch
from .recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

WARM = (
    "transformers",
    "vllm.engine.arg_utils",
    "vllm.model_executor.model_loader",
    "vllm.model_executor.models.registry",
    "vllm.model_executor.layers.attention.mla_attention",
    "vllm.model_executor.layers.fused_moe",
    "vllm.model_executor.models.deepseek_mtp",
    "vllm.model_executor.models.glm4_moe",
    "vllm.model_executor.models.qwen3_5",
    "vllm.model_executor.models.qwen3_next",
    "vllm.model_executor.models.qwen3_vl",
)
"""Slow imports that most builds need: made once, before the first fork."""

ASSISTANTS = ("gemma4_assistant", "gemma4_unified_assistant")
"""Model types of drafts that have a folder, and a quantization configuration, of their own."""

LISTS = (
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "modules_to_not_convert",
    "exclude",
    "dynamic",
)
"""What configuration classes call the list of what stays unquantized."""

_applied: list[str] = []


def release() -> tuple[int, ...]:
    """The release of vLLM, as numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", vllm_version())[:3])


def vllm_version() -> str:
    """The release of vLLM, as it names itself."""
    import vllm

    return str(getattr(vllm, "__version__", "") or version("vllm"))


def prepare() -> dict[str, Any]:
    """Imports vLLM, applies the patches for every model, and says what is installed."""
    importlib.import_module("vllm")
    warm()
    patch.load()
    _applied[:] = patch.apply(release())
    if "MTPFIX_PLUGIN" in os.environ:
        patch.plugin_for_cuda()
    return {**installed("vllm", vllm_version()), "patches": _applied}


def warm() -> None:
    """Imports what each build would import again, every quantization method included."""
    for name in WARM:
        patch.module(name)
    methods = patch.module("vllm.model_executor.layers.quantization")
    for name in methods.QUANTIZATION_METHODS:
        with contextlib.suppress(Exception):
            methods.get_quantization_config(name)


def answer(
    folder: str,
    *,
    load: bool,
    tolerant: bool,
    overrides: dict[str, Any],
    draft: str | None,
    names: dict[str, Any] | None,
    names_of: str,
    past_failures: bool,
    load_format: str,
    speculation: str,
) -> dict[str, Any]:
    """Everything vLLM decides for one checkpoint folder.

    Args:
        folder: a folder with `config.json`, and with weights where they are to be loaded.
        load: really load the draft.
        tolerant: go on after a decision that raises.
        overrides: what `--hf-overrides` is given.
        draft: the folder that the draft is loaded from; None: the same.
        names: tensors whose place in a model is asked for: shape and dtype by name, or None.
        names_of: which model: `draft` or `trunk`.
        past_failures: go past exceptions that models of a type are known to raise.
        load_format: what `--load-format` is given, where weights are to be loaded.
        speculation: the method that `--speculative-config` is given.
    """
    applied = _applied + patch.apply(release(), model_type(folder), past_failures=past_failures)
    build = Build(
        folder,
        load_format=load_format if load else "dummy",
        tolerant=tolerant,
        overrides=overrides,
        draft=draft,
        applied=applied,
        speculation=speculation,
    )
    build.run()
    if names is not None and names_of in build.models:
        from .destinations import ask

        build.answer["names"] = ask(*build.models[names_of], names)
    return build.answer


def model_type(folder: str) -> str:
    """The `model_type` of a checkpoint; empty where it has none."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return config.get("model_type") or ""


class Build:
    """One build, phase by phase; a phase that fails ends it.

    Attributes:
        answer: what is known so far, as plain values.
        models: `trunk` and `draft`, once built: each model, its configuration and the engine's.
    """

    def __init__(
        self,
        folder: str,
        *,
        load_format: str,
        tolerant: bool,
        overrides: dict[str, Any],
        draft: str | None,
        applied: list[str],
        speculation: str,
    ) -> None:
        self.folder = folder
        self.beside = draft or folder
        self.overrides = overrides
        self.speculation = speculation
        self.load_format = load_format
        self.load = load_format != "dummy"
        self.recorder = Recorder(tolerant=tolerant)
        self.models: dict[str, tuple[Any, Any, Any]] = {}
        self.alone = model_type(folder) in ASSISTANTS
        self.answer: dict[str, Any] = {
            "vllm": vllm_version(),
            "platform": patch.platform().__name__,
            "patches": applied,
            "decisions": [],
            "unasked": [],
            "failures": [],
        }

    def run(self) -> None:
        """Goes through the phases; a tolerant build goes on to the draft after the target.

        The target of an assistant is a stand-in, whatever comes of it says nothing.
        """
        if not self.phase("config", self.configure):
            return
        built = self.alone or self.phase("target", self.build_target)
        if (
            (built or self.recorder.tolerant)
            and self.phase("draft", self.build_draft)
            and self.load
        ):
            from .loading import load_draft

            self.answer["load"] = load_draft(*self.models["draft"])

    def phase(self, name: str, work: Callable[[], None]) -> bool:
        """Does the work of a phase; an exception in it becomes a failure, and False."""
        return attempt(name, work, self.answer["failures"], describe)

    def configure(self) -> None:
        """Creates the engine configuration and the process groups that layers expect."""
        from vllm.config import set_current_vllm_config
        from vllm.distributed import init_distributed_environment, initialize_model_parallel
        from vllm.model_executor.model_loader.utils import get_model_cls

        target = stand_in(self.folder) if self.alone else self.folder
        arguments = engine_arguments(
            target,
            draft=self.beside,
            load_format=self.load_format,
            overrides=self.overrides,
            speculation=self.speculation,
        )
        self.config = arguments.create_engine_config()
        self.target = self.config.model_config
        self.draft = self.config.speculative_config.draft_model_config
        self.answer["draft_architectures"] = list(self.draft.architectures or ())
        with set_current_vllm_config(self.config):
            meeting = Path(tempfile.mkdtemp()) / "meeting"
            init_distributed_environment(1, 0, meeting.as_uri(), 0, backend="gloo")
            initialize_model_parallel(1, 1)
        self.answer["target_class"] = dotted(get_model_cls(self.target))
        self.answer["draft_class"] = dotted(get_model_cls(self.draft))
        self.recorder.watch()

    def build_target(self) -> None:
        """Constructs the target on the meta device."""
        model = None
        try:
            model = construct(self.config, self.target, "meta")
            self.models["trunk"] = model, self.target, self.config
            self.answer["target_parameters"] = shapes(model)
        finally:
            self.hear("trunk", model)
        self.recorder.asked = None

    def build_draft(self) -> None:
        """Constructs the draft: on the meta device, or in memory where it will be loaded."""
        config, model = draft_configuration(self.config, self.draft), None
        try:
            model = construct(config, self.draft, "cpu" if self.load else "meta")
            self.models["draft"] = model, self.draft, config
            self.answer["draft_parameters"] = shapes(model)
        finally:
            self.hear("draft", model)
            asked = self.recorder.asked
            self.answer["shared"] = None if asked is None else asked is self.config.quant_config
            self.answer["quantization"] = state(asked or self.config.quant_config, LISTS)

    def hear(self, part: str, model: Any) -> None:
        """Takes the decisions of one model from the recorder."""
        rows = self.recorder.take(part, model)
        self.answer["decisions"] += rows
        if model is not None and part == "draft":
            self.answer["unasked"] = self.recorder.unasked(model, rows)


def stand_in(folder: str) -> str:
    """A folder with the smallest target that the assistant in `folder` can be the draft of."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    target = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.get("backbone_hidden_size") or text["hidden_size"],
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text.get("max_position_embeddings") or 256,
        "torch_dtype": "bfloat16",
    }
    made = Path(tempfile.mkdtemp())
    (made / "config.json").write_text(json.dumps(target), encoding="utf-8")
    return str(made)


def engine_arguments(
    folder: str, *, draft: str, load_format: str, overrides: dict[str, Any], speculation: str
) -> Any:
    """Arguments for the smallest engine that builds the target and its draft.

    Methods that a release calls deprecated are let in, as `--allow-deprecated-quantization` does.

    Args:
        folder: the target.
        draft: the folder of the draft; mostly that of the target.
        load_format: what `--load-format` is given.
        overrides: what `--hf-overrides` is given.
        speculation: the method of the draft.
    """
    from vllm.engine.arg_utils import EngineArgs

    own = {} if draft == folder else {"model": draft}
    tokens = 1 if speculation == "mtp" else block_size(draft)
    return EngineArgs(
        model=folder,
        tokenizer=folder,
        skip_tokenizer_init=True,
        trust_remote_code=False,
        dtype="bfloat16",
        hf_overrides=overrides,
        load_format=load_format,
        speculative_config={"method": speculation, "num_speculative_tokens": tokens, **own},
        language_model_only=True,
        enforce_eager=True,
        allow_deprecated_quantization=True,
        enable_prefix_caching=False,
        disable_log_stats=True,
        max_model_len=128,
        max_num_seqs=2,
        max_num_batched_tokens=128,
    )


def block_size(folder: str) -> int:
    """How many tokens a DSpark draft makes: what every release takes.

    Some refuse fewer than its block has, others what is no multiple of its MTP layers.
    """
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    layers = text.get("num_nextn_predict_layers") or 1
    return math.lcm(text.get("dspark_block_size") or 1, layers)


def construct(config: Any, model_config: Any, device: str) -> Any:
    """Constructs the model that `model_config` names."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    with (
        set_current_vllm_config(config),
        set_default_torch_dtype(model_config.dtype),
        torch.device(device),
    ):
        return initialize_model(vllm_config=config, model_config=model_config)


def draft_configuration(config: Any, draft: Any) -> Any:
    """The configuration that the engine's proposer hands to the draft.

    Up to 0.20 it is the engine's own; later it shares the quantization configuration with it.
    Only the proposer of Step-3.5 read that again from the draft, from 0.23 to 0.28; from 0.29
    on the V2 runner is the default, and shares it too. That of DSpark reads it again from 0.27 on.
    """
    from vllm.config import replace

    if not hasattr(config.speculative_config, "attention_backend"):
        return config
    backend = config.speculative_config.attention_backend
    shared = replace(config, attention_config=replace(config.attention_config, backend=backend))
    if config.speculative_config.method == "dspark" and release() >= (0, 27):
        from vllm.model_executor.models.utils import get_draft_quant_config

        # Set, not replaced: replacing it would have the engine restore the target's.
        shared.quant_config = get_draft_quant_config(config)
        return shared
    if draft.architectures == ["Step3p5MTP"] and (0, 23) <= release() < (0, 29):
        from vllm.model_executor.models.utils import get_draft_quant_config

        again = get_draft_quant_config(shared)
        return replace(shared, model_config=draft, quant_config=again)
    return shared


def describe(error: BaseException) -> dict[str, str]:
    """Type, message and place of an exception; the place is the innermost one inside vLLM."""
    inside = Path(importlib.import_module("vllm").__path__[0])
    return described(error, "/vllm/", f"{inside}/")
