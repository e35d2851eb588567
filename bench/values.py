"""Reading values: the pass over a file beside `sha256sum` of it, in turn.

torch is imported before, which takes a second or two: the figures are about bytes, of which an MTP
block has gigabytes. `sha256sum` runs as a process, with its start.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median

from mtpfix.checkpoint.source import LocalSource
from mtpfix.values.read import scan_tensors

SIZE = 1 << 29
"""Bytes of one tensor."""
DTYPES = {
    "BF16": "bfloat16",
    "F32": "float32",
    "F8_E4M3": "float8_e4m3fn",
    "U8": "uint8",
    "I32": "int32",
}


def passes(where: Path, rounds: int) -> str:
    """Time of both for one large tensor of each dtype."""
    lines = [
        f"### Values: {SIZE >> 20} MB a tensor",
        "",
        "| | `sha256sum` s | pass s | GB/s | x `sha256sum` |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for dtype in DTYPES:
        folder = where / f"values-{dtype}"
        file = _written(folder, dtype)
        source, shards = LocalSource(folder), {"weight": file.name}
        digests, scans = [], []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run(["sha256sum", str(file)], check=True, capture_output=True)  # noqa: S607
            middle = time.perf_counter()
            scan_tensors(source, shards)
            digests.append(middle - start)
            scans.append(time.perf_counter() - middle)
        digest, scan = median(digests[1:]), median(scans[1:])  # the first does not count
        file.unlink()
        speed, ratio = SIZE / scan / 1e9, scan / digest
        lines.append(f"| {dtype} | {digest:.2f} | {scan:.2f} | {speed:.2f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def _written(folder: Path, dtype: str) -> Path:
    """Return a file of one tensor, with values as a model has them."""
    import torch  # noqa: PLC0415 - takes a second
    from safetensors.torch import save_file  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    kind = getattr(torch, DTYPES[dtype])
    if kind.is_floating_point:
        made = torch.randn(SIZE // kind.itemsize)
        weight = made.mul_(100 if kind.itemsize == 1 else 0.02).to(kind)
    else:
        weight = torch.randint(0, 256, (SIZE,), dtype=torch.uint8).view(kind)
    save_file({"weight": weight}, folder / "model.safetensors")
    return folder / "model.safetensors"
