"""Imports SGLang once, then answers each request in a forked process of its own.

See `fork_server` for how a request travels, and `build.answer` for what it may ask.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

NAME = "_mtpfix_engines"
"""What the package of the engines is called here, where mtpfix is not installed."""
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "SGLANG_DISABLE_TQDM": "1",
    "SGLANG_LOGGING_LEVEL": "ERROR",
}
"""Keeps SGLang off the network, quiet, and small."""


def package() -> None:
    """Import the folder of the engines as a package, so that the modules below can name each other.

    Started by its path, this file belongs to no package, and Python puts its folder
    itself first on the module path, where names like `build` could shadow others.
    """
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    home = here.parents[1]
    spec = importlib.util.spec_from_file_location(NAME, home / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{home} is not a package")
    made = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = made
    spec.loader.exec_module(made)


def adopt() -> Any:
    """Return the `build` module of the child."""
    if NAME not in sys.modules:
        package()
    return importlib.import_module(f"{NAME}.sglang._child.build")


def main() -> None:
    """Entry point."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    package()
    server: Any = importlib.import_module(f"{NAME}.fork_server")
    channel = server.claim_stdout()
    server.run(channel, adopt)


if __name__ == "__main__":
    main()
