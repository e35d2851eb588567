"""The Hub edge: files as one commit, or a pull request, on top of what was judged.

Metadata is sent with the commit itself, large files before it: uploaded from this machine, or
copied by the Hub from another repo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from logging import ERROR
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    HfApi,
    constants,
    errors,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not in its __all__
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    logging,
)

from mtpfix.checkpoint import hub_requests
from mtpfix.errors import ConflictError, TargetError, UsageError, WriteError

MAIN = "main"
MESSAGE = "Fix the quantization metadata of the MTP block"
_FORBIDDEN, _CONFLICT, _MOVED, _FAILED = 403, 409, 412, 500
_NOT_COPIED: type[Exception] | tuple[()] = getattr(errors, "FileDuplicationError", ())


@dataclass(frozen=True, slots=True)
class Published:
    """What the Hub made of it.

    Attributes:
        commit: hash of the new commit.
        url: page of the pull request, or of the commit.
    """

    commit: str
    url: str


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a repair goes.

    Attributes:
        repo: `org/name`.
        parent: hash of the commit that was judged.
        branch: branch, or `refs/pr/N`.
        create_pr: open a pull request against the branch, do not write to it.
        message: first line of the commit, title of the pull request.
        description: the rest of it, in Markdown.
        token: what to log in with; None: what the environment or `hf auth login` says.
    """

    repo: str
    parent: str
    branch: str = MAIN
    create_pr: bool = False
    message: str = MESSAGE
    description: str = ""
    token: str | None = None


@dataclass(frozen=True, slots=True)
class CopySource:
    """A file of another repo, which the Hub copies without anybody receiving a byte of it.

    Attributes:
        repo: `org/name`.
        path: of the file in it.
        revision: hash of the commit.
    """

    repo: str
    path: str
    revision: str


class CopyError(WriteError):
    """The Hub does not copy this file; nothing was pushed. An upload may do what it does not."""


def can_copy() -> bool:
    """Return whether the installed huggingface_hub copies between repos: 1.17 and newer do."""
    return "src_repo_id" in CommitOperationCopy.__dataclass_fields__


def publish(
    goal: Goal,
    files: Mapping[str, bytes],
    *,
    uploads: Mapping[str, Path] | None = None,
    copies: Mapping[str, CopySource] | None = None,
) -> Published:
    """Commits files, all of them or none, if the branch is still at the commit that was judged.

    Args:
        goal: where they go.
        files: path in the repo -> content.
        uploads: path in the repo -> a file of this machine, which is never read as a whole.
        copies: path in the repo -> a file of another repo; see `can_copy`.

    Raises:
        ConflictError: the branch moved; nothing was pushed.
        CopyError: the Hub, or the installed huggingface_hub, does not copy a file.
        WriteError: this login may not write there, an upload broke off, or the Hub failed.
        TargetError: the repo or the branch is gone, or cannot be reached; or a file to copy is.
    """
    api = HfApi(token=goal.token)
    _check_head(api, goal)
    copied = [_copy(api, path, source) for path, source in (copies or {}).items()]
    added = [CommitOperationAdd(path, data) for path, data in files.items()]
    added += [_addition(path, file) for path, file in (uploads or {}).items()]
    with hub_requests.explained(goal.repo, goal.branch), quiet():
        if uploads:
            _upload(api, goal, added)
            _check_head(api, goal)  # an upload takes hours
        return _commit(api, goal, [*added, *copied])


@contextmanager
def quiet() -> Iterator[None]:
    """Keep huggingface_hub from warnings and bars: who draws a line of progress is the caller.

    Addresses in its warnings hold signatures, or passwords.
    """
    before, drawn = logging.get_verbosity(), not are_progress_bars_disabled()
    theirs = drawn and constants.HF_HUB_DISABLE_PROGRESS_BARS is None  # it is the user's to say
    logging.set_verbosity(ERROR)
    if theirs:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if theirs:
            enable_progress_bars()


def _commit(
    api: HfApi, goal: Goal, operations: list[CommitOperationAdd | CommitOperationCopy]
) -> Published:
    try:
        made = api.create_commit(
            goal.repo,
            operations,
            commit_message=goal.message,
            commit_description=goal.description,
            revision=goal.branch,
            parent_commit=goal.parent,
            create_pr=goal.create_pr,
        )
    except HfHubHTTPError as error:
        if error.response.url.path.endswith("/lfs-files/duplicate"):
            raise _uncopied(f"HTTP {error.response.status_code}") from None
        raise _refusal(goal, error) from None
    except _NOT_COPIED:
        raise _uncopied("it says no more") from None
    except hub_requests.transport_error() as error:
        raise _unsure(goal, type(error).__name__) from None
    except ValueError:  # a branch that no URL can hold
        raise UsageError(f"{goal.branch!r:.120} is not the name of a branch") from None
    return Published(made.oid, made.pr_url or made.commit_url)


def _check_head(api: HfApi, goal: Goal) -> None:
    """Refuse a branch that moved: the Hub itself looks only where no pull request is made."""
    with hub_requests.explained(goal.repo, goal.branch):
        ask = api.model_info
        head = hub_requests.patiently(
            lambda: ask(goal.repo, revision=goal.branch, timeout=hub_requests.TIMEOUT).sha, tries=3
        )
    if head != goal.parent:
        raise _moved(goal)


def _addition(path: str, file: Path) -> CommitOperationAdd:
    try:
        return CommitOperationAdd(path, file)
    except (ValueError, OSError):
        raise WriteError(f"{str(file)!r}: cannot be read; nothing was pushed") from None


def _upload(api: HfApi, goal: Goal, added: list[CommitOperationAdd]) -> None:
    """Send the large files: they become part of the repo only with the commit."""
    try:
        api.preupload_lfs_files(
            goal.repo,
            added,
            revision=goal.branch,
            create_pr=goal.create_pr,
            free_memory=False,
        )
    except (OfflineModeIsEnabled, HFValidationError):
        raise
    except (OSError, RuntimeError, ValueError, hub_requests.transport_error()) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < _FAILED:
            raise _refusal(goal, error) from None
        cause = error.__cause__ or error
        status = getattr(getattr(cause, "response", None), "status_code", None)
        reason = f"HTTP {status}" if status else type(cause).__name__
        raise WriteError(
            f"{goal.repo}: the upload broke off ({reason}); nothing was pushed",
            "run the command again; what the Hub has of it is not sent twice",
        ) from None
    for each in added:
        if getattr(each, "_should_ignore", False):  # it would be left out, and nothing said
            raise WriteError(
                f"{goal.repo}: its .gitignore keeps {each.path_in_repo} out; nothing was pushed",
                "take the pattern out of the .gitignore",
            )


def _copy(api: HfApi, path: str, source: CopySource) -> CommitOperationCopy:
    """The copy of a file, once it is clear that the Hub can make it."""
    if not can_copy():
        raise CopyError(
            f"huggingface_hub {version('huggingface_hub')} does not copy between repos; "
            "nothing was pushed",
            "pip install --upgrade huggingface_hub (1.17 or newer)",
        )
    with hub_requests.explained(source.repo, source.revision, source.path):
        found = hub_requests.patiently(
            lambda: api.get_paths_info(source.repo, [source.path], revision=source.revision),
            tries=3,
        )
    name = f"{source.repo}: {source.path}"
    if not found:
        raise TargetError(f"{name}: not in the repo", "run again: the repo may have changed")
    if not getattr(found[0], "xet_hash", None):
        raise CopyError(
            f"{name}: not in Xet storage, within which alone the Hub copies; nothing was pushed",
            "upload the file instead",
        )
    return CommitOperationCopy(
        source.path,
        path,
        src_revision=source.revision,
        src_repo_id=source.repo,
        src_repo_type="model",
    )


def _uncopied(said: str) -> CopyError:
    return CopyError(
        f"the Hub does not copy between these repos ({said}); nothing was pushed",
        "both must lie in one storage region, and this login must be able to write to the target; "
        "or upload the file instead",
    )


def _unsure(goal: Goal, said: str) -> WriteError:
    return WriteError(
        f"{goal.repo}: {hub_requests.host()} failed while it took the commit ({said})",
        "look whether it is there before you run the command again",
    )


def _moved(goal: Goal) -> ConflictError:
    return ConflictError(
        f"{goal.repo}: {goal.branch} moved since it was judged; nothing was pushed",
        "run the command again",
    )


def _refusal(goal: Goal, error: HfHubHTTPError) -> Exception:
    """What the Hub's answer to a commit means; the error itself where reading says it better."""
    status = error.response.status_code
    if status in (_MOVED, _CONFLICT):
        return _moved(goal)
    if status == _FORBIDDEN and not goal.create_pr:
        return WriteError(
            f"{goal.repo}: this login may not write to it; nothing was pushed",
            "open a pull request instead: --create-pr",
        )
    if status == _FORBIDDEN:
        return WriteError(
            f"{goal.repo}: this login may not open a pull request; nothing was pushed",
            "use a token with write scope (hf auth login), or ask the owners to enable them",
        )
    if isinstance(error, BadRequestError):
        return WriteError(f"{goal.repo}: the Hub refused the commit (HTTP 400)", "check --revision")
    if status >= _FAILED:
        return _unsure(goal, f"HTTP {status}")  # before or after it wrote
    return error
