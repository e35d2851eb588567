"""The record of one quantization method, `methods/NAME.json`, and of the table of schemes."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mtpfix.engines.policies.condition import Condition, ErrorRow, File, Record
from mtpfix.engines.vllm.records.fault import Fault, LimitRow
from mtpfix.model import Kind

Facts = dict[str, Any]
"""Field -> the value that it must have; a list: one of them; `{"not": …}`: any but that."""


class ClassRow(Condition, frozen=True, kw_only=True):
    """The class that is built for a module, or the exception instead."""

    scheme: str | None = None
    """The class."""
    expects: str | None = None
    """The format on disk that it loads, `{format}` for that of the metadata; null: not known."""
    error: str | None = None
    """The exception, as `Type: message`; `{name}` stands for the name of the module."""
    formats: tuple[str, ...] | None = None
    """The formats of the metadata that the row holds for; left out: all."""
    is_: Facts = msgspec.field(default_factory=dict, name="is")
    """What the metadata asks for: field -> value, list of values, or `{"not": …}`."""

    def __post_init__(self) -> None:
        """Refuse a row that is not exactly one of the two.

        Raises:
            ValueError: it has both a class and an exception, or neither.
        """
        if (self.scheme is None) is (self.error is None):
            raise ValueError("a row has either `scheme` or `error`")


class RefusesRow(ErrorRow, frozen=True, kw_only=True):
    """Metadata that vLLM refuses as a whole."""

    is_: Facts = msgspec.field(default_factory=dict, name="is")
    """What the metadata asks for: field -> value, list of values, or `{"not": …}`."""


class Parameters(Record, frozen=True, kw_only=True):
    """The parameters of a module that is built for one format, by suffix."""

    needed: tuple[str, ...]
    """Those that must be on disk, or stay uninitialised."""
    more: tuple[str, ...]
    """Those that have a default, or that only some configurations have."""
    packed: bool = False
    """Whether `weight` holds several values in one."""
    stored: str | None = None
    """The format on disk, if it has another name."""
    always: tuple[str, ...] = ()
    """Those of `more` that every module has: a loader that misses any parameter misses them."""
    either: tuple[str, ...] = ()
    """Those of which routed experts have one value for gate and up, so that one of the two is
    enough on disk."""
    grain: Literal["tensor", "channel", "group", "block"] | None = None
    """What one value of `weight_scale` covers; a tensor for another grain does not fit.
    Left out: shapes are not looked at."""
    dimensions: int | None = None
    """How many dimensions `weight_scale` must have on disk, where the grain does not tell."""


class AlgorithmsRow(Condition, frozen=True, kw_only=True):
    """The algorithms that a release reads."""

    value: tuple[str, ...]
    """Their names."""


class FormatRow(Record, frozen=True, kw_only=True):
    """A format of quark, told by the shapes of weights and inputs."""

    format: str
    """Its name."""
    weight: str | list[str] | UnsetType | None = UNSET
    """Shape of the weights; a list: one shape for each of several; null: there are none."""
    input: str | list[str] | UnsetType | None = UNSET
    """Shape of the inputs; a list: one shape for each of several; null: there are none."""
    packed: tuple[str, ...] | None = None
    """Orders in which values may be packed; left out: any."""


class Refusal(Fault, frozen=True, kw_only=True):
    """A release that takes a method for no draft."""

    error: str
    """The exception, as `Type: message`."""


class Method(File, frozen=True, kw_only=True):
    """What is known about one quantization method, whatever the family."""

    like: str = ""
    """Another method, whose fields hold where this one has none of its own."""
    reads: str = ""
    """What vLLM reads of the metadata, in words."""
    repair: str = ""
    """What a repair does to it, in words."""
    unproved: str = ""
    """Why no repair is loaded on a real vLLM, where there is a reason."""
    model_types: tuple[str, ...] = ()
    """Models of which metadata of the dialect selects this method."""
    unread: bool = False
    """Whether vLLM goes by no list at all."""
    classes: dict[Kind, tuple[ClassRow, ...]] = {}
    """The class that is built for each kind of module that no entry exempts; kinds without a
    row stay unquantized. From `get_quant_method`."""
    exempt: dict[Kind, tuple[ErrorRow, ...]] = {}
    """The exceptions for modules that an entry exempts, by kind."""
    activation_schemes: tuple[str, ...] | None = None
    """The values of the key `activation_scheme`, without which vLLM refuses the metadata."""
    refused: tuple[Refusal, ...] = ()
    """Where vLLM takes the method for no draft at all."""
    refuses: tuple[RefusesRow, ...] = ()
    """Metadata that vLLM refuses as a whole; the first row that holds counts."""
    parameters: dict[str, Parameters] = {}
    """The parameters of built modules, by format. From `create_weights`."""
    algorithms: tuple[AlgorithmsRow, ...] = ()
    """The algorithms that a release reads, where the metadata names one."""
    formats: tuple[FormatRow, ...] = ()
    """Formats, told by shapes; the first that fits counts."""
    shapes: dict[str, Facts] = {}
    """Shapes by name: field -> value, list of values, or `{"not": …}`."""
    limits: tuple[LimitRow, ...] = ()
    """Faults that no metadata can fix, whatever the family."""


class SchemeRow(Condition, frozen=True, kw_only=True):
    """The scheme of a compressed-tensors group, or the exception instead."""

    weights: str
    """Shape of the weights, by name."""
    input: str | UnsetType | None = UNSET
    """Shape of the input activations; null: there are none; left out: any."""
    output: str | UnsetType | None = UNSET
    """Shape of the output activations; null: there are none; left out: any."""
    bits: tuple[int, ...] | None = None
    """Bits of the weights; left out: any number."""
    format: tuple[str, ...] | None = None
    """Formats of the metadata; left out: any."""
    activation_format: bool = False
    """Whether the format must be one of `activation_formats`."""
    scheme: str | None = None
    """The class."""
    expects: str | None = None
    """The format on disk that it loads; `{strategy}` stands for that of the weights."""
    error: str | None = None
    """The exception, as `Type: message`."""


class VariantRow(Condition, frozen=True, kw_only=True):
    """A format that has a name of its own under a condition."""

    of: tuple[str, ...]
    """The formats."""
    suffix: str
    """What is put behind their names."""
    kinds: tuple[Kind, ...] | None = None
    """The kinds of modules that the row holds for; left out: all."""
    weights: str | UnsetType = UNSET
    """Shape of the weights, by name; left out: any."""
    input: str | UnsetType | None = UNSET
    """Shape of the input activations; null: there are none; left out: any."""


class Schemes(File, frozen=True, kw_only=True):
    """`compressed_tensors.json`: the scheme of a group, by the first row that fits."""

    activation_formats: tuple[str, ...]
    """Formats that stand for quantized activations."""
    shapes: dict[str, Facts]
    """Shapes by name: field -> value, list of values, or `{"not": …}`."""
    linear: tuple[SchemeRow, ...]
    """Schemes of linear layers and output heads."""
    experts: tuple[SchemeRow, ...]
    """Schemes of routed experts."""
    embedding: tuple[SchemeRow, ...]
    """Schemes of embeddings."""
    variants: tuple[VariantRow, ...]
    """Formats that have a name of their own under a condition."""
