"""The records of `methods/rules.json` and of the tables `methods/NAME/NAME.json`."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mtpfix.engines.policies.condition import ByRelease, Condition, File, Record
from mtpfix.model import Kind

Facts = dict[str, Any]
"""Field -> the value that it must have; a list: one of them; `{"not": …}`: any but that."""


class Yes(ByRelease, frozen=True, kw_only=True):
    """A rule that holds or not."""

    value: bool
    """Whether it holds."""


class Some(ByRelease, frozen=True, kw_only=True):
    """A rule that is a list."""

    value: tuple[str, ...]
    """The list."""


class One(ByRelease, frozen=True, kw_only=True):
    """A rule that is a text."""

    value: str
    """The text."""


class Rules(File, frozen=True, kw_only=True):
    """`rules.json`: how releases differ; of each rule the first row that holds counts."""

    plain_entries_are_parts: tuple[Yes, ...]
    """compressed-tensors: whether an entry without `re:` fits every name that holds it, in any
    case of letters; else the whole name, or its end after a dot."""
    speaker: tuple[One, ...]
    """Who "requires all to use the same scheme" in exceptions about fused layers."""
    shards_differ: tuple[One, ...]
    """Beginning of the exception where only some shards of a fused layer are ignored."""
    heads_by_name: tuple[Yes, ...]
    """compressed-tensors: whether heads are quantized that a target names."""
    group_formats: tuple[Yes, ...]
    """compressed-tensors: whether the format of a group counts."""
    mxfp4_experts: tuple[Yes, ...]
    """compressed-tensors: whether MXFP4 experts are built before the list is looked at."""
    activation_formats: tuple[Some, ...]
    """compressed-tensors: formats in which the activations of a group are read."""
    int_weights_alone: tuple[Yes, ...]
    """compressed-tensors: whether integer weights may lack activations in such a format."""
    modelopt_heads: tuple[Yes, ...]
    """ModelOpt: whether heads ask."""
    modelopt_fp8_algorithms: tuple[Some, ...]
    """ModelOpt: algorithms that are read as FP8."""
    modelopt_fp4_algorithms: tuple[Some, ...]
    """ModelOpt: algorithms that are read as NVFP4."""
    nvfp4_experts: tuple[Yes, ...]
    """fp8: whether `moe_quant_algo` can put experts in NVFP4."""
    experts_not_in_nvfp4: tuple[Some, ...]
    """What is added to the list of experts that `moe_quant_algo` does not put in NVFP4."""
    mxfp8_is_fp8: tuple[Yes, ...]
    """ModelOpt: whether MXFP8 goes to the method `mxfp8`."""
    mixed_by_layers: tuple[Yes, ...]
    """Mixed precision: whether layers in NVFP4 select it."""
    mixed_models: tuple[Some, ...]
    """Mixed precision: the model types that select it where layers do not."""
    mixed_from_beside: tuple[Yes, ...]
    """Mixed precision: whether `hf_quant_config.json` is read where `config.json` lacks parts."""
    mixed_algorithms: tuple[Some, ...]
    """Mixed precision: algorithms of layers that are built; others leave a layer unquantized."""
    mixed_experts_algorithms: tuple[Some, ...]
    """Mixed precision: the same for routed experts."""
    mixed_wrappers: tuple[Yes, ...]
    """Mixed precision: whether a key may have the prefix of another wrapper."""
    mixed_text_model: tuple[Yes, ...]
    """Mixed precision: whether `model.` may stand for `model.language_model.`, and the reverse."""
    mixed_embeddings: tuple[Yes, ...]
    """Mixed precision: whether embeddings ask."""
    quark_whole_first: tuple[Yes, ...]
    """Quark: whether an entry may name a fused layer, or a single expert."""
    quark_maps_layers: tuple[Yes, ...]
    """Quark: whether name mappers see `layer_quant_config`."""
    quark_mirrors: tuple[Yes, ...]
    """Quark: whether mappers let the key of `wq_a` speak of `wqkv_a` too."""
    quark_asks_all: tuple[Yes, ...]
    """Quark: whether a configuration is looked for whatever the kind of layer."""
    plain_gptq: tuple[Yes, ...]
    """GPTQ: whether there is a kernel besides Marlin."""
    moe_subclasses: tuple[Yes, ...]
    """auto-round: whether subclasses of FusedMoE count as such."""


class ClassRow(Condition, frozen=True, kw_only=True):
    """The class that is built for a module, or the exception instead."""

    kinds: tuple[Kind, ...] | None = None
    """The kinds of modules that the row holds for; left out: all."""
    formats: tuple[str, ...] | None = None
    """The formats of the metadata that the row holds for; left out: all."""
    capability: int = 0
    """The least compute capability that the row holds for, such as 100."""
    scheme: str | None = None
    """The class."""
    expects: str | None = None
    """The format on disk that it loads, `{format}` for that of the metadata; null: not known."""
    error: str | None = None
    """The exception, as `Type: message`; `{name}` stands for the name of the module."""


class Classes(File, frozen=True, kw_only=True):
    """`NAME.json` of a method: what is built for modules that no entry exempts."""

    classes: tuple[ClassRow, ...]
    """The rows; the first that holds counts, and none leaves the module unquantized."""


class SchemeRow(ClassRow, frozen=True, kw_only=True):
    """The scheme of a compressed-tensors group, or the exception instead."""

    weights: str
    """Shape of the weights, by name."""
    input: str | UnsetType | None = UNSET
    """Shape of the input activations; null: there are none; left out: any."""
    activation_format: bool = False
    """Whether the format must be one of the rule `activation_formats`."""
    pack_quantized: bool = False
    """Whether the format must be `pack-quantized`."""
    needs_linear: bool = False
    """Whether the class looks for a target `Linear`, and fails where there is none."""


class Schemes(File, frozen=True, kw_only=True):
    """`compressed_tensors.json`: the scheme of a group, by the first row that fits."""

    shapes: dict[str, Facts]
    """Shapes by name: field -> value, list of values, or `{"not": …}`."""
    linear: tuple[SchemeRow, ...]
    """Schemes of linear layers and heads."""
    experts: tuple[SchemeRow, ...]
    """Schemes of routed experts."""


class FormatRow(Record, frozen=True, kw_only=True):
    """A format of quark, told by the shapes of weights and inputs."""

    format: str
    """Its name."""
    weight: str
    """Shape of the weights."""
    input: str | None = None
    """Shape of the inputs; null: any, or none."""


class Quark(Classes, frozen=True, kw_only=True):
    """`quark.json`: formats by shape, besides the classes."""

    shapes: dict[str, Facts] = msgspec.field(default_factory=dict)
    """Shapes by name: field -> value, list of values, or `{"not": …}`."""
    formats: tuple[FormatRow, ...] = ()
    """Formats; the first that fits counts."""
