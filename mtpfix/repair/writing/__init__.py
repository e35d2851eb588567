"""The local edge: repaired files into a folder (`in_place.py`) or a new one (`new_folder.py`).

Both stand on `disk.py` and `locking.py`. Weight files may go with the metadata (`weights.py`): one
that comes, or those whose tensors get other names (`renamed_weights.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtpfix.repair.writing import disk, in_place, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from mtpfix.repair.writing.weights import Addition, WeightFile


def put(
    folder: Path,
    files: Mapping[str, tuple[bytes | None, bytes]],
    output: Path | None,
    *,
    backup: bool = True,
    addition: Addition | None = None,
    weights: Sequence[WeightFile] = (),
) -> None:
    """Edits a folder (`in_place`), or makes another one like it (`new_folder`).

    Args:
        folder: the folder that was read.
        files: as for `in_place.write`.
        output: the new folder; None: the folder itself is edited.
        backup: as for `in_place.write`; a new folder needs none.
        addition: as for both.
        weights: as for both.
    """
    if output is None:
        in_place.write(folder, files, backup=backup, addition=addition, weights=weights)
        return
    read = {name: old for name, (old, _) in files.items()}
    new = {name: new for name, (_, new) in files.items()}
    new_folder.overlay(folder, output, new, read=read, addition=addition, weights=weights)


def check_place(folder: Path, names: Iterable[str], output: Path | None) -> None:
    """Refuse at once what `put` would refuse later: there is work to do before.

    Args:
        folder: where the files are.
        names: those that will be written.
        output: the new folder; None: in place.

    Raises:
        MtpfixError: as for `in_place.write` and `new_folder.overlay`.
    """
    with disk.explained(f"cannot write into {folder if output is None else output}"):
        if output is not None:
            new_folder.check_new(output, folder)
        for name in names if output is None else ():
            disk.refuse_link(folder / name)
