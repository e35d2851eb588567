"""The table of hostile checkpoints: what mtpfix says of each, and what others do with the same.

    python -m tests.faults.peers > docs/hostile.md

Each peer runs in a process of its own, which is stopped after some seconds: some of them wait for
ever. `tests/faults/test_hostile.py` holds the columns of mtpfix.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import hostile

SECONDS = 15
"""Seconds after which a peer is stopped."""
_IMPORTS = {
    "safetensors": "from safetensors import safe_open",
    "huggingface_hub": "from huggingface_hub import get_local_safetensors_metadata",
}
_CODE = {
    "safetensors": """
with safe_open(folder + "/model.safetensors", "np") as file: list(file.keys())""",
    "huggingface_hub": """
get_local_safetensors_metadata(folder)""",
}
_BEGIN = "import json, sys, warnings; warnings.simplefilter('ignore'); folder = sys.argv[1]\n"
_READY = "\nprint(flush=True)\n"
"""When everything is imported, which is not what is measured."""


def said(peer: str, folder: Path) -> str:
    """What a peer does with a folder."""
    code = _BEGIN + _IMPORTS[peer] + _READY + _CODE[peer]
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
            error = process.communicate(timeout=SECONDS)[1].replace(str(folder), "FOLDER")
        except subprocess.TimeoutExpired:
            process.kill()
            return f"still at it after {SECONDS} s"
    if process.returncode == 0:
        return "reads it"
    if process.returncode < 0:
        return f"dies of signal {-process.returncode}"
    lines = [line for line in error.splitlines() if line and not line.startswith(" ")]
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
        others = [said(peer, folder.path) for peer in case.peers.split()] if peers else []
        named = [f"{peer}: {text}" for peer, text in zip(case.peers.split(), others, strict=False)]
        seen = hostile.judged(folder, case)
    return case.about, str(seen.code), seen.line, "; ".join(named)


def cell(text: str, limit: int = 230) -> str:
    """A text as it may stand in a table."""
    cut = text if len(text) <= limit else f"{text[: limit - 60]}…{text[-59:]}"
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def page(rows: list[tuple[str, ...]]) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version(name)}" for name in _CODE)
    lines = [
        "# Hostile checkpoints",
        "",
        "Made by `python -m tests.faults.peers`; held by `tests/faults/test_hostile.py`. The line",
        "is the first that `mtpfix check` prints; a hint follows each error. Exit code 2: it",
        "cannot be read; 3: not judged; 1: a finding; 4: it changed meanwhile. Beside it stands",
        f"what others do with the same file ({versions}; each",
        f"is stopped after {SECONDS} s), where they have the feature.",
        "",
        "| input | code | the line that is seen | others |",
        "|---|---|---|---|",
        *(f"| {' | '.join(cell(text) for text in row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs every case and prints the page."""
    rows = []
    for case in hostile.CASES.values():
        rows.append(row(case))
        print(json.dumps(rows[-1][:3])[:300], file=sys.stderr, flush=True)
    sys.stdout.write(page(rows))


if __name__ == "__main__":
    main()
