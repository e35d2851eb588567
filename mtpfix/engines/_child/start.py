"""Imports an engine once, then answers each request in a forked process of its own.

Started with the name of the engine's folder. See `fork_server` for how a request travels, and
`build.answer` of the engine for what it may ask.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

NAME = "_mtpfix_engines"
"""What the package of the engines is called here, where mtpfix is not installed."""


def package() -> None:
    """Import the folder of the engines as a package, so that the modules below can name each other.

    Started by its path, this file belongs to no package, and Python puts its folder itself first
    on the module path, where names like `build` could shadow others. The package is that of all
    engines, because what they share, and the folders of families, hold some of the modules.
    """
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    home = here.parent
    spec = importlib.util.spec_from_file_location(NAME, home / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{home} is not a package")
    made = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = made
    spec.loader.exec_module(made)


def adopt(engine: str) -> Any:
    """Return the `build` module of the child of an engine."""
    if NAME not in sys.modules:
        package()
    return importlib.import_module(f"{NAME}.{engine}._child.build")


def main() -> None:
    """Entry point."""
    engine = sys.argv[1]
    package()
    own: Any = importlib.import_module(f"{NAME}.{engine}._child.environment")
    for key, value in own.ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    server: Any = importlib.import_module(f"{NAME}.fork_server")
    channel = server.claim_stdout()
    server.run(channel, functools.partial(adopt, engine))


if __name__ == "__main__":
    main()
