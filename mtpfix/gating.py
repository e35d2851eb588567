"""Gates for programs that save or upload a checkpoint: what may not pass raises."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from mtpfix import api
from mtpfix.errors import GateError, RefusedError, UsageError
from mtpfix.model import Platform, Report
from mtpfix.report import text
from mtpfix.selection import selected

P = ParamSpec("P")
T = TypeVar("T")

FOLDER = "folder_path"
"""What the calls of huggingface_hub name the folder that they upload."""


def passed(report: Report) -> Report:
    """Return a report that passes.

    Raises:
        GateError: it does not.
    """
    if report.ok:
        return report
    name = report.target.name
    raise GateError(
        text.summary(report)[2:], f"`mtpfix inspect {name}` shows each module", report=report
    )


@contextmanager
def saving(
    folder: str | Path,
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
    repair: bool = False,
) -> Iterator[None]:
    """Judge a checkpoint when the block that saves it is done.

    ::

        with mtpfix.saving("out", vllm=[">=0.30"], repair=True):
            model.save_pretrained("out")

    Args:
        folder: where the block saves it.
        vllm: as for `check`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: as for `check`.
        repair: mend the metadata first, in place, where that helps.

    Raises:
        GateError: what was saved does not pass.
        MtpfixError: as for `check`.
    """
    wanted = selected(vllm, sglang, engines, platforms)  # what is wrong shows before the work
    yield
    report = api.check(folder, **wanted)
    if repair and not report.ok:
        with suppress(RefusedError):  # what stays wrong is in the report
            api.rewrite(folder, **wanted, write=True, backup=False)
        report = api.check(folder, **wanted)
    passed(report)


def gated(
    upload: Callable[P, T],
    *,
    vllm: Iterable[str] | None = None,
    sglang: Iterable[str] | None = None,
    engines: Iterable[str] | None = None,
    platforms: Iterable[Platform] | None = None,
) -> Callable[P, T]:
    """Return an upload that judges the folder first, and sends nothing that does not pass.

    ::

        upload_folder = mtpfix.gated(HfApi().upload_folder, vllm=[">=0.30"])
        upload_folder(repo_id="org/name", folder_path="out")

    Args:
        upload: `upload_folder` of huggingface_hub, or another call with a `folder_path`.
        vllm: as for `check`.
        sglang: the same of SGLang.
        engines: as for `inspect`.
        platforms: as for `check`.

    Returns:
        The same call. It raises `GateError` where the folder does not pass, or what `check` raises
        where it cannot be read.

    Raises:
        UsageError: the call takes no `folder_path`, or a selection makes no sense.
    """
    takes = inspect.signature(upload)
    if FOLDER not in takes.parameters:
        raise UsageError(f"an upload without {FOLDER} cannot be gated", "wrap upload_folder")
    wanted = selected(vllm, sglang, engines, platforms)

    @wraps(upload)
    def judged(*args: P.args, **kwargs: P.kwargs) -> T:
        passed(api.check(takes.bind(*args, **kwargs).arguments[FOLDER], **wanted))
        return upload(*args, **kwargs)

    return judged
