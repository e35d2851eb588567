"""What the builds of engines have in common: phases, and what they say of what was built."""

from __future__ import annotations

import contextlib
import platform
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Json = dict[str, Any]

PACKAGES = ("torch", "transformers", "compressed-tensors")
"""What engines stand on and answers may depend on."""


def installed(engine: str, release: str) -> Json:
    """Return the releases of an engine, of Python and of what the engine stands on."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {engine: release, "python": platform.python_version(), **packages}


def attempt(
    phase: str, work: Callable[[], None], failures: list[Json], describe: Callable[..., Json]
) -> bool:
    """Do the work of a phase; an exception in it becomes a failure, and False."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - this is what the caller asks about
        failures.append({"phase": phase, **describe(error)})
        return False
    return True


def state(config: Any, lists: Sequence[str]) -> Json:
    """Return the parts of a quantization configuration that decide, after the mappers.

    Args:
        config: the configuration, if there is one.
        lists: what configuration classes call the list of what stays unquantized.
    """
    if config is None:
        return {}
    packed = getattr(config, "packed_modules_mapping", None) or {}
    ignore = next((list(v) for v in (getattr(config, n, None) for n in lists) if v), None)
    return {
        "class": type(config).__name__,
        "packed": {key: list(value) for key, value in packed.items()},
        "ignore": None if ignore is None else [str(entry) for entry in ignore],
        "targets": list(getattr(config, "target_scheme_map", None) or ()),
    }


def shapes(model: Any) -> dict[str, list[Any]]:
    """Return shape and dtype of every parameter."""
    return {
        name: [list(p.shape), str(p.dtype).removeprefix("torch.")]
        for name, p in model.named_parameters()
    }


def dotted(cls: type) -> str:
    """Return module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def described(error: BaseException, package: str, inside: str) -> dict[str, str]:
    """Return type, message and place of an exception: the innermost place inside the engine.

    Args:
        error: the exception.
        package: the part of a path behind which names of files are said.
        inside: the part of a path that tells a file of the engine.
    """
    frames = traceback.extract_tb(error.__traceback__)
    within = [frame for frame in frames if inside in frame.filename] or list(frames)
    where = ""
    if within:
        file = within[-1].filename.rpartition(package)[2]
        where = f"{file}:{within[-1].lineno} in {within[-1].name}"
    return {"type": type(error).__name__, "message": str(error)[:2000], "where": where}
