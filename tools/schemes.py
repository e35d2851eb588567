"""Quantization configurations by name, and how each dialect writes what it leaves unquantized.

All of it is data: `schemes.json`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

Json = Any
Quantization = dict[str, Json]

HF_QUANT_CONFIG = "hf_quant_config.json"
"""The file that ModelOpt writes beside `config.json`, in words of its own."""


class Part(NamedTuple):
    """What one quantizer of a scheme takes."""

    pattern: str
    """Regex, searched for in names on disk."""
    quantizer: str | None


@cache
def _data() -> dict[str, Json]:
    path = Path(__file__).with_name("schemes.json")
    data: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
    return data


def named() -> dict[str, Quantization]:
    """Every configuration without its list, by the name of the scheme."""
    return {name: value for name, value in _data().items() if not name.startswith("//")}


def of_blocks() -> dict[str, Quantization]:
    """Return the configurations of schemes that only MTP blocks are stored by, by name."""
    return {name: value for name, value in _data()["//blocks"].items() if name != "//"}


def _stated(scheme: str) -> Quantization:
    return named().get(scheme) or of_blocks()[scheme]


def quantization(scheme: str) -> Quantization:
    """The configuration of a scheme, without its list."""
    return copy.deepcopy(_stated(scheme))


def dialect(scheme: str) -> str:
    """The `quant_method` of a scheme."""
    method: str = _stated(scheme)["quant_method"]
    return method


def algorithm(quantizer: str) -> str:
    """The `quant_algo` by which ModelOpt names what a quantizer stores."""
    found: str = named().get(quantizer, {}).get("quant_algo") or _data()["//algorithms"][quantizer]
    return found


def of_dialect(method: str) -> list[str]:
    """The schemes of a dialect."""
    return [scheme for scheme in named() if dialect(scheme) == method]


def dialects() -> list[str]:
    """Every dialect that a scheme is written in."""
    return list(dict.fromkeys(map(dialect, named())))


def fits(scheme: str, family: str) -> bool:
    """Whether a family is asked about a scheme, or entries: some belong to one family alone.

    What a name has before a colon speaks for all names that begin like it.
    """
    kind, colon, _ = scheme.partition(":")
    return family in _data()["//only"].get(kind + colon, [family])


def parts(scheme: str) -> Iterator[Part]:
    """What the quantizers of a scheme take, in order of precedence."""
    for pattern, quantizer in _data()["//parts"].get(scheme, {"": scheme}).items():
        group = _stated(scheme).get("config_groups", {}).get(pattern)
        targets = [pattern] if group is None else group["targets"]
        yield from (Part(re.sub("^re:", "^", target), quantizer) for target in targets)


def unlisted(method: str) -> bool:
    """Whether vLLM reads no list of a dialect, whatever other readers make of it."""
    form = _data()["//lists"][method]
    return form is None or form.get("unread", False)


def unquantized(method: str, names: Sequence[str]) -> Quantization:
    """The keys by which a dialect says that it leaves modules unquantized.

    Args:
        method: the `quant_method`.
        names: names of modules, or entries in the dialect's own form.
    """
    form = _data()["//lists"][method]
    if form is None:
        return {}
    entries = [_entry(name, form.get("regex")) for name in names]
    if "value" in form:
        return {form["key"]: {entry: copy.copy(form["value"]) for entry in entries}}
    return {form["key"]: entries}


def _entry(name: str, mark: str | None) -> str:
    """A name as an entry; with a mark, a regex that fits the name alone."""
    if mark is None or name.startswith(mark):
        return name
    return f"{mark}^{re.escape(name)}$"


def wild(method: str) -> dict[str, Json]:
    """Entries of a dialect that are no plain names, as keys of the configuration, by name.

    `{root}` stands for the prefix of the draft, with its dot, `{stem}` for the same without,
    `{re}` for the prefix as a regex, `{layers}` for the number of trunk layers.
    """
    found: dict[str, Json] = _data()["//wild"].get(method, {})
    return found


def companions(config: dict[str, Json]) -> dict[str, Json]:
    """The other files that state the quantization of a `config.json`, by name."""
    stated = config.get("quantization_config", {})
    if stated.get("quant_method") != "modelopt":
        return {}
    weights = stated.get("config_groups", {}).get("group_0", {}).get("weights", {})
    own = {
        "quant_algo": stated["quant_algo"],
        "kv_cache_quant_algo": None,
        "group_size": weights.get("group_size"),
        "exclude_modules": stated.get("ignore", []),
        "quantized_layers": stated.get("quantized_layers"),
    }
    kept = {k: v for k, v in own.items() if v is not None or k == "kv_cache_quant_algo"}
    return {HF_QUANT_CONFIG: {"producer": stated["producer"], "quantization": kept}}
