"""Searches what a method can say for metadata that a refused checkpoint would load clean with.

    python -m tools.search_schemes --python VLLM_PYTHON [PART ...] [--family F ...] [--new]

A refusal is a claim: no metadata help. It is asked for every checkpoint that `tools.prove_schemes`
has on record as refused. Each part of the block (attention, experts, other MLPs, the rest) is
stated as unquantized or as quantized, and what is quantized by each scheme that the method knows,
under every name that vLLM asks about; vLLM loads each of them. mtpfix takes no part in it. What
came of it is kept in `scheme_searches.json` and shown on `docs/scheme-proof.md`, one checkpoint
after the other: what was stopped goes on with `--new`. Exits 1 if metadata were found that load
clean.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from mtpfix.engines.vllm.live import Server
from tools import blocks, schemes, tiny
from tools.block_metadata import forms, write
from tools.blocks import Asked
from tools.environments import HOME, Home, releases
from tools.forge import Forged
from tools.prove import outcome
from tools.record import Names, names_of
from tools.scheme_record import RECORD as PROOFS
from tools.scheme_record import SEARCHES, Search

ATTENTION = ("attn", "attention", "mixer")
SHOWN = 3
"""Outcomes that are kept of a search, the most frequent ones."""


def search(server: Server, asked: Asked, folder: Path, limit: int) -> Search:
    """Have vLLM load one checkpoint with all metadata, and return what was found.

    Args:
        server: a running vLLM.
        asked: the checkpoint.
        folder: an empty folder.
        limit: the most metadata that are tried.
    """
    made = asked.made(folder / "model")
    tried, clean, others = 0, [], Counter[str]()
    for said in _all_metadata(server, asked, made, folder / "tried"):
        if tried == limit:
            break
        tried += 1
        came = outcome(server.ask(folder / "tried", load=True))
        if came.startswith("clean"):
            clean.append(said)
        else:
            others[came] += 1
    common = tuple(f"{number} x {came}" for came, number in others.most_common(SHOWN))
    return Search(_release(server), asked, tried, tuple(clean), common)


def _all_metadata(server: Server, asked: Asked, made: Forged, folder: Path) -> Iterator[str]:
    """Yield metadata in words, each while a copy of the checkpoint has them.

    Some drafts ask about more layers once nothing is stated of them, so both names are taken. A
    draft that asks nothing looks for its metadata in the text configuration: it gets a copy there.
    """
    shutil.copytree(made.folder, folder)
    answers = [server.ask(made.folder, tolerant=True)]
    copied = not answers[0].of("draft")
    if copied:
        _copy_metadata(folder)
        answers = [server.ask(folder, tolerant=True)]
    names = names_of(asked.family, asked.variant, answers[0])
    plain = forms(names, names.linears, names.experts)
    write(asked, made, folder, quantized=(), plain=plain)
    answers.append(server.ask(folder, tolerant=True))
    both = [names_of(asked.family, asked.variant, answer) for answer in answers]
    parts = _parts(_joined(*both))
    for scheme in _of_method(asked):
        for choice in product((True, False), repeat=len(parts)):
            quantized = [name for name, taken in zip(parts, choice, strict=True) if taken]
            if not quantized and scheme != asked.trunk:
                continue  # nothing is quantized whatever the scheme
            rest = [name for name in parts if name not in quantized]
            stated = [name for part in quantized for name in parts[part]]
            plain = [name for part in rest for name in parts[part]]
            write(asked, made, folder, quantized=stated, plain=plain, block=scheme)
            said = f"{scheme}: {', '.join(quantized) or 'nothing'}"
            if copied:
                _copy_metadata(folder)
                said = f"{said}, and a copy in the text configuration"
            yield said


def _copy_metadata(folder: Path) -> None:
    """Write the metadata into the text configuration too, if there is one."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if "text_config" in config:
        config["text_config"]["quantization_config"] = config["quantization_config"]
        file.write_text(json.dumps(config), encoding="utf-8")


def _of_method(asked: Asked) -> list[str]:
    """Return the schemes that are stated by the method of a checkpoint alone."""
    known = {**schemes.named(), **schemes.of_blocks()}
    method = schemes.dialect(asked.trunk)
    return [n for n in known if schemes.dialect(n) == method and "+" not in n and "mixed" not in n]


def _joined(one: Names, other: Names) -> Names:
    """Return the names that a draft has under one metadata or another."""
    linears = dict.fromkeys((*one.linears, *other.linears))
    experts = dict.fromkeys((*one.experts, *other.experts))
    packed = {**one.packed, **other.packed}
    return one._replace(linears=tuple(linears), experts=tuple(experts), packed=packed)


def _parts(names: Names) -> Mapping[str, list[str]]:
    """Return the names of a draft by part of the block; a part that it lacks is left out."""
    linears: dict[str, list[str]] = {"attention": [], "MLP": [], "rest": []}
    for name in names.linears:
        linears[_part(name)].append(name)
    found = {part: forms(names, some, ()) for part, some in linears.items() if some}
    return {**found, **({"experts": forms(names, (), names.experts)} if names.experts else {})}


def _part(name: str) -> str:
    if any(f"{word}." in name for word in ATTENTION):
        return "attention"
    return "MLP" if "mlp." in name or "ffn" in name else "rest"


def _release(server: Server) -> str:
    release: str = server.about["vllm"].split("+")[0]
    return release


def searches(server: Server, args: argparse.Namespace) -> Iterator[tuple[str, Search]]:
    """Yield what was found for the refusals on record, each with its part of the page."""
    release = _release(server)
    before = SEARCHES.kept() if args.new else {}
    searched = {(part, s.asked) for part in before for s in before[part] if s.release == release}
    for part, proofs in PROOFS.kept().items():
        for proof in proofs:
            skipped = (bool(args.part) and part not in args.part) or (part, proof.asked) in searched
            other = bool(args.family) and proof.asked.family not in args.family
            if skipped or other or not proof.refused or proof.release != release:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                found = search(server, proof.asked, Path(scratch), args.limit)
            print(f"{proof.asked}: {found.tried} tried, clean: {found.clean}", flush=True)
            yield part, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", help=", ".join(blocks.PARTS))
    running = parser.add_mutually_exclusive_group(required=True)
    running.add_argument("--python", help="interpreter of an environment with vLLM")
    running.add_argument("--release", choices=releases(), help="made by tools.environments")
    parser.add_argument("--family", action="append", choices=tiny.families())
    parser.add_argument("--new", action="store_true", help="those alone that are not on record")
    parser.add_argument("--limit", type=int, default=200, help="most metadata for a checkpoint")
    args = parser.parse_args(arguments)
    found = 0
    vllm = Home(HOME).server(args.release) if args.release else Server(python=args.python)
    with vllm as server:
        for part, one in searches(server, args):
            SEARCHES.keep({part: [one]})
            found += len(one.clean)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
