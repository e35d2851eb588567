"""A draft folder: what it holds, the flags for the server, and the document for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from json import dumps

from mtpfix import facts
from mtpfix.drafting import PLACE, Drafted
from mtpfix.drafts.folder import DraftFolder
from mtpfix.grafts.layout import NAME
from mtpfix.report.inert_text import inert, inert_json
from mtpfix.report.wording import count

SCHEMA = "mtpfix.draft-folder/1"


def text(made: Drafted) -> str:
    """Return the flags, quoted for a shell; of a folder that is not made, what it would hold."""
    if made.folder is None or made.flags is None:
        return ""
    if made.output is not None:
        return f"{made.flags.always}\n"
    rows = list(_contents(made))
    width = max(len(name) for name, _ in rows)
    lines = [f"{PLACE} would hold", *(f"  {name:{width}}  {said}" for name, said in rows)]
    return "\n".join([*lines, f"`--output {PLACE}` makes it."]) + "\n"


def _contents(made: Drafted) -> Iterator[tuple[str, str]]:
    """Yield each file of the folder, and what it is."""
    assert made.folder is not None  # noqa: S101 - the caller looked
    assert made.choice is not None  # noqa: S101
    for name in made.folder.files:
        if name in made.folder.metadata:
            entries = made.choice.entries
            bare = "without quantization metadata"
            yield (
                name,
                bare
                if made.choice.bare
                else f"with a list of {count(len(entries), 'entry', 'entries')}",
            )
        else:
            yield inert(name), f"names {count(made.folder.tensors, 'tensor')}"
    if made.folder.layout is not None:
        size = f"{made.folder.layout.fetched:,} bytes"
        yield NAME, f"the MTP block, {size} from {inert(made.target.name)}"
    yield from ((inert(shard), "a link") for shard in made.folder.shards)
    yield from ((inert(name), "a copy") for name in made.folder.copies)


def notes(made: Drafted) -> Iterator[str]:
    """Yield what else is worth knowing, a line each."""
    title = made.engine.title
    if made.folder is None or made.flags is None or made.choice is None:
        if made.needed:
            yield "no draft folder can fix this: `mtpfix inspect` shows what is wrong"
        elif made.before:
            yield "the draft is right, and no draft folder can fix the rest: see `mtpfix inspect`"
        else:
            yield f"already right: {title} needs no draft folder"
        return
    if made.output is not None:
        yield f"made {inert(str(made.output))}: {_summary(made.folder)}"
    if made.after:
        yield "the folder does not fix everything: `mtpfix inspect` shows what stays wrong"
    if made.choice.wrong:
        yield f"it does not help {title} {', '.join(made.choice.wrong)}"
    if made.choice.bare:
        yield f"add {made.flags.then} if, and only if, {made.flags.asked} is given"
    for name, value in (made.environment or {}).items():
        yield f"or, without a folder: {name}={shlex.quote(value)} in the environment of the server"


def _summary(folder: DraftFolder) -> str:
    """Return what a folder holds, in a few words."""
    if folder.layout is not None:
        return f"the MTP block ({folder.layout.data_size:,} bytes), and a config.json for it"
    return "links to the shards of the MTP block, and a config.json for the draft"


def json(made: Drafted) -> str:
    """Return a document of schema `mtpfix.draft-folder/1`."""
    folder, choice, flags = made.folder, made.choice, made.flags
    document = {
        "schema": SCHEMA,
        "tool": facts.tool(),
        "target": {
            "kind": made.target.kind,
            "name": made.target.name,
            "revision": made.target.revision,
        },
        "engine": made.engine.name,
        "releases": list(made.releases),
        "needed": made.needed,
        "output": None if made.output is None else str(made.output),
        "files": [] if folder is None else [*_files(folder)],
        "entries": None if choice is None or choice.bare else list(choice.entries),
        "wrong": [] if choice is None else list(choice.wrong),
        "flags": None if flags is None else flags.always,
        "with_quantization": None
        if flags is None or choice is None or not choice.bare
        else flags.then,
        "environment": dict(made.environment or {}),
        "exit_code": made.exit_code,
    }
    return f"{inert_json(dumps(document, indent=2, ensure_ascii=False))}\n"


def _files(folder: DraftFolder) -> Iterator[Mapping[str, str]]:
    """Yield each file of a folder, and how it comes in."""
    ways = {
        "written": folder.files,
        "fetched": () if folder.layout is None else (NAME,),
        "linked": folder.shards,
        "copied": folder.copies,
    }
    for way, names in ways.items():
        yield from ({"name": name, "how": way} for name in names)
