"""Recordings as JSON files of which each states only what it has otherwise than another.

A file may say `like`: another recording of the same family, by its path from the folder of all
releases. It then holds what that one holds, but for what it states itself: objects are laid over
objects, key by key; any other value takes the place of the old one; `keys` lists those that an
object has, in order, where it lacks some or has another order. `sha256` is that of the whole as
one line of JSON, and whoever reads it checks it: a file that others refer to cannot change what
they say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

Json = Any
Table = dict[str, Json]

LIKE, SUM, KEYS = "like", "sha256", "keys"
WIDTH = 100
"""An object or a list that is longer has a line for each of its items."""


def read(path: Path) -> Table:
    """Return all that a recording says.

    Raises:
        ValueError: it is not what was recorded: a file that it refers to has changed.
    """
    found = _restore(path)
    if _sum(found) != _stated(path)[SUM]:
        raise ValueError(f"{path}: {SUM} is not that of what it says with what it is {LIKE}")
    return found


def write(path: Path, whole: Table) -> None:
    """Write a recording, and anew those that refer to the file, so that they say what they said."""
    others = {other: read(other) for other in _relatives(path) if _base(other) == path}
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, says in {path: whole, **others}.items():
        file.write_text(f"{_text(_shortest(file, says))}\n", encoding="utf-8")


def family_of(path: Path) -> str:
    """Return the family of a recording; recordings of a release itself are their own."""
    return path.stem.partition("+")[0]


def _stated(path: Path) -> Table:
    table: Table = json.loads(path.read_text(encoding="utf-8"))
    return table


def _base(path: Path) -> Path | None:
    """Return the file that a recording refers to, if any."""
    like = _stated(path).get(LIKE)
    return None if like is None else path.parent.parent / like


def _restore(path: Path) -> Table:
    base = _base(path)
    stated = {key: value for key, value in _stated(path).items() if key not in (LIKE, SUM)}
    return stated if base is None else _laid_over(_restore(base), stated)


def _laid_over(base: Table, stated: Table) -> Table:
    made = dict(base)
    for key, value in stated.items():
        old = base.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        made[key] = _laid_over(base[key], value) if both else value
    return {key: made[key] for key in made.pop(KEYS, made)}


def _differences(base: Table, whole: Table) -> Table:
    """Return what `whole` has to state over `base`."""
    found: Table = {}
    for key, value in whole.items():
        old = base.get(key)
        if key not in base or _flat(old) != _flat(value):
            both = isinstance(old, dict) and isinstance(value, dict)
            found[key] = _differences(base[key], value) if both else value
    same = list({**base, **found}) == list(whole)
    return found if same else {KEYS: list(whole), **found}


def _shortest(path: Path, whole: Table) -> Table:
    """Return what the file states: over the one that leaves the least to say, or all of it."""
    forms = [{SUM: _sum(whole), **whole}]
    for base in _bases(path):
        like = base.relative_to(path.parent.parent).as_posix()
        forms.append({LIKE: like, SUM: _sum(whole), **_differences(_restore(base), whole)})
    return min(forms, key=lambda form: len(_flat(form)))


def _bases(path: Path) -> Iterator[Path]:
    """Return what a file may refer to: the release before, and the family's main recording."""
    main = path.with_name(f"{family_of(path)}.json")
    if main != path and main.exists():
        yield main
    older = [other for other in _relatives(path) if other.name == path.name]
    earlier = [other for other in older if _release(other) < _release(path)]
    if earlier:
        yield max(earlier, key=_release)


def _relatives(path: Path) -> list[Path]:
    """Return the other recordings of a family, of all releases beside that of `path`."""
    if not _is_release(path.parent):
        return []
    found = path.parent.parent.glob(f"*/{family_of(path)}*.json")
    return sorted(
        other
        for other in found
        if other != path and _is_release(other.parent) and family_of(other) == family_of(path)
    )


def _is_release(folder: Path) -> bool:
    try:
        Version(folder.name)
    except InvalidVersion:
        return False
    return True


def _release(path: Path) -> Version:
    return Version(path.parent.name)


def _flat(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sum(whole: Table) -> str:
    return hashlib.sha256(_flat(whole).encode()).hexdigest()


def _text(value: Json) -> str:
    flat = _flat(value)
    if len(flat) <= WIDTH or not isinstance(value, dict | list):
        return flat
    if isinstance(value, dict):
        lines = (f"{json.dumps(key)}:{_text(inner)}" for key, inner in value.items())
        return "{\n" + ",\n".join(lines) + "\n}"
    return "[\n" + ",\n".join(map(_text, value)) + "\n]"
