"""What compressed-tensors' own helper makes of a pair.

`save_mtp_tensors_to_checkpoint` is given what its caller has to know: the beginnings of the names
of the MTP block's tensors on disk, one call for each.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from mtpfix.checkpoint.source import LocalSource
from mtpfix.engines.vllm.live import Answer, Server
from mtpfix.subject import open_subject
from tools.pairs import Pair

RELEASE = "0.20.1"
"""The release of compressed-tensors that is asked."""


def run(base: Path, target: Path) -> None:
    """Bring the block of a base into a target, as compressed-tensors does it."""
    # Heavy, and not everybody who proves grafts has it.
    from compressed_tensors.utils.mtp import save_mtp_tensors_to_checkpoint  # noqa: PLC0415

    if version("compressed-tensors") != RELEASE:
        raise SystemExit(f"install compressed-tensors=={RELEASE}, or use --no-helper")
    for number, root in enumerate(roots(base)):
        shard = f"model_mtp_{number}.safetensors"
        save_mtp_tensors_to_checkpoint(str(base), str(target), root, shard)


def answer(server: Server, pair: Pair, folder: Path) -> Answer:
    """Return what vLLM makes of the target after the helper, done to a copy in `folder`."""
    shutil.copytree(pair.target, folder)
    run(pair.base, folder)
    return server.ask(folder, load=True)


def roots(folder: Path) -> tuple[str, ...]:
    """Return what the names of the MTP block's tensors begin with."""
    (reading,) = open_subject(LocalSource(folder)).readings.values()
    return reading.block.roots or ()
