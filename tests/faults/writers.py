"""Who writes `config.json`, and what is left of the old file when that goes wrong.

Each writer runs in a process of its own on a folder of its own. The system lets it write no file
longer than half of the new `config.json`: it refuses the rest, as a full disk does, or ends the
process there. `peers.py` makes a table of it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.hostile import CONFIG
from tests.unit.cli.conftest import Folder

ROOT = Path(__file__).parents[2]
ENTRIES = 2_000
"""Entries of the list: the file is longer than any buffer."""

_ADDED = "re:^mtp.*"
_READ = """
import json, sys
folder = sys.argv[1]
with open(folder + "/config.json") as file:
    config = json.load(file)
"""
WRITERS = {
    "mtpfix rewrite --write": """
import sys
from tests.faults.subject import rewrite
sys.exit(rewrite(sys.argv[1]))
""",
    "compressed-tensors: save_mtp_tensors_to_checkpoint": f"""{_READ}
import numpy, os
from compressed_tensors.utils.mtp import save_mtp_tensors_to_checkpoint
from safetensors.numpy import save_file
os.mkdir(folder + "/source")
save_file({{"mtp.fc.weight": numpy.zeros(4)}}, folder + "/source/model.safetensors")
save_mtp_tensors_to_checkpoint(folder + "/source", folder)
""",
    "compressed-tensors: update_config": f"""{_READ}
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig
known = QuantizationConfig.model_validate(config["quantization_config"])
known.ignore.append({_ADDED!r})
ModelCompressor(quantization_config=known).update_config(folder)
""",
    "transformers: save_pretrained": f"""{_READ}
from transformers import AutoConfig
config["quantization_config"]["ignore"].append({_ADDED!r})
AutoConfig.for_model("qwen3", **{{k: v for k, v in config.items() if k != "model_type"}}
    ).save_pretrained(folder)
""",
    "json.dump into open(…, 'w')": f"""{_READ}
config["quantization_config"]["ignore"].append({_ADDED!r})
with open(folder + "/config.json", "w") as file:
    json.dump(config, file, indent=2)
""",
}


def made(place: Path) -> Folder:
    """A checkpoint whose list is long."""
    folder = Folder(place / "model")
    listed = [f"vision_tower.blocks.{n}.mlp.fc1" for n in range(ENTRIES)]
    folder.config["quantization_config"]["ignore"] += listed
    folder.save()
    return folder


def run(writer: str, folder: Path, limit: int | None = None, *, die: bool = False) -> int:
    """One writer at work.

    Args:
        writer: whose code runs.
        folder: what it is to write into.
        limit: bytes of the longest file that it may write.
        die: whether the process ends there; else the system refuses the rest.
    """

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    # Python has the system refuse, unless it is told to leave the signal as it was.
    code = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_{'DFL' if die else 'IGN'})\n"
    return subprocess.run(
        [sys.executable, "-c", code + WRITERS[writer], str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=bound,
        capture_output=True,
        check=False,
    ).returncode


def left(writer: str, *, die: bool) -> str:
    """What is left of `config.json` where its writer gets half way."""
    with TemporaryDirectory() as place:
        path = made(Path(place)).path / CONFIG
        old = path.read_bytes()
        code = run(writer, path.parent, len(old) // 2, die=die)
        if code == 0:
            return "no fault: the writer gets through"
        return _state(old, path.read_bytes())


def through_a_link(writer: str) -> str:
    """What becomes of the file behind a link, as the Hub's cache is made of them."""
    with TemporaryDirectory() as place:
        path = made(Path(place)).path / CONFIG
        blob = path.rename(Path(place) / "blob")
        path.symlink_to(blob)
        old = blob.read_bytes()
        code = run(writer, path.parent)
        words = "writes through it" if blob.read_bytes() != old else "is not touched"
        return f"{words}, exit code {code}" if code else words


def _state(old: bytes, new: bytes) -> str:
    if new == old:
        return "the old one, whole"
    try:
        json.loads(new)
    except ValueError:
        return f"lost: {len(new):,} bytes that are no JSON, of {len(old):,}"
    return "a new one, whole"


ASKED: dict[str, Callable[[str], str]] = {
    "the disk is full half way": lambda writer: left(writer, die=False),
    "killed half way": lambda writer: left(writer, die=True),
    "the file is a link into a cache": through_a_link,
}
"""What goes wrong, and how it is found out."""


def row(writer: str) -> tuple[str, ...]:
    """One row of the table."""
    return (writer, *(asked(writer) for asked in ASKED.values()))
