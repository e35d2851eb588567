"""Asks real vLLM releases what they build, and keeps the answers for the conformance tests.

    python -m tools.record --release 0.32.0 [--family mimo] [--method fp8] [--home DIR] [--out DIR]

Each question is a tiny configuration (family and variant), a quantization configuration
and an ignore list. No weights and no GPU are needed; see `environments` for where the
releases come from, and `recording` for the file format.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtpfix.engines.vllm.live import Answer, Server
from tools import disk, environments, headers, mixtures, recording, tiny
from tools import schemes as recipes
from tools.recording import Recorder, Unquantized, Variant, with_quantization, write_release

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = Any

MAIN = "ct-fp8-channel"
"""The scheme that meets every ignore list."""
NEAR = ("none", "disk", "shards", "prefix_regex", "half_fused", "re_mtp")
"""The ignore lists that variants of a family meet."""
BRIEF = ("ct-w4a16", "ct-nvfp4", "targets:heads", "targets:row_parallel", "targets:shard_regex")
"""The other schemes that a family meets which is asked in brief."""
OUT = tiny.HERE.parent / "tests" / "conformance"


class Question(NamedTuple):
    """Names of a quantization configuration (empty for none) and of an ignore list."""

    scheme: str
    ignore: str


# --- what to ask -----------------------------------------------------------------


@cache
def schemes(method: str) -> dict[str, Json]:
    """Quantization configurations of a method without their lists, by name."""
    found = {name: recipes.quantization(name) for name in recipes.of_dialect(method)}
    return {**found, **targeted(found)} if method == recording.MAIN else found


def targeted(base: dict[str, Json]) -> dict[str, Json]:
    """Configurations that choose modules in every way there is."""
    int8 = base["ct-int8"]["config_groups"]["group_0"]
    qkv = "re:.*(q_proj|k_proj|v_proj|q_a_proj|kv_a_proj_with_mqa|wq_a|wkv)$"
    choices = {
        "heads": ["Linear", "re:.*head"],
        "embeddings": ["Linear", "re:.*embed_tokens"],
        "row_parallel": ["RowParallelLinear"],
        "column_class": ["ColumnParallel"],
        "layers_regex": [r"re:.*layers\.\d+\..*proj$"],
        "trunk_regex": [r"re:.*layers\.[01]\..*"],
        "shard_regex": ["re:.*(q|k|v|o)_proj$", r"re:.*(gate|up|down)_proj$", "re:.*_a_proj.*"],
        "one_shard": ["re:.*(q_proj|gate_proj|q_a_proj|wq_a|w1)$"],
        "attention_only": ["re:.*attn.*"],
    }
    found = {}
    for name, targets in choices.items():
        config = json.loads(json.dumps(base[MAIN]))
        config["config_groups"]["group_0"]["targets"] = targets
        found[f"targets:{name}"] = config
    found["targets:class_then_shards"] = {
        **base[MAIN],
        "format": "mixed-precision",
        "config_groups": {
            "group_0": {**base[MAIN]["config_groups"]["group_0"], "format": "float-quantized"},
            "group_1": {**int8, "targets": [qkv], "format": "int-quantized"},
        },
    }
    return found


class Names(NamedTuple):
    """What the draft of one variant is called, in vLLM and on disk."""

    linears: tuple[str, ...]
    experts: tuple[str, ...]
    """Prefixes of the fused experts of the draft."""
    packed: dict[str, tuple[str, ...]]
    disk: tuple[str, ...]
    """Modules of the draft on disk."""
    trunk: tuple[str, ...]
    """Modules of the first trunk layer on disk."""
    expert_weights: tuple[str, ...]
    layers: int


def names_of(family: str, variant: str, answer: Answer) -> Names:
    """The names of a draft: in vLLM from its answer, on disk from what is forged."""
    made = [m for m in answer.of("draft") if m.name]
    return Names(
        linears=tuple(m.name for m in made if m.kind in ("linear", "lm_head")),
        experts=tuple(m.name for m in made if m.kind == "experts"),
        packed=dict(answer.packed),
        disk=modules(tiny.tensors(family, variant, "draft")),
        trunk=tuple(
            name for name in modules(tiny.tensors(family, variant, "trunk")) if "layers.0." in name
        ),
        expert_weights=tuple(filter(None, disk.expert_names(family))),
        layers=tiny.text(tiny.config(family, variant))["num_hidden_layers"],
    )


def modules(tensors: list[tiny.Stored]) -> tuple[str, ...]:
    """The modules that hold matrices, without the embeddings and heads."""
    names = (tensor.name for tensor in tensors if tensor.matrix)
    ends = re.compile(r"(^|\.)(embed\w*|emb\.tok_emb|lm_head|head|output)\.weight$")
    return tuple(name.removesuffix(".weight") for name in names if not ends.search(name))


def ignores(names: Names) -> dict[str, list[str] | None]:
    """Every ignore list to try, by name."""
    block = anchored(names.disk)
    first = [shards(name, names)[0] for name in names.linears if len(shards(name, names)) > 1]
    return {
        "none": ["lm_head"],
        "absent": None,
        "disk": ["lm_head", *names.disk],
        "disk_regex": ["lm_head", block],
        "shards": ["lm_head", *spread(names), *experts(names)],
        "fused": ["lm_head", *names.linears, *experts(names)],
        "prefix_regex": ["lm_head", anchored((*names.linears, *names.experts))],
        "half_fused": ["lm_head", *first],
        "linears_only": ["lm_head", *spread(names)],
        "experts_module": ["lm_head", *spread(names), *names.experts],
        "experts_stacked": ["lm_head", *stacked(names)],
        "expert_0": ["lm_head", *experts(names, only=0)],
        "expert_1": ["lm_head", *experts(names, only=1)],
        "expert_0_half": ["lm_head", *experts(names, only=0)[:1]],
        "re_mtp": ["lm_head", "re:.*mtp.*"],
        "re_mtp_block": ["lm_head", "re:.*mtp_block.*"],
        "re_fused": ["lm_head", *(f"re:.*{key}$" for key in names.packed)],
        "re_layer": ["lm_head", f"re:model.layers.{names.layers}.*"],
        "re_layer_digit": ["lm_head", rf"re:.*layers\.[{names.layers - 1}{names.layers}]\..*"],
        "re_heads": ["re:.*head.*"],
        "re_all": ["re:.*"],
        "re_nothing": ["re:^$", ""],
        "bare_names": ["lm_head", "eh_proj", "mtp.*", "fc", "experts", "mtp", "model.layers"],
        "spellings": ["lm_head", *names.trunk, *spellings(names)],
        "heads": ["lm_head", "head", "model.lm_head", "language_model.lm_head", *heads(names)],
    }


def shards(name: str, names: Names) -> list[str]:
    """The shard names of a fused layer, as vLLM forms them; of another, its own."""
    last = name.rpartition(".")[2]
    return [name.replace(last, shard) for shard in names.packed.get(last, (last,))]


def spread(names: Names) -> list[str]:
    """The linear layers of the draft, fused ones by their shards."""
    return [shard for name in names.linears for shard in shards(name, names)]


def experts(names: Names, only: int | None = None) -> list[str]:
    """The weights of the draft's experts, or of one of them."""
    numbers = range(4) if only is None else (only,)
    return [f"{n}.{i}.{w}" for n in names.experts for i in numbers for w in names.expert_weights]


def stacked(names: Names) -> list[str]:
    """The names of weights that hold all experts at once."""
    return [f"{name}.{w}" for name in names.experts for w in ("gate_up_proj", "down_proj")]


def heads(names: Names) -> list[str]:
    """The names that the head of a draft layer has in vLLM, when asked and in the model."""
    return [f"model.layers.{names.layers}.{name}" for name in ("head", "shared_head.head")]


def anchored(found: tuple[str, ...]) -> str:
    """A regex for what all the names begin with."""
    names = [name for name in found if "." in name]
    first, last = min(names, default=""), max(names, default="")
    pairs = zip(first, last, strict=False)
    common = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return f"re:^{re.escape(common)}.*"


def spellings(names: Names) -> list[str]:
    """Entries in the spellings of other wrappers, which mappers rename, drop or leave."""
    tails = ("self_attn.q_proj", "mlp.gate_proj", "mlp.experts.0.gate_proj")
    last = names.layers
    blocks = (
        f"layers.{last}",
        f"model.layers.{last}",
        f"model.language_model.layers.{last}",
        f"language_model.model.layers.{last}",
        "mtp.layers.0",
        "model.mtp.layers.0",
        "model.mtp_layers.0",
        "model.language_model.mtp.layers.0",
        "language_model.mtp.layers.0",
    )
    extra = ("mtp.fc", "mtp.0.attn.wq_a", "mtp.0.ffn.experts.0.w1", "model.mtp_block.0.mlp.up_proj")
    return [*(f"{block}.{tail}" for block in blocks for tail in tails), *extra]


SPELLED = ("none", "absent", "disk", "shards", "fused", "half_fused", "linears_only")
"""The lists of names that every method meets."""
EXPERTS = ("experts_module", "expert_0", "expert_1", "spellings", "heads", "bare_names")
"""Those that speak of experts and heads, or in other words."""
TELLING = ("none", "disk", "shards", "half_fused")
"""Those that tell most of a scheme, or of a variant."""


def wild(method: str, names: Names) -> dict[str, Unquantized]:
    """The entries of a method that are no plain names, as `schemes.json` has them, by name."""
    linears = (*names.linears, *names.experts)
    stem = anchored(linears).removeprefix("re:^").removesuffix(".*").rstrip(".\\")
    stem = stem.replace("\\", "")
    filled = {
        "{root}": f"{stem}.",
        "{stem}": stem,
        "{re}": re.escape(f"{stem}."),
        "{layers}": str(names.layers),
    }
    found: dict[str, Unquantized] = {}
    for name, keys in recipes.wild(method).items():
        text = json.dumps(keys)
        for mark, value in filled.items():
            text = text.replace(mark, json.dumps(value)[1:-1])
        found[name] = json.loads(text)
    return found


def mixed(names: Names) -> dict[str, Unquantized]:
    """The metadata that names what is quantized, by name."""
    return {
        **mixtures.questions(
            trunk=names.trunk,
            disk=names.disk,
            shards=[shards(name, names) for name in names.linears],
            fused=names.linears,
            experts=names.experts,
            weights=names.expert_weights,
        )
    }


def questions(family: str, variant: str, method: str) -> Iterator[Question]:
    """What to ask about one variant of a family."""
    if method != recording.MAIN:
        yield from _of_method(family, variant, method)
        return
    yield Question("", "absent")
    if variant != tiny.BASE:
        yield from (Question(MAIN, name) for name in NEAR)
        return
    yield from (Question(MAIN, name) for name in LISTS)
    for scheme in BRIEF if tiny.brief(family) else schemes(method):
        if scheme != MAIN:
            yield Question(scheme, "none")
        if scheme != MAIN and not scheme.startswith("targets:"):
            yield Question(scheme, "shards")


def _of_method(family: str, variant: str, method: str) -> Iterator[Question]:
    """Every list under the first scheme; some under the others, and for variants."""
    main, *others = (name for name in schemes(method) if recipes.fits(name, family))
    if recipes.unlisted(method):
        lists = TELLING[:2] if variant == tiny.BASE else ()
        yield from (Question(name, found) for name in (main, *others) for found in lists)
        return
    if variant != tiny.BASE:
        yield from (Question(main, name) for name in TELLING)
        return
    own = (name for name in recipes.wild(method) if recipes.fits(name, family))
    yield from (Question(main, name) for name in (*SPELLED, *EXPERTS, *own))
    for scheme in others:
        layered = "quantized_layers" in schemes(method)[scheme]
        yield from (Question(scheme, name) for name in (mixtures.NAMES if layered else TELLING))


LEAN = frozenset(
    (
        *(*TELLING, "block", "bare_star", "flat_excluded", "nested", *mixtures.NAMES),
        *("fused", "expert_1", "root", "whole_layers", "null", "lm_head", "lm_head_too"),
        *("headers:bf16", "headers:mixed", "headers:quantized"),
        *("plus_wins", "minus_first", "blocks_half", "blocks_trunk", "blocks_empty"),
        *("act_order", "act_order_channel", "asymmetric"),
        *("regex_shards", "regex_experts", "suffixes", "blocks_and_keys", "shard_regex"),
        *("experts_child", "layer_reversed", "layer_shards", "experts_module", "spellings"),
        *("stem", "parts", "by_name", "by_pattern", "eight_bits"),
    )
)
"""What is left of the lists where a recording is to be lean."""


def lean(asked: Iterable[Question], variant: str, method: str) -> Iterator[Question]:
    """The questions that tell releases apart: no variants, few lists."""
    main = next(iter(schemes(method)))
    for scheme, name in asked if variant == tiny.BASE else ():
        if name in LEAN and (scheme == main or name not in TELLING[2:]):
            yield Question(scheme, name)


LISTS = tuple(ignores(Names((), (), {}, (), (), ("", "", ""), 1)))
"""Names of all ignore lists."""


# --- asking ----------------------------------------------------------------------


def ask(server: Server, folder: Path, config: tiny.Config, *, past_failures: bool = True) -> Answer:
    """Asks about one configuration; of decisions, also those that an exception forestalls."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return server.ask(folder, tolerant=True, past_failures=past_failures)


def record(
    server: Server, family: str, method: str, command: str, *, brief: bool = False
) -> Recorder:
    """Asks everything about one family under one method, or in brief what tells most."""
    own = command if method != recording.MAIN else ""
    recorder = Recorder(family, schemes(method), command=own)
    with tempfile.TemporaryDirectory() as scratch:
        for variant in tiny.variants(family):
            asked = list(questions(family, variant, method))
            asked = list(lean(asked, variant, method)) if brief else asked
            if not asked:
                continue
            record_variant(server, recorder, variant, asked, Path(scratch))
            if recorder.refused == set(recorder.schemes):
                break  # whatever the variant
    return recorder


def record_variant(
    server: Server, recorder: Recorder, variant: str, asked: list[Question], scratch: Path
) -> None:
    """Asks about one variant of a family; once what vLLM refuses to read."""
    family, known = recorder.family, recorder.schemes
    method = next(iter(known.values()))["quant_method"]
    config = tiny.config(family, variant)
    main = schemes(recording.MAIN)[MAIN]
    first = ask(server, scratch, with_quantization(config, main, ["lm_head"]))
    recorder.patches = [patch for patch in first.patches if patch not in server.patches]
    names = names_of(family, variant, first)
    if any(failure.phase == "config" for failure in first.failures):
        asked = [question for question in asked if question.scheme][:1]
    wanted = {question.ignore for question in asked}
    lists = {**ignores(names), **wild(method, names), **mixed(names)}
    table = Variant(config, {name: found for name, found in lists.items() if name in wanted})
    recorder.variants[variant] = table
    for question in asked:
        if question.scheme in recorder.refused:
            continue
        scheme = known[question.scheme] if question.scheme else None
        changed = with_quantization(config, scheme, table.ignores[question.ignore])
        stored = headers.wanted(question.ignore)
        made = None if stored is None else headers.tensors(family, variant, method, stored)
        headers.place(scratch, made)
        answer = ask(server, scratch, changed, past_failures=bool(question.scheme))
        recorder.add(variant, *question, answer)
        refused = any(failure.phase == "config" for failure in answer.failures)
        if question.scheme and refused and not question.ignore.startswith("config:"):
            recorder.refused.add(question.scheme)  # whatever its list says
    told = {row["ignore"] for row in recorder.rows(variant)}
    table.ignores = {name: found for name, found in table.ignores.items() if name in told}


def record_release(
    release: str,
    home: Path,
    folder: Path,
    families: list[str],
    *,
    timeout: float,
    method: str = recording.MAIN,
    brief: bool = False,
) -> None:
    """Asks a release about families, and writes the answers into a folder.

    Raises:
        SystemExit: the environment holds another release.
    """
    python, pythonpath = environments.Home(home).make_for(release, method)
    with Server(python=python, pythonpath=pythonpath, timeout=timeout) as server:
        if server.about["vllm"].split("+")[0] != release:
            raise SystemExit(f"asked for {release}, found {server.about['vllm']}")
        command = f"python -m tools.record --release {release}"
        if method == recording.MAIN:
            made = {"command": command, **server.about, "patches": list(server.patches)}
            write_release(folder, release, made, schemes(method))
        else:
            command += f" --method {method}" + (" --lean" if brief else "")
        for family in families:
            begin = time.monotonic()
            recorder = record(server, family, method, command, brief=brief)
            recorder.write(folder / recording.name_of(family, method))
            seconds = time.monotonic() - begin
            print(f"{release} {family}: {recorder.summary()}, {seconds:.0f} s", flush=True)


def main() -> None:
    """Entry point."""
    options = arguments()
    release: str = options.release
    families = options.family or list(tiny.families())
    if unknown := [f"--family {family}" for family in families if not tiny.measured(family)]:
        raise SystemExit(f"first run: python -m tools.shapes {' '.join(unknown)}")
    folder = options.out / release
    record_release(
        release,
        options.home,
        folder,
        families,
        timeout=options.timeout,
        method=options.method,
        brief=options.lean,
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", required=True, choices=environments.releases())
    parser.add_argument("--family", action="append", choices=tiny.families(), help="repeatable")
    parser.add_argument("--method", default=recording.MAIN, choices=recipes.dialects())
    parser.add_argument("--lean", action="store_true", help="ask only what tells most")
    parser.add_argument("--home", type=Path, default=environments.HOME, help="see environments.py")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--timeout", type=float, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    main()
