"""What the user points at: a folder of this machine, or a repo of the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mtpfix.checkpoint.source import LocalSource, Source
from mtpfix.checkpoint.strict_json import shown
from mtpfix.errors import TargetError, UsageError
from mtpfix.model import Target

_SCHEME = "hf://"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""As the Hub allows: 96 characters a part."""
_PAGE = re.compile(rf"https?://[^/]*/({_REPO.pattern})(?![\w.-])")
_FILES = (".json", ".safetensors")
"""How paths end that are no repos."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a target names.

    Attributes:
        path: the folder; None for a repo.
        repo: `org/name`, and empty for a folder.
        revision: the one of the repo that is meant; None: its main branch.
    """

    path: Path | None
    repo: str = ""
    revision: str | None = None


def parse(target: str | Path, revision: str | None = None) -> Address:
    """Return whether a target is a folder or a repo: a folder of that name goes first.

    Args:
        target: a folder, `org/name`, `org/name@revision` or `hf://org/name`.
        revision: as `@revision`.

    Raises:
        UsageError: it is empty or neither, or the revision is given twice or for a folder.
    """
    text = str(target)
    if not text.strip():
        raise UsageError("the target is empty", "name a folder or a repo; `.` is this folder")
    page = _PAGE.match(text)
    if page is not None:
        raise UsageError(f"{shown(text)}: the address of a page", f"name the repo: {page[1]}")
    bare = text.removeprefix(_SCHEME)
    repo, at, inside = bare.partition("@")
    named = isinstance(target, str) and _REPO.fullmatch(repo) is not None
    named = named and not (bare == text and repo.endswith(_FILES))
    if bare == text and (not named or _is_there(text)):
        if revision is not None:
            raise UsageError(
                f"{shown(text)}: a folder has no revision", "leave --revision out, or give a repo"
            )
        return Address(Path(text))
    if not named or (at and not inside):
        raise UsageError(f"{shown(text)}: not the name of a repo", "give hf://org/name[@revision]")
    if at and revision not in (None, inside):
        raise UsageError(
            f"{shown(text)}: this is not the revision of --revision {shown(revision or '')}",
            "give only one of them",
        )
    return Address(None, repo, inside or revision)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the user points at, and how it is reached.

    Attributes:
        target: a folder, `org/name`, `org/name@revision` or `hf://org/name`, or files that are
            open already.
        draft: what `"model"` in `--speculative-config` names, a target too: the MTP block is loaded
            from there. None: from the target.
        revision: branch, tag, commit or `refs/pr/N` of a repo.
        token: what to log in to the Hub with; None: what the environment or `hf auth login` says.
    """

    target: str | Path | Source = "."
    draft: str | Path | None = None
    revision: str | None = None
    token: str | None = None

    @property
    def source(self) -> Source:
        """The files of the target.

        Raises:
            MtpfixError: they cannot be read.
        """
        return source(self.target, self.revision, self.token)

    @property
    def folder(self) -> Path:
        """The folder that the target is.

        Raises:
            UsageError: it is a repo.
        """
        return folder_of(self.target, self.revision)

    def sources(self) -> tuple[Source, Source | None]:
        """Return the files of the target and of the draft, if that is another checkpoint.

        Raises:
            MtpfixError: one of the two cannot be read.
        """
        own = self.source
        other = None if self.draft is None else source(self.draft, None, self.token)
        if other is not None and is_same(own.target(), other.target()):
            other = None
        return own, other


def folder_of(target: str | Path | Source, revision: str | None = None) -> Path:
    """Return the folder that a target is.

    Raises:
        UsageError: it is a repo, or as for `parse`.
    """
    if not isinstance(target, str | Path):
        opened = target.target()
        target = opened.name if opened.kind == "local" else f"{_SCHEME}{opened.name}"
    path = parse(target, revision).path
    if path is None:
        raise UsageError(
            f"{str(target)!r:.120}: this is a Hub repo, not a folder",
            "use --push-to-hub, or download it with `hf download` and name that folder",
        )
    return path


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # no path can be like that
        return False


def source(
    target: str | Path | Source, revision: str | None = None, token: str | None = None
) -> Source:
    """Return the files of a target.

    Args:
        target: as for `parse`, or what this returned before.
        revision: branch, tag, commit or `refs/pr/N` of a repo.
        token: what to log in to the Hub with; None: what its own tools use.

    Raises:
        MtpfixError: it cannot be read.
    """
    if not isinstance(target, str | Path):
        return target
    found = parse(target, revision)
    if found.path is not None:
        return LocalSource(str(target))
    from mtpfix.checkpoint.hub import HubSource  # noqa: PLC0415 - heavy, and only for a repo

    try:
        return HubSource(found.repo, found.revision, token)
    except TargetError as error:
        if str(target).startswith(_SCHEME):
            raise
        raise TargetError(
            f"{error.message}; and there is no folder of this name", error.remedy
        ) from None


def is_same(one: Target, other: Target) -> bool:
    """Return whether two targets are one: a folder has many names, a commit has one."""
    if one.kind == other.kind == "local":
        return Path(one.name).resolve() == Path(other.name).resolve()
    return one == other
