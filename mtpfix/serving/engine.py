"""vLLM's objects as records, and the one change that is made to them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import Version

from mtpfix.engines.registry import engine
from mtpfix.errors import MtpfixError
from mtpfix.model import PLATFORMS, Platform
from mtpfix.report.inert_text import PROSE_LIMIT, inert
from mtpfix.serving.memory import Metadata, Running, Served, Verdict, judged, unjudged

LOADED = ("auto", "hf", "safetensors", "fastsafetensors", "instanttensor")
"""Load formats that read the safetensors files of a checkpoint."""

EMBEDDED = ("dspark",)
"""Methods of other drafts that a checkpoint may hold in the place of an MTP block."""


def repair_in_memory(config: Any, way: str) -> str:
    """Judges, and changes what is in memory where that helps.

    Args:
        config: a `VllmConfig` whose quantization is not resolved yet.
        way: `report` changes nothing.

    Returns:
        What came of it, in one line that is safe to print.
    """
    speculation = config.speculative_config
    if speculation is None:
        return "speculation is off, so there is no draft to judge"
    if not _in_place_of_mtp(config, speculation):
        return (
            f"the draft is {inert(str(speculation.method))}, not an MTP block, so it is not judged"
        )
    try:
        verdict = _verdict(config, speculation)
    except MtpfixError as error:
        return f"could not judge: {inert(error.message, PROSE_LIMIT)}; {inert(error.remedy)}"
    if verdict.metadata is None:
        return verdict.said
    if way == "report":
        return f"would repair in memory, and has changed nothing: {verdict.said}"
    _apply(config, verdict, verdict.metadata)
    return f"repaired in memory: {verdict.said}"


def _in_place_of_mtp(config: Any, speculation: Any) -> bool:
    """Whether the draft is an MTP block, or stands in its place in the target's checkpoint."""
    if speculation.method == "mtp":
        return True
    embedded = speculation.draft_model_config.model == config.model_config.model
    return speculation.method in EMBEDDED and embedded


# --- from vLLM's objects to records ------------------------------------------------


def _verdict(config: Any, speculation: Any) -> Verdict:
    """What is to be said and done about target and draft."""
    target, draft = config.model_config, speculation.draft_model_config
    load = config.load_config
    own = getattr(speculation, "draft_load_config", None) or load
    for reason in _out_of_sight((target, load), (draft, own)):
        raise unjudged(reason)
    return judged(
        _served(target, target.hf_overrides, load),
        # What vLLM itself overrides in a draft makes its architecture that of a draft.
        _served(draft, {}, own),
        Running(_release(), platform(), speculation.method),
    )


def _out_of_sight(target: tuple[Any, Any], draft: tuple[Any, Any]) -> Iterator[str]:
    """Why target and draft, each with how it is loaded, cannot be judged by their files."""
    from vllm import envs  # noqa: PLC0415 - it is there where this runs

    if callable(target[0].hf_overrides):
        yield "hf_overrides is a function, which may change anything"
    if envs.VLLM_USE_MODELSCOPE:
        yield "models come from ModelScope"
    for model, load in (target, draft):
        if str(load.load_format) not in LOADED:
            yield f"load format {inert(str(load.load_format))} reads no safetensors files"
        if str(model.config_format) not in ("auto", "hf"):
            yield f"config format {inert(str(model.config_format))} is not that of config.json"
        if model.hf_config_path not in (None, model.model):
            yield "the configuration comes from elsewhere than the weights (hf_config_path)"
        if getattr(model, "model_weights", "") not in ("", model.model):
            yield "the weights are streamed from elsewhere than the configuration"
        if getattr(model, "quantization_config", None) is not None:
            yield "vLLM also quantizes while it loads (--quantization-config)"


def _served(model: Any, overrides: Mapping[str, Any], load: Any) -> Served:
    """One of vLLM's model configurations as a record."""
    return Served(
        name=model.model,
        revision=model.revision,
        method=model.quantization,
        metadata=_metadata(model),
        overrides=overrides,
        token=model.hf_token if isinstance(model.hf_token, str) else None,
        cache=load.download_dir,
    )


def _metadata(model: Any) -> Metadata | None:
    """The quantization metadata that vLLM will find in memory."""
    for pointer in engine("vllm").metadata_pointers:
        *above, key = _keys(pointer)
        value = getattr(_below(model, above), key, None)
        if value is not None:
            stated = value if isinstance(value, dict) else value.to_dict()
            return Metadata(pointer, copy.deepcopy(stated))
    return None


def _below(model: Any, keys: list[str]) -> Any:
    """The configuration, or a nested one; None where there is none."""
    return functools.reduce(lambda at, key: getattr(at, key, None), keys, model.hf_config)


def _keys(pointer: str) -> list[str]:
    return pointer.strip("/").split("/")


def _release() -> str:
    """The release that runs: what was built before it, or for another platform, counts as it."""
    import vllm  # noqa: PLC0415 - it is there where this runs

    return Version(vllm.__version__).base_version


def platform() -> Platform:
    """The platform that vLLM builds for."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - it is there where this runs

    # vLLM has no word for `cuda:10.0`, and builds the same there.
    named = (name for name in PLATFORMS if ":" not in name)
    found = (name for name in named if getattr(current_platform, f"is_{name}")())
    if (name := next(found, None)) is None:
        raise unjudged("vLLM runs on a platform that mtpfix does not know")
    return name


# --- the change --------------------------------------------------------------------


def _apply(config: Any, verdict: Verdict, new: Metadata) -> None:
    """Puts metadata in the place of the old, in each model of the artifact that has it.

    vLLM's own class reads it first: what that refuses is never put anywhere.
    """
    from vllm.model_executor.layers.quantization import (  # noqa: PLC0415 - as above
        get_quantization_config,
    )

    known = {
        "target": config.model_config,
        "draft": config.speculative_config.draft_model_config,
    }
    models = [known[name] for name in verdict.models if _metadata(known[name]) == verdict.old]
    value = dict(new.value)
    for model in models:
        get_quantization_config(model.quantization).from_config(copy.deepcopy(value))
    *above, key = _keys(new.pointer)
    for model in models:
        setattr(_below(model, above), key, copy.deepcopy(value))
