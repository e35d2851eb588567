"""The tables of hostile checkpoints and of writers: what mtpfix does, and what others do.

    python -m tests.faults.peers > docs/hostile.md

Each peer runs in a process of its own, which is stopped after some seconds: some of them wait for
ever. `tests/faults/test_hostile.py` holds the columns of mtpfix.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.faults import hostile, writers

SECONDS = 15
"""Seconds after which a peer is stopped."""


WRITING = "## Writers"
"""Heads the second table."""


class Peer(NamedTuple):
    """Somebody else who reads what is spoilt, or writes it.

    Attributes:
        package: whose version is told.
        imports: what it needs, which is not what is measured.
        code: what it does with a `folder`; prints what became of it.
    """

    package: str
    imports: str
    code: str


PEERS = {
    "safetensors": Peer(
        "safetensors",
        "from safetensors import safe_open",
        """
with safe_open(folder + "/model.safetensors", "np") as file:
    list(file.keys())
print("reads it")
""",
    ),
    "huggingface_hub": Peer(
        "huggingface_hub",
        "from huggingface_hub import get_local_safetensors_metadata",
        """
get_local_safetensors_metadata(folder)
print("reads it")
""",
    ),
    "compressed-tensors": Peer(
        "compressed-tensors",
        """
import torch
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_named_modules
model = torch.nn.Linear(8, 8)
for part in ("qkv_proj", "self_attn", "2", "layers", "model"):
    model = torch.nn.ModuleDict({part: model})
""",
        """
with open(folder + "/config.json") as file:
    read = QuantizationConfig.model_validate(json.load(file)["quantization_config"])
targets = [target for group in read.config_groups.values() for target in group.targets]
list(match_named_modules(model, targets, read.ignore))
print("reads it")
""",
    ),
    "update_config": Peer(
        "compressed-tensors",
        """
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig
group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}
known = QuantizationConfig(config_groups={"group_0": group}, ignore=["lm_head"])
""",
        """
ModelCompressor(quantization_config=known).update_config(folder)
print("writes it")
""",
    ),
}
"""How each is asked; `update_config` is what compressed-tensors writes `config.json` with."""
_BEGIN = "import json, sys, warnings; warnings.simplefilter('ignore'); folder = sys.argv[1]\n"
_READY = "\nprint(flush=True)\n"
"""When everything is imported, which is not what is measured."""


def said(peer: str, folder: Path) -> str:
    """What a peer does with a folder."""
    code = _BEGIN + PEERS[peer].imports + _READY + PEERS[peer].code
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_bounded,  # noqa: PLW1509 - no threads here
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            done, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"still at it after {SECONDS} s"
    if process.returncode == 0:
        return done.strip()
    if process.returncode < 0:
        return f"dies of signal {-process.returncode}"
    lines = error.replace(str(folder), "FOLDER").splitlines()
    lines = [line for line in lines if line and not line.startswith(" ")]
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1])
    return last.rpartition(".")[2] if ":" not in last else _short(last)


def _short(line: str) -> str:
    kind, _, text = line.partition(":")
    return f"{kind.rpartition('.')[2]}: {text.strip()}"


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


def row(case: hostile.Case, peers: bool = True) -> tuple[str, ...]:
    """One row: what it is, exit code, line, and what the peers do."""
    with TemporaryDirectory() as place:
        folder = hostile.made(case, Path(place))
        seen = hostile.judged(folder, case)  # first: some peers write
        asked = case.peers.split() if peers else []
        named = [f"{peer}: {said(peer, folder.path)}" for peer in asked]
    return case.about, str(seen.code), seen.line, "; ".join(named)


def cell(text: str, limit: int = 230) -> str:
    """A text as it may stand in a table."""
    cut = text if len(text) <= limit else f"{text[: limit - 60]}…{text[-59:]}"
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def page(rows: list[tuple[str, ...]], written: list[tuple[str, ...]]) -> str:
    """The whole page: what is read, and what is written."""
    packages = dict.fromkeys(peer.package for peer in PEERS.values())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    lines = [
        "# Hostile checkpoints",
        "",
        "Made by `python -m tests.faults.peers`; held by `tests/faults/test_hostile.py`. The line",
        "is the first that `mtpfix check` prints; a hint follows each error. Exit code 2: it",
        "cannot be read; 3: not judged; 1: a finding; 4: it changed meanwhile. Beside it stands",
        f"what others do with the same file ({versions};",
        f"each is stopped after {SECONDS} s), where they have the feature. `update_config` is the",
        "call that compressed-tensors writes `config.json` with.",
        "",
        *_table(("input", "code", "the line that is seen", "others"), rows),
        "",
        WRITING,
        "",
        "What is left of an old `config.json` where its writer gets no further than half of the",
        "new one, and what becomes of a file behind a link",
        f"(transformers {version('transformers')}):",
        "",
        *_table(("writer", *writers.ASKED), written),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield _line(head)
    yield f"|{'---|' * len(head)}"
    yield from (_line(map(cell, row)) for row in rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs every case and every writer, and prints the page."""
    rows = []
    for case in hostile.CASES.values():
        rows.append(row(case))
        print(json.dumps(rows[-1][:3])[:300], file=sys.stderr, flush=True)
    sys.stdout.write(page(rows, [writers.row(writer) for writer in writers.WRITERS]))


if __name__ == "__main__":
    main()
