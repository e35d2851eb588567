"""Commands that move tensors between files, for what no metadata can put right. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

BLOCK = "mtp.safetensors"
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
"""Names that mean nothing but themselves to a shell and in a string of Python."""
_SHOWN = 4
"""Names that a command spells out."""
_PROGRAM = (
    'python -c "import json; from safetensors import safe_open; '
    "from safetensors.torch import save_file; {first}f = safe_open('{file}', 'pt'); "
    "save_file({{k: f.get_tensor(k) for k in f.keys() if {test}}}, '{new}', f.metadata())\""
)


def copied(file: str, roots: Iterable[str]) -> str:
    """Return what copies the MTP tensors of a file into one of their own, which rewrite can name.

    Args:
        file: the file, in the folder in which the command is typed.
        roots: what names of MTP tensors begin with.
    """
    starts = ", ".join(f"'{_plain(root, 'ROOT.')}'" for root in roots)
    test = f"k.startswith(({starts},))"
    program = _PROGRAM.format(first="", file=_plain(file, "FILE"), test=test, new=BLOCK)
    return (
        f"copy the MTP tensors into a file of their own (`{program}`), move the old file out of "
        "the folder and run `mtpfix rewrite` again"
    )


def cleared(file: str, names: Collection[str], index: str) -> str:
    """Return what writes a file anew without some tensors.

    Args:
        file: as for `copied`.
        names: the tensors.
        index: the index; where there are many tensors, it says which ones stay.
    """
    name = _plain(file, "FILE")
    if len(names) <= _SHOWN and all(map(_PLAIN.fullmatch, names)):
        first, test = "", f"k not in {sorted(names)}"
    else:
        first = f"w = json.load(open('{_plain(index, 'INDEX')}'))['weight_map']; "
        test = f"w.get(k) == '{name}'"
    program = _PROGRAM.format(first=first, file=name, test=test, new=f"{name}.new")
    swap = f"mv {name} {name}.old && mv {name}.new {name}"
    return f"write the file anew without it: `{program} && {swap}`"


def _plain(name: str, otherwise: str) -> str:
    """Return a name that can stand in a command, or what stands for it."""
    return name if _PLAIN.fullmatch(name) else otherwise
