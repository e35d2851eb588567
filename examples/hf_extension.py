"""Makes `hf mtpfix` run the mtpfix that is installed here, as an extension of the hf CLI.

python examples/hf_extension.py && hf mtpfix inspect your-org/model

It serves until there is a repo that `hf extensions install` finds; what such a repo needs is in
`examples/hf-mtpfix`. `hf extensions remove mtpfix` takes it back.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

EXTENSIONS = Path("~/.local/share/hf/extensions")
OWNER = "-"
"""Nobody's name on GitHub: an update asks there, and must find nothing."""


def register(program: Path, extensions: Path) -> Path:
    """Write what the hf CLI knows an extension by; return the file."""
    folder = extensions / "hf-mtpfix"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "owner": OWNER,
        "repo": "hf-mtpfix",
        "repo_id": f"{OWNER}/hf-mtpfix",
        "short_name": "mtpfix",
        "executable_path": str(program),
        "type": "binary",
        "installed_at": datetime.now(timezone.utc).isoformat(),
        "description": "Inspect, check and repair the quantization metadata of MTP blocks",
    }
    file = folder / "manifest.json"
    file.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return file


if __name__ == "__main__":
    found = shutil.which("hf-mtpfix")
    if found is None:
        raise SystemExit("hf-mtpfix is not on the path: pip install 'mtpfix[full]'")
    register(Path(found).resolve(), EXTENSIONS.expanduser())
