"""Records which parameters vLLM's quantization classes give a module, release by release.

    python -m tools.parameters --release 0.32.0 [--home DIR] [--out DIR]

Each question is a quantization configuration, asked of a tiny model. Of all modules that have the
same parameters one is kept: the first of the draft model, or of the target model where the draft
has none. The file is `tests/conformance/RELEASE/parameters.json`; tests/conformance compares it
with the parameters that the data of the method names.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import metadata, policy
from mtpfix.engines.vllm.live import Answer, Made, Server
from mtpfix.engines.vllm.methods.shared.parameters import params
from mtpfix.engines.vllm.policy import rules
from mtpfix.engines.vllm.predict import predict
from mtpfix.model import Decision, JsonFile
from tools import environments, overlays, schemes, tiny
from tools.record import OUT
from tools.recording import PARAMETERS, with_quantization

Json = Any

SCHEMA = "mtpfix.parameters/2"
FAMILY, VARIANT = "glm4_moe", "no_bias"
"""The model that is asked: its draft has linear layers, experts and a head, and blocks of 128 fit
all of them."""
BY_MODEL = {
    "deepseek-v4-fp8": ("deepseek_v4", tiny.BASE),
    "deepseek-v4-fp4": ("deepseek_v4", "fp4_experts"),
    "deepseek-v4-nvfp4": ("deepseek_v4", "nvfp4_experts"),
}
"""Configurations of one model alone: its family and variant."""
PACKAGES = ("bitsandbytes", "torchao")
"""Methods that need a package which vLLM does not bring."""
CONTAINERS = ("uint8", "int32")
"""Data types of a `weight` that holds several values in one."""
ERROR = 120
"""So much of an exception is kept."""
IGNORED = frozenset({"bias", "g_idx_sort_indices"})
"""Ends of names that no checkpoint brings for a scheme: of the layer, and made while loading."""
LAYERED = (
    "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN",
    "FP8_PB_WO",
    "FP8_BLOCK_SCALES",
    "NVFP4",
    "W4A16_NVFP4",
    "MXFP8",
)
"""The algorithms that ModelOpt gives single layers."""


@dataclass(frozen=True)
class Question:
    """One configuration, complete."""

    name: str
    family: str
    variant: str
    quantization: dict[str, Json]

    @property
    def config(self) -> dict[str, Json]:
        """`config.json`, with the quantization."""
        return with_quantization(tiny.config(self.family, self.variant), self.quantization, None)


@dataclass(frozen=True)
class Row:
    """The parameters of one module, as they are recorded."""

    question: str
    part: str
    kind: str
    name: str
    """By which vLLM asks about it."""
    scheme: str | None
    """Class of the scheme; None where deciding raised."""
    parameters: Mapping[str, str]
    """Data type and number of dimensions, by the end of the name."""
    error: str = ""
    """What was raised."""


# --- what is asked ----------------------------------------------------------------


def questions() -> Iterator[Question]:
    """Return every configuration: those of `schemes.json`, and what `parameters.json` changes."""
    changes = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    for name in schemes.named():
        if "quantized_layers" in schemes.quantization(name):
            continue  # asked algorithm by algorithm
        if schemes.dialect(name) in PACKAGES:
            continue
        yield _question(name, {})
        for what, change in changes.get(name, {}).items():
            yield _question(name, change, f":{what}")
    yield _question("deepseek-v4-nvfp4", {})
    modules = [
        stored.name.removesuffix(".weight")
        for part in ("trunk", "draft")
        for stored in tiny.tensors(FAMILY, VARIANT, part)
        if stored.quantizable
    ]
    for algorithm in LAYERED:
        layers = {module: {"quant_algo": algorithm} for module in modules}
        yield _question("modelopt-mixed", {"quantized_layers": layers}, f":{algorithm}")


def _question(scheme: str, change: dict[str, Json], suffix: str = "") -> Question:
    family, variant = BY_MODEL.get(scheme, (FAMILY, VARIANT))
    known = "deepseek-v4-fp4" if scheme == "deepseek-v4-nvfp4" else scheme
    stated = _changed(schemes.quantization(known), change)
    if "modules_in_block_to_quantize" not in stated:
        stated.update(schemes.unquantized(stated["quant_method"], ["nothing"]))
    return Question(f"{scheme}{suffix}", family, variant, stated)


def _changed(stated: dict[str, Json], change: dict[str, Json]) -> dict[str, Json]:
    """Return a configuration with some of its fields changed."""
    fields = {"weights": "weights", "inputs": "input_activations", "targets": "targets"}
    made = copy.deepcopy(stated)
    for key, value in change.items():
        if key in fields:
            made["config_groups"]["group_0"][fields[key]] = value
        elif key == "global":
            made["global_quant_config"].update(value)
        elif value is None:
            del made[key]
        else:
            made[key] = value
    return made


# --- what is kept -------------------------------------------------------------------


def rows(question: str, answer: Answer) -> Iterator[Row]:
    """Return one module of each kind of quantized modules that have the same parameters."""
    seen = set()
    for part in ("draft", "trunk"):
        for made in answer.of(part):
            found = _parameters(made, answer) if made.built == "quantized" else {}
            scheme = made.scheme if made.built == "quantized" else None
            error = (made.error or "")[:ERROR]
            told = (made.kind, scheme, error.partition(":")[0], tuple(found.items()))
            if (found or error) and told not in seen:
                seen.add(told)
                yield Row(question, part, made.kind, made.name, scheme, found, error)


def _parameters(made: Made, answer: Answer) -> dict[str, str]:
    start = f"{made.param}."
    return {
        name.removeprefix(start): f"{dtype} {len(shape)}"
        for name, (shape, dtype) in sorted(answer.parameters.get(made.part, {}).items())
        if name.startswith(start) and 0 not in shape  # those are filled after loading
    }


def record(server: Server) -> tuple[list[Question], list[Row]]:
    """Ask about every configuration; return those that the release builds, and what it builds."""
    kept, found = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for question in questions():
            config = json.dumps(question.config)
            (Path(scratch) / "config.json").write_text(config, encoding="utf-8")
            made = list(
                rows(question.name, server.ask(Path(scratch), tolerant=True, past_failures=True))
            )
            found += made
            kept += [question] if made else []
    return kept, found


# --- the file -----------------------------------------------------------------------


def write(path: Path, release: str, asked: list[Question], found: list[Row]) -> None:
    """Write a recording; a row of a module stands under the question that it answers."""
    modules: dict[str, list[Json]] = {question.name: [] for question in asked}
    for r in found:
        row = [r.part, r.kind, r.name, r.scheme, dict(r.parameters), r.error]
        modules[r.question].append(row)
    whole = {
        "schema": SCHEMA,
        "engine": "vllm",
        "release": release,
        "platform": "cuda",
        "command": f"python -m tools.parameters --release {release}",
        "models": {f"{q.family}/{q.variant}": tiny.config(q.family, q.variant) for q in asked},
        "questions": {q.name: [f"{q.family}/{q.variant}", q.quantization] for q in asked},
        "modules": modules,
    }
    overlays.write(path, whole)


def read(path: Path) -> tuple[str, dict[str, dict[str, Json]], list[Row]]:
    """Read a recording: the release, `config.json` of each question, and the modules.

    Raises:
        ValueError: the file is of another form.
    """
    data = overlays.read(path)
    if data["schema"] != SCHEMA:
        raise ValueError(f"{path}: unknown schema {data['schema']}")
    configs = {
        name: with_quantization(data["models"][model], stated, None)
        for name, (model, stated) in data["questions"].items()
    }
    modules = data["modules"].items()
    return data["release"], configs, [Row(name, *row) for name, rows in modules for row in rows]


# --- what the data says -------------------------------------------------------------


def disagreements(path: Path) -> Iterator[str]:
    """Return, as text, every module of a recording whose parameters the data has otherwise."""
    release, configs, found = read(path)
    for name, config in configs.items():
        method, decisions = _decide(config, release)
        gone = frozenset(rules("gone", release))
        for row in found:
            if row.question == name:
                decision = decisions.get((row.part, row.name))
                yield from (
                    f"{name} {row.name}: {text}" for text in _compare(row, decision, method, gone)
                )


def _decide(config: dict[str, Json], release: str) -> tuple[str, dict[tuple[str, str], Decision]]:
    """Return the quantization method and what we predict, by part and name of the module."""
    family = policy.recognise(config)
    place = metadata.find({"config.json": JsonFile("config.json", b"", config)})
    if family is None or place is None:
        raise ValueError(f"no family or no quantization in {config}")
    known, view = policy.policy(family), metadata.read(place)
    context = construction.context(known, config, release, "cuda", view.method)
    modules = [m for part in ("trunk", "draft") for m in construction.modules(known, context, part)]
    made = predict(known, view, context, [module for module in modules if module.asks])
    return view.method, {(d.module.part, d.module.name): d for d in made}


def _compare(
    row: Row, decision: Decision | None, method: str, gone: frozenset[str]
) -> Iterator[str]:
    theirs = row.scheme and row.scheme.replace("WNA16Marlin", "WNA16")
    if decision is None or decision.scheme not in (row.scheme, theirs):
        yield f"{decision and (decision.scheme or decision.error)}, vLLM: {row.scheme or row.error}"
        return
    if _type(decision.error) != _type(row.error):
        yield f"{decision.error}, vLLM: {row.error}"
        return
    if row.scheme is None:
        return
    known = params(method, decision.expects)
    if known is None:
        yield f"{row.scheme} has unknown parameters, vLLM: {row.parameters}"
        return
    real = {suffix for suffix, _ in _suffixes(row)} - IGNORED
    for text, differ in (
        ("needed, but vLLM has none", known.needed - real),
        ("possible, but vLLM has none", known.more - gone - real),
        ("unknown", real - known.needed - known.more),
    ):
        if differ:
            yield f"{decision.expects} {row.scheme}: {text}: {sorted(differ)}"
    dtypes = {form.partition(" ")[0] for suffix, form in _suffixes(row) if suffix == "weight"}
    if dtypes and known.packed != bool(dtypes & set(CONTAINERS)):
        yield f"{decision.expects} {row.scheme}: packed is {known.packed}, vLLM: {dtypes}"


def _type(error: str | None) -> str:
    """Return the class of an exception; empty for none."""
    return (error or "").partition(":")[0]


def _suffixes(row: Row) -> Iterator[tuple[str, str]]:
    """Return the ends of names and their forms; the two halves of experts have the same."""
    for name, form in row.parameters.items():
        yield name.removeprefix("w13_").removeprefix("w2_") if row.kind == "experts" else name, form


def main() -> None:
    """Record one release."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", required=True, choices=environments.releases())
    parser.add_argument("--home", type=Path, default=environments.HOME, help="see environments.py")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    release: str = options.release
    with environments.Home(options.home).server(release, timeout=300) as server:
        found = server.about["vllm"].split("+")[0]
        if found != release:
            raise SystemExit(f"asked for {release}, found {found}")
        asked, made = record(server)
    write(options.out / release / PARAMETERS, release, asked, made)
    print(f"{release}: {len(made)} modules of {len(asked)} configurations")


if __name__ == "__main__":
    main()
