"""Tiny pairs: a base with its MTP block, and a quantized target that lost it."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtpfix.checkpoint.source import LocalSource
from mtpfix.subject import open_subject
from tools import tiny
from tools.forge import forge

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Pair:
    """Two folders that a test may spoil."""

    base: Path
    target: Path

    def config(self, **changes: Any) -> dict[str, Any]:
        """Return the target's `config.json`, with some fields changed; None takes one out."""
        return edit(self.target / "config.json", **changes)

    def index(self) -> dict[str, Any]:
        """Return the target's index."""
        found: dict[str, Any] = json.loads((self.target / INDEX).read_text(encoding="utf-8"))
        return found


def edit(file: Path, **changes: Any) -> dict[str, Any]:
    """Change fields of a JSON file; return what it holds then."""
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    value.update(changes)
    value = {key: each for key, each in value.items() if each is not None}
    if changes:
        file.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return value


def pair(
    where: Path,
    family: str = "deepseek_v3",
    scheme: str = "ct-fp8-channel",
    *,
    donor: str = "none",
    shards: int = 1,
) -> Pair:
    """Copy a pair into a folder.

    Args:
        where: the folder, for `base` and `target`.
        family: tiny model of both.
        scheme: quantization of the target's trunk.
        donor: scheme of the base: `none`, or `fp8-block`.
        shards: files of each; one has no index.
    """
    for name in ("base", "target"):
        shutil.copytree(_made(family, scheme, donor, shards) / name, where / name)
    return Pair(where / "base", where / "target")


@cache
def _made(family: str, scheme: str, donor: str, shards: int) -> Path:
    place = Path(tempfile.mkdtemp(prefix="mtpfix-pair-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    ours = tiny.variant(family, scheme)
    theirs = tiny.variant(family, donor) if donor != "none" else ours
    stored = "bf16" if donor == "none" else "quantized"
    forge(family, place / "base", donor, variant=theirs, mtp=stored, shards=shards)
    whole = forge(
        family, place / "target", scheme, variant=ours, ignore=("lm_head",), shards=shards
    )
    _lose(whole.folder)
    return place


def _lose(folder: Path) -> None:
    """Take the MTP block out of the files, as quantizers do."""
    reading = next(iter(open_subject(LocalSource(folder)).readings.values()))
    roots = reading.block.roots or ()
    for file in folder.glob("*.safetensors"):
        kept = {n: t for n, t in load_file(file).items() if not n.startswith(roots)}
        file.unlink()
        if kept:
            save_file(kept, file, metadata={"format": "pt"})
    if (folder / INDEX).exists():
        names = edit(folder / INDEX)["weight_map"]
        edit(folder / INDEX, weight_map={n: f for n, f in names.items() if not n.startswith(roots)})


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a folder, by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def loaded(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each tensor that vLLM would load: name -> bytes.

    With an index it reads every tensor of the files that the index names, and a missing file is
    an error; without one, every `*.safetensors` at the top.

    Raises:
        AssertionError: a tensor would be loaded twice, or one that the index names not at all.
    """
    files = sorted(path.name for path in folder.glob("[!.]*.safetensors"))
    named: dict[str, str] = {}
    if (folder / INDEX).exists():
        named = edit(folder / INDEX)["weight_map"]
        files = sorted(set(named.values()))
    found: dict[str, bytes] = {}
    for name in files:
        held = tensors(folder / name)
        assert not found.keys() & held.keys()
        found |= held
    assert named.keys() <= found.keys()
    return found


def tensors(file: Path) -> dict[str, bytes]:
    """Return the bytes of each tensor of a file, as the safetensors library reads it."""
    with safe_open(file, "pt") as opened:  # it checks the whole header
        names = list(opened.keys())
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8:start])
    spans = {name: table[name]["data_offsets"] for name in names}
    return {name: raw[start + begin : start + end] for name, (begin, end) in spans.items()}
