"""Writes `docs/two-engines-proof.md`, from what `tools.prove_two_engines` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tools.prove import named
from tools.tables import table
from tools.two_engines_record import NO_DRAFT, SCHEMES, UNFIT, Proof, Seen

PAGE = Path(__file__).parents[1] / "docs" / "two-engines-proof.md"
HEAD = """\
# One list for vLLM and SGLang, proved by loading

Made by `python -m tools.prove_two_engines --page` from `tools/two_engines_proofs.json`, which
`python -m tools.prove_two_engines --python VLLM_PYTHON` fills, on tiny but real checkpoints. The
target model is quantized, the MTP block is in BF16, and the metadata do not say so. A real SGLang
and a real vLLM, made to build what they build for CUDA, load the draft

1. as the checkpoint is;
2. after `mtpfix rewrite --engine vllm --sglang RELEASE`, which writes one list for both;
3. where that leaves SGLang wrong, with the folder of `mtpfix override --sglang RELEASE`.

*Clean* means that no parameter is uninitialised or cast to FP8. Besides, every row was checked for
this: mtpfix foresaw whether each engine loads the draft clean, before and after; no decision of
either engine about the target model has changed; where SGLang is not served in the end, mtpfix
says so. SGLang loads the draft alone here. Whether it loads the target model is for `mtpfix inspect
--sglang RELEASE` to say: experts of DeepSeek-V4 in NVFP4 are refused on a Hopper, and HY4 loads no
format whose scales are called `weight_scale`.

"""
COLUMNS = (
    *("family", "SGLang", "vLLM", "entries", "SGLang after", "vLLM after"),
    *("SGLang with a draft folder", "faults"),
)


def page(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return proofs as a page of the documentation."""
    parts = [HEAD, _summary(found), _unfit(), _ways(found)]
    for scheme, rows in found.items():
        pairs = sorted({f"SGLang {row.release} and vLLM {row.vllm}" for row in rows})
        parts.append(f"\n## {SCHEMES[scheme]}\n\n{'; '.join(pairs)}.\n\n")
        parts.append(table(COLUMNS, map(_cells, rows)))
    return "".join(parts)


def _summary(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return a table of how many checkpoints each engine loads clean, and by what."""
    heads = (
        *("scheme", "checkpoints", "before: SGLang", "vLLM"),
        *("SGLang in the end", "by one list", "by a draft folder", "vLLM in the end", "faults"),
    )
    rows = []
    for scheme, proofs in found.items():
        ways = Counter(proof.way for proof in proofs)
        ends = [proof.after or proof.before for proof in proofs]
        numbers = (
            len(proofs),
            sum(_clean(proof.before.sglang) for proof in proofs),
            _of(proof.before.vllm for proof in proofs),
            len(proofs) - ways["nothing"],
            ways["one list"],
            ways["draft folder"],
            _of(end.vllm for end in ends),
            sum(bool(proof.faults) for proof in proofs),
        )
        rows.append((SCHEMES[scheme], *map(str, numbers)))
    return table(heads, rows)


def _unfit() -> str:
    """Return which families are left out, and why."""
    said = "".join(f"- {family}: {why}.\n" for family, why in UNFIT.items())
    return f"\nLeft out, since no checkpoint of theirs is forged that SGLang loads:\n\n{said}"


def _ways(found: Mapping[str, Sequence[Proof]]) -> str:
    """Return a table of what serves SGLang: a row a family, a column a scheme."""
    ways = {
        (proof.asked.family, scheme): proof.way
        for scheme, proofs in found.items()
        for proof in proofs
    }
    families = dict.fromkeys(family for family, _ in ways)
    rows = [(f, *(ways.get((f, scheme), "") for scheme in found)) for f in families]
    return "\n## What serves SGLang\n\n" + table(
        ("family", *(SCHEMES[scheme] for scheme in found)), rows
    )


def _clean(outcome: str) -> bool:
    return outcome.startswith("clean")


def _of(outcomes: Iterable[str]) -> str:
    """Return how many are clean of those that vLLM drafts."""
    drafted = [outcome for outcome in outcomes if outcome != NO_DRAFT]
    return f"{sum(map(_clean, drafted))} of {len(drafted)}"


def _cells(row: Proof) -> tuple[str, ...]:
    after = row.after or Seen("", "")
    last = row.folder or ""
    return (
        row.asked.family,
        row.before.sglang,
        row.before.vllm,
        named(row.added) if row.added else row.refused or "none",
        after.sglang,
        after.vllm,
        "; ".join(filter(None, (last, row.unhelped))),
        "; ".join(row.faults),
    )
