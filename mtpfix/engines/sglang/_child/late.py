"""Models that are imported only once arguments are known, as in a process that a server starts.

A server resolves its arguments, which sets variables, before it starts the process that imports
models. A model that reads such a variable at its import would read another value in a process that
imports first and is told its arguments then.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

MODELS = "sglang.srt.models"
ARGUMENTS = ("server_args.py", "arg_groups/*.py")
"""The files that resolve arguments."""
_SETS = re.compile(r"envs\.(\w+)\.set\(")


def names() -> list[str]:
    """Return the models that must wait: those that read such a variable, and what needs them."""
    found: Any = importlib.import_module(MODELS)
    folder = Path(found.__path__[0])
    texts = {f"{MODELS}.{path.stem}": _text(path) for path in sorted(folder.glob("*.py"))}
    files = (path for pattern in ARGUMENTS for path in folder.parent.glob(pattern))
    variables = {name for path in files for name in _SETS.findall(_text(path))}
    wanted = [rf"\S.*envs\.{re.escape(name)}\b" for name in sorted(variables)]
    late: list[str] = []
    while wanted:
        reads = re.compile(rf"^(?:{'|'.join(wanted)})", re.MULTILINE)
        more = [name for name, text in texts.items() if name not in late and reads.search(text)]
        late += more
        wanted = [rf"from {re.escape(name)} import" for name in more]
    return late


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@contextlib.contextmanager
def kept_out(modules: list[str]) -> Iterator[None]:
    """Have imports of some modules fail."""
    finder = _Refusing(frozenset(modules))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Refusing(MetaPathFinder):
    """Finds no module of some names, and lets nobody else look for them.

    Args:
        modules: the names.
    """

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        """Refuse a module; None leaves it to the other finders."""
        del path, target
        if fullname in self._modules:
            raise ImportError(f"{fullname} waits for arguments")


def bring_in(modules: list[str]) -> None:
    """Import what was kept out, and have SGLang know its classes."""
    registered = importlib.import_module(f"{MODELS}.registry").ModelRegistry.models
    for name in modules:
        entry = getattr(importlib.import_module(name), "EntryClass", ())
        for cls in entry if isinstance(entry, list) else filter(None, [entry]):
            registered[cls.__name__] = cls
