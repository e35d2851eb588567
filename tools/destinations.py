"""Records where the draft's loader puts a tensor of each name, release by release.

    python -m tools.destinations --release 0.32.0 [--family mimo] [--home DIR]
    python -m tools.destinations --page > docs/loading.md

The names are those that the family has on disk, vLLM's own names of its parameters, the parts
of fused layers, the names that other families have, and some that no family has. The answers
of all releases stand in one file a family below `tests/destinations/recorded/`: `parameters`
lists those of the draft, `names` what came of a tensor. Equal answers of releases that follow
each other are written once, under the first and the last of them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mtpfix.engines.policies.construction import disk_roots, newest
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.live import Answer, Server
from tools import disk, environments, tiny
from tools.disk import Tensors
from tools.record import OUT, ask
from tools.recording import with_quantization

FOLDER = OUT.parent / "destinations" / "recorded"
STRANGE = (
    "rot.weight",
    "hc_attn_base",
    "hc_ffn_fn",
    "extra.weight",
    "self_attn.extra.weight",
    "mlp.extra.weight",
    "mlp.experts.0.extra.weight",
    "mlp.experts.999.down_proj.weight",
    "input_layernorm.bias",
    "self_attn.o_proj.bias",
    "self_attn.q_proj.bias",
    "self_attn.k_scale",
    "self_attn.kv_scale",
    "self_attn.o_proj.extra",
    "self_attn.rotary_emb.inv_freq",
    "shared_head.extra.weight",
    "mlp.gate.wg.weight",
    "mlp.gate.bias",
    "mlp.router.gate.weight",
    "mlp.experts.gate_up_proj",
    "mlp.experts.down_proj",
    "mlp.gate_and_up_proj.weight",
    "final_layernorm.weight",
    "layer_norm.weight",
    "self_attn.dense.weight",
    "self_attn.query_key_value.weight",
)
"""Names in an MTP layer that some checkpoint may have, and that hardly any family knows: those
that variants of a family are asked about too."""
COMMON = 4
"""Families that have a name which all others are asked about."""
ALONE = 2
"""Tensors of a module that stands for itself."""
_LAYER = re.compile(r"layers\.\d+\.")
_OTHER_EXPERT = re.compile(r"\.experts\.(?!0\.|999\.)\d+\.")
SIZE = ([256, 256], "bfloat16")
"""Of a tensor that vLLM has no parameter for, as far as is known."""

Names = dict[str, Any]


def stored(family: str, variant: str) -> Names:
    """What a checkpoint of a tiny configuration holds: shapes and dtypes by name."""
    found = (s for part in ("trunk", "draft") for s in tiny.tensors(family, variant, part))
    return {each.name: (list(each.shape), each.dtype) for each in found}


def draft_names(family: str, variant: str) -> list[str]:
    """Names of the draft's tensors on disk, expert 0 for all."""
    names = [each.name for each in tiny.tensors(family, variant, "draft")]
    return [name for name in names if not _OTHER_EXPERT.search(name)]


def layer_prefixes(family: str, variant: str) -> list[str]:
    """What names of tensors in an MTP layer begin with, the block's own prefix included.

    Modules that stand for themselves, beside the block, are asked about by their names alone.
    """
    config = tiny.config(family, variant)
    known = policy.policy(policy.recognise(config) or family)
    roots = disk_roots(known, newest(known, config))
    found: Counter[str] = Counter()
    for name in draft_names(family, variant):
        root = next((root for root in roots if name.startswith(root)), None)
        if root is not None:
            inner = _LAYER.match(name[len(root) :])
            found[root + (inner[0] if inner else "")] += 1
    most = max(found.values(), default=0)
    return [prefix for prefix, names in found.items() if names > max(ALONE, most // 3)]


@cache
def vocabulary() -> tuple[str, ...]:
    """Names in an MTP layer that several families have, and some that none has."""
    found: Counter[str] = Counter()
    for family in tiny.families():
        for name in draft_names(family, tiny.BASE):
            for prefix in sorted(layer_prefixes(family, tiny.BASE), key=len, reverse=True):
                if name.startswith(prefix):
                    found[name[len(prefix) :]] += 1
                    break
    return (*STRANGE, *(name for name, times in found.items() if times >= COMMON))


def parts(name: str, family: str) -> Iterator[str]:
    """The names of the parts, if `name` is that of a fused layer, and the name itself."""
    yield name
    for fused, pieces in disk.fused_layers(family).items():
        if f".{fused}." in name:
            yield from (name.replace(f".{fused}.", f".{piece}.") for piece in pieces)


def asked(family: str, variant: str, parameters: Tensors) -> Names:
    """The names to ask about, with the size that a tensor of the name would have.

    Args:
        family: a tiny model (`tools.tiny`).
        variant: a variant of it.
        parameters: those of the draft.
    """
    held = stored(family, variant)
    prefixes = layer_prefixes(family, variant)
    names = dict.fromkeys(draft_names(family, variant))
    own = {_inner(name): size for name, size in parameters.items() if "experts." not in name}
    for prefix in prefixes:
        held = {**{prefix + inner: size for inner, size in own.items()}, **held}
    for prefix in prefixes:
        for inner in (*own, *(vocabulary() if variant == tiny.BASE else STRANGE)):
            names.update(dict.fromkeys(parts(prefix + inner, family)))
    return {name: held.get(name, SIZE) for name in names}


def _inner(parameter: str) -> str:
    """The path of a parameter below its layer, without what vLLM puts between."""
    return re.sub(
        r"^.*layers\.\d+\.|^model\.|(?<=\.)(mtp_block|transformer_layer)\.", "", parameter
    )


def record(server: Server, family: str, variant: str) -> tuple[Answer, Answer]:
    """What one release says of a variant: of its parameters, and of the names."""
    config = with_quantization(tiny.config(family, variant), None, None)
    with tempfile.TemporaryDirectory() as scratch:
        first = ask(server, Path(scratch), config)
        names = asked(family, variant, dict(first.parameters["draft"]))
        return first, server.ask(Path(scratch), names=names, past_failures=True)


# --- files ---------------------------------------------------------------------

Ranges = dict[str, Any]
"""`FIRST-LAST` release -> what holds from the one to the other."""


def merged(old: Ranges, release: str, value: Any, releases: Sequence[str]) -> Ranges:
    """The ranges with the answer of one more release; equal neighbours are joined.

    Args:
        old: the ranges as they are.
        release: whose answer `value` is.
        value: the answer; None takes the release out.
        releases: all of them, the oldest first.
    """
    each = {name: found for name, found in spread(old, releases).items() if name != release}
    if value is not None:
        each[release] = value
    found: Ranges = {}
    runs: list[tuple[list[str], Any]] = []
    for name in releases:
        if name not in each:
            runs.append(([], None))
        elif runs and runs[-1][0] and runs[-1][1] == each[name]:
            runs[-1][0].append(name)
        else:
            runs.append(([name], each[name]))
    for names, answer in runs:
        if names:
            found[f"{names[0]}-{names[-1]}"] = answer
    return found


def spread(ranges: Ranges, releases: Sequence[str]) -> Ranges:
    """The same by release."""
    found = {}
    for text, value in ranges.items():
        first, last = text.split("-")
        for name in releases[releases.index(first) : releases.index(last) + 1]:
            found[name] = value
    return found


def update(path: Path, release: str, variants: Mapping[str, tuple[list[str], Names]]) -> None:
    """Puts the answers of one release into the file of a family.

    A variant that the release does not build has no answers, and none that it had before.
    """
    releases = list(reversed(environments.releases()))
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for variant, (parameters, names) in variants.items():
        rows = old.setdefault(variant, {"parameters": {}, "names": {}})
        rows["parameters"] = merged(rows["parameters"], release, parameters or None, releases)
        for name in dict.fromkeys((*rows["names"], *names)):
            ranges = merged(rows["names"].get(name, {}), release, names.get(name), releases)
            rows["names"][name] = ranges
        rows["names"] = {name: ranges for name, ranges in rows["names"].items() if ranges}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(old), encoding="utf-8")


def _text(data: Names) -> str:
    """JSON, a line for each name."""
    blocks = []
    for variant, rows in data.items():
        tables = []
        for key, table in rows.items():
            lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in table.items())
            tables.append(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n }")
        blocks.append(f"{json.dumps(variant)}: {{\n" + ",\n".join(tables) + "\n}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def answers(answer: Answer) -> Names:
    """What came of each name: a parameter, `""` where it is dropped, `!` and the exception."""
    return {
        name: found[0] if len(found) == 1 else list(found) for name, found in answer.names.items()
    }


# --- a page ----------------------------------------------------------------------

_TOP = """# What the draft's loader does with names

Every release's loader was asked about each name that a family has, about vLLM's own names, and
about names that nothing should take (`python -m tools.destinations`). A tensor is taken by a
parameter, dropped, or ends the load with an exception. The last column lists the names that a
loader takes beside the ones that checkpoints of the family are known to have; `tests/destinations`
holds the policies to every row.

| family | releases asked | names | taken | dropped | raising | other names that are taken |
|---|---|---:|---:|---:|---:|---|
"""
_MOST = 6
"""Names that a cell shows."""


def page() -> str:
    """The recordings as a Markdown table."""
    order = list(reversed(environments.releases()))
    rows = (_row(path, order) for path in sorted(FOLDER.glob("*.json")))
    return _TOP + "\n".join(rows) + "\n"


def _row(path: Path, order: Sequence[str]) -> str:
    """One family, by its plain variant in the newest release that was asked."""
    rows = json.loads(path.read_text(encoding="utf-8"))[tiny.BASE]
    asked_of = [release for release in order if release in spread(rows["parameters"], order)]
    known = {each.name for each in tiny.tensors(path.stem, tiny.BASE, "draft")}
    answers_of = {name: spread(ranges, order) for name, ranges in rows["names"].items()}
    newest = {
        name: found[asked_of[-1]] for name, found in answers_of.items() if asked_of[-1] in found
    }
    kinds = Counter(_kind(answer) for answer in newest.values())
    others = [
        f"`{name}`" + _when(found, asked_of)
        for name, found in answers_of.items()
        if name not in known and "taken" in map(_kind, found.values())
    ]
    more = f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
    counted = f"{kinds['taken']} | {kinds['dropped']} | {kinds['raising']}"
    span = f"{asked_of[0]} to {asked_of[-1]} ({len(asked_of)})"
    return (
        f"| {path.stem} | {span} | {len(newest)} | {counted} | {', '.join(others[:_MOST])}{more} |"
    )


def _kind(answer: str | list[str]) -> str:
    if isinstance(answer, str) and answer.startswith("!"):
        return "raising"
    return "taken" if answer else "dropped"


def _when(found: Mapping[str, str], asked_of: Sequence[str]) -> str:
    """In which releases a name is taken, where it is not in all."""
    taken = [release for release in asked_of if _kind(found.get(release, "")) == "taken"]
    return "" if len(taken) == len(asked_of) else f" ({', '.join(taken)})"


def main() -> None:
    """Entry point."""
    parser = environments.recorder(__doc__, tiny.families())
    parser.add_argument("--page", action="store_true", help="print what is recorded")
    options = parser.parse_args()
    if options.page:
        print(page(), end="")
        return
    with environments.Home(options.home).server(options.release) as server:
        for family in options.family or tiny.families():
            found: dict[str, tuple[list[str], Names]] = {}
            for variant in tiny.variants(family):
                first, second = record(server, family, variant)
                failed = first.failures or second.failures
                found[variant] = (
                    ([], {}) if failed else (list(first.parameters["draft"]), answers(second))
                )
                print(f"{family}/{variant}: {len(second.names)} names {failed or ''}", flush=True)
            update(FOLDER / f"{family}.json", options.release, found)


if __name__ == "__main__":
    main()
