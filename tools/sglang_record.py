"""Asks real SGLang releases what they build, and keeps the answers for the conformance tests.

    python -m tools.sglang_record --release 0.5.23 [--family mimo] [--lean] [--home DIR] [--out DIR]

Each question is a tiny configuration, a quantization configuration and an ignore list. No weights
and no GPU are needed; see `sglang_environment` for where the releases come from, and
`sglang_recording` for the file format. A release that is recorded again takes its old place.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtpfix.engines.sglang.live import CAPABILITY, Answer, Server
from tools import disk, mixtures, record, recording, schemes, sglang_recording, sglang_tiny, tiny
from tools.record import Names, Question
from tools.sglang_environment import HOME, Home, releases
from tools.sglang_recording import Column

Json = Any

MAIN = "ct-fp8-channel"
"""The scheme that meets every list."""
SCHEMES = (
    MAIN,
    "ct-w4a16",
    "ct-nvfp4",
    "fp8-block",
    "modelopt-fp8",
    "modelopt-nvfp4",
    "modelopt-mixed",
    "awq",
    "gptq",
    "quark-fp8",
    "auto-round",
)
LISTS = (
    *("none", "absent", "disk", "disk_regex", "vllm", "shards", "fused", "prefix_regex"),
    *("half_fused", "linears_only", "re_mtp", "re_layer", "spellings"),
)
"""The lists that the main scheme meets."""
TELLING = ("none", "disk", "vllm", "fused", "half_fused")
"""Those that the others meet."""
OWN = ("none", "fused", "half_fused")
"""Those that schemes of a family of its own meet."""
LEAN: dict[str, tuple[str, ...]] = {MAIN: ("none", "disk", "fused", "prefix_regex", "half_fused")}
LEAN |= dict.fromkeys(("fp8-block", "modelopt-fp8"), ("fused", "half_fused"))
LEAN |= {"modelopt-mixed": ("layers_nvfp4", "layers_fused")}
"""What a lean recording asks by scheme; of the others, the list that tells most (`fused`)."""
MIXED = (
    *("layers_nvfp4", "layers_fused", "layers_differ", "layers_disk"),
    *("layers_trunk_nvfp4", "layers_all_kinds", "layers_none"),
)
"""What is asked of layers with an algorithm each; without any NVFP4 another method reads them."""
MEMBERS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa"),
    "wqkv_a": ("wq_a", "wkv"),
}
"""What fused layers are made of on disk, whatever the mapping in force says."""
VLLM = "0.32.0"
"""The release of vLLM whose recordings say what it calls the draft's layers."""


def names_of(family: str, answer: Answer) -> Names:
    """Return the names of a draft: in SGLang from its answer, on disk from what is forged."""
    like = sglang_tiny.like(family)
    made = [m for m in answer.of("draft") if m.name]
    state = answer.quantization.get("draft")
    trunk = record.modules(tiny.tensors(like, tiny.BASE, "trunk"))
    return Names(
        linears=tuple(m.name for m in made if m.kind in ("linear", "lm_head")),
        experts=tuple(m.name for m in made if m.kind == "experts"),
        packed={**MEMBERS, **(state.packed if state else {})},
        disk=record.modules(tiny.tensors(like, tiny.BASE, "draft")),
        trunk=tuple(name for name in trunk if "layers.0." in name),
        expert_weights=tuple(filter(None, disk.expert_names(like))),
        layers=tiny.text(sglang_tiny.config(family))["num_hidden_layers"],
    )


def vllm_names(family: str) -> list[str]:
    """Return what vLLM calls the layers of the draft, fused ones and their shards."""
    name = recording.name_of(sglang_tiny.like(family), recording.MAIN)
    cases = recording.read(record.OUT / VLLM / name)
    case = next(case for case in cases if case.scheme == MAIN)
    names = [o.module.name for o in case.outcomes if o.module.part == "draft"]
    shards = [
        f"{name.rpartition('.')[0]}.{member}"
        for name in names
        for member in case.packed.get(name.rpartition(".")[2], ())
    ]
    return [*names, *shards]


def ignores(family: str, names: Names) -> dict[str, Json]:
    """Return every list, by name."""
    plain = record.ignores(names)
    fused = ["lm_head", *names.linears, *names.experts, *record.experts(names)]
    trunk = mixtures.layers(names.trunk, "NVFP4")
    own = {
        "vllm": ["lm_head", *vllm_names(family)],
        "fused": fused,
        "layers_nvfp4": {"quantized_layers": mixtures.layers([*names.trunk, *names.disk], "NVFP4")},
        "layers_trunk_nvfp4": {"quantized_layers": trunk, "ignore": list(names.disk)},
    }
    return {**plain, **record.mixed(names), **own}


def questions(family: str, *, lean: bool) -> Iterator[Question]:
    """Return what to ask about a family."""
    yield Question("", "absent")
    for scheme in sglang_tiny.schemes(family):
        yield from (Question(scheme, name) for name in OWN)
    if lean:
        for scheme in (MAIN,) if sglang_tiny.brief(family) else SCHEMES:
            yield from (Question(scheme, name) for name in LEAN.get(scheme, ("fused",)))
        return
    yield from (Question(MAIN, name) for name in LISTS)
    if sglang_tiny.brief(family):
        yield from (Question(scheme, "none") for scheme in ("fp8-block", "modelopt-nvfp4"))
        return
    for scheme in SCHEMES[1:]:
        lists = MIXED if scheme == "modelopt-mixed" else TELLING
        yield from (Question(scheme, name) for name in lists)


def stated(family: str) -> dict[str, Json]:
    """Return the quantization configurations that a family is asked about, by name."""
    common = {name: schemes.quantization(name) for name in SCHEMES}
    return {**common, **sglang_tiny.schemes(family)}


def ask(server: Server, folder: Path, config: tiny.Config, told: dict[str, Json]) -> Answer:
    """Ask about one configuration, decisions that an exception forestalls included."""
    for file in folder.iterdir():
        file.unlink()
    for name, value in {"config.json": config, **schemes.companions(config)}.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return server.ask(folder, tolerant=True, past_failures=True, arguments=told)


def column(server: Server, family: str, *, lean: bool) -> Column:
    """Ask everything about one family; once what SGLang does not know."""
    config = sglang_tiny.config(family)
    known = stated(family)
    found = Column(config, known)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain = recording.with_quantization(config, known[MAIN], ["lm_head"])
        told = sglang_tiny.arguments(config)
        first = ask(server, folder, plain, told)
        found.ignores = ignores(family, names_of(family, first))
        asked = list(questions(family, lean=lean))
        if not first.decisions:
            asked = [Question(MAIN, "none")]
        for question in asked:
            if question == (MAIN, "none"):
                found.add(*question, first)
                continue
            scheme = known[question.scheme] if question.scheme else None
            ignore = found.ignores[question.ignore]
            changed = recording.with_quantization(config, scheme, ignore)
            found.add(*question, ask(server, folder, changed, told))
    return found


def record_release(
    release: str, families: Sequence[str], *, home: Path, out: Path, lean: bool, capability: str
) -> None:
    """Ask a release about families, and write the answers into their files."""
    name = release if capability == CAPABILITY else f"{release}@{capability}"
    with Home(home).server(release, capability=capability) as server:
        if server.about["sglang"] != release:
            raise SystemExit(f"asked for {release}, found {server.about['sglang']}")
        about = {**server.about, "patches": list(server.patches)}
        for family in families:
            begin = time.monotonic()
            made = column(server, family, lean=lean)
            path = out / f"{family}{sglang_recording.END}"
            put(path, family, name, made.table(about))
            seconds = time.monotonic() - begin
            print(f"{name} {family}: {made.summary()}, {seconds:.0f} s", flush=True)


def put(path: Path, family: str, name: str, table: dict[str, Json]) -> None:
    """Put a column into the file of a family."""
    old = sglang_recording.load(path)["columns"] if path.exists() else {}
    columns = {**old, name: table}
    data = {
        "schema": sglang_recording.SCHEMA,
        "engine": "sglang",
        "capability": CAPABILITY,
        "family": family,
        "config": sglang_tiny.config(family),
        "schemes": stated(family),
        "columns": {key: columns[key] for key in sorted(columns)},
    }
    sglang_recording.save(path, data)


def main() -> None:
    """Entry point."""
    options = arguments()
    record_release(
        options.release,
        options.family or sglang_tiny.families(),
        home=options.home,
        out=options.out,
        lean=options.lean,
        capability=options.capability,
    )


def arguments() -> argparse.Namespace:
    """Return the command line."""
    known = sglang_tiny.families()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", required=True, choices=releases())
    parser.add_argument("--family", action="append", choices=known, help="repeatable")
    parser.add_argument("--lean", action="store_true", help="ask only what tells most")
    parser.add_argument("--capability", default=CAPABILITY, help="of the device that is shown")
    parser.add_argument("--home", type=Path, default=HOME, help="see sglang_environment.py")
    parser.add_argument("--out", type=Path, default=sglang_recording.FOLDER)
    return parser.parse_args()


if __name__ == "__main__":
    main()
