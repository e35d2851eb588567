"""The Hub edge: repaired metadata as one commit, or a pull request, on top of what was judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from mtpfix.checkpoint import hub_requests
from mtpfix.errors import ConflictError, UsageError, WriteError

MAIN = "main"
MESSAGE = "Fix the quantization metadata of the MTP block"
_FORBIDDEN, _CONFLICT, _MOVED = 403, 409, 412


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


def publish(goal: Goal, files: Mapping[str, bytes]) -> Published:
    """Commits files, all of them or none, if the branch is still at the commit that was judged.

    Raises:
        ConflictError: the branch moved; nothing was pushed.
        WriteError: this login may not write there, or the Hub failed.
        TargetError: the repo or the branch is gone, or cannot be reached.
    """
    api = HfApi(token=goal.token)
    with hub_requests.explained(goal.repo, goal.branch):
        ask = api.model_info
        head = hub_requests.patiently(
            lambda: ask(goal.repo, revision=goal.branch, timeout=hub_requests.TIMEOUT).sha, tries=3
        )
    if head != goal.parent:  # the Hub itself looks only where no pull request is made
        raise _moved(goal)
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    with hub_requests.explained(goal.repo, goal.branch):
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
            raise _refusal(goal, error) from None
        except ValueError:  # a branch that no URL can hold
            raise UsageError(f"{goal.branch!r:.120} is not the name of a branch") from None
    return Published(made.oid, made.pr_url or made.commit_url)


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
    if status >= 500:  # noqa: PLR2004 - the server failed, before or after it wrote
        return WriteError(
            f"{goal.repo}: {hub_requests.host()} failed while it took the commit (HTTP {status})",
            "look whether it is there before you run the command again",
        )
    return error
