"""Which architectures a release of vLLM drafts with MTP, read from its sources.

    python -m tools.registries [RELEASE ...] [--home DIR] [--out DIR]

Writes one small file a release into `tests/registries/`. A test holds the policies to them: each
name has one, or a reason in `mtpfix/data/vllm/undrafted.json`. A home is what
`tools.environments` fills.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mtpfix.engines.vllm.policy import covered_releases
from tools import extract
from tools.environments import HOME
from tools.tiny import HERE

OUT = HERE.parent / "tests" / "registries"
Json = Any


def registry(release: str, home: Path) -> dict[str, Json]:
    """Return what a release says of MTP drafts.

    `drafts`: the class of every architecture of a draft; `becomes`: the drafts that the release
    makes of a model type or an architecture of a target; `near`: the class of every other
    architecture whose class stands in a file that drafts are made of.
    """
    found = extract.extract(release, extract.sources(release, home))
    known = extract.registry(extract.sources(release, home))
    return {
        "release": release,
        "drafts": {arch: row["class"] for arch, row in found["architectures"].items()},
        "becomes": {
            name: {"by": row["by"], "drafts": row["drafts"]}
            for name, row in found["becomes"].items()
        },
        "near": {arch: known[arch][1] for arch in found["targets"]},
    }


def text(found: dict[str, Json]) -> str:
    """Return the file, one name a line."""
    parts = [f' "release": {json.dumps(found["release"])}']
    for key in ("drafts", "becomes", "near"):
        rows = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found[key].items()))
        parts.append(f' "{key}": {{\n' + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    parser.add_argument("--home", type=Path, default=HOME, help="see environments.py")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for release in options.releases or covered_releases():
        path = options.out / f"{release}.json"
        path.write_text(text(registry(release, options.home)), encoding="utf-8")


if __name__ == "__main__":
    main()
