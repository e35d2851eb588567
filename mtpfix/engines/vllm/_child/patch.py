"""How a patch is registered and applied, and what patches have in common.

No patch touches the decision which quantization method a layer gets. A patch that
shows a module the face of a CUDA device (compute capability 9.0) is there because the
module would otherwise decide for a CPU, and CUDA is the platform that mtpfix predicts.
The first line of a docstring says what and why; the decorator says for which releases.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .standins import CudaFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Release = tuple[int, ...]


class Patch(NamedTuple):
    """A function and the releases and model types that need it."""

    run: Callable[[], None]
    since: Release
    until: Release
    only: frozenset[str]
    past_failures: bool
    """Whether it carries a build past an exception that the release really raises."""

    def wanted(self, release: Release, model_type: str | None, *, past_failures: bool) -> bool:
        """Whether it applies; `model_type` None selects the patches that fit all models."""
        fits = model_type in self.only if self.only else model_type is None
        return (
            fits
            and self.since <= release < self.until
            and (past_failures or not self.past_failures)
        )

    def __str__(self) -> str:
        """Its name, and the reason for it."""
        reason = (self.run.__doc__ or "").strip().splitlines()[0]
        return f"{self.run.__name__}: {reason}"


PATCHES: list[Patch] = []
FAMILIES = Path(__file__).resolve().parents[1] / "families"
"""The folders of the families; what one needs is in its `stand_ins.py`."""
GENERIC: dict[str, str] = {}
"""Model type -> the class of transformers that stands for its configuration class."""


def patch(
    *,
    since: Release = (0,),
    until: Release = (sys.maxsize,),
    only: tuple[str, ...] = (),
    past_failures: bool = False,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a patch for releases from `since` up to, not with, `until`."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        PATCHES.append(Patch(run, since, until, frozenset(only), past_failures))
        return run

    return register


def load() -> None:
    """Import the patches for every model, then those in the folders of the families."""
    importlib.import_module(".patches", __package__)
    for file in sorted(FAMILIES.glob("*/stand_ins.py")):
        importlib.import_module(f"..families.{file.parent.name}.{file.stem}", __package__)


def apply(
    release: Release, model_type: str | None = None, *, past_failures: bool = False
) -> list[str]:
    """Applies the patches of `release`: those for every model, or those for one model type.

    Args:
        release: of the installed vLLM.
        model_type: of the model; None: those for every model.
        past_failures: with those that go past a failure, so that decisions after it are heard.

    Returns:
        What was applied. A patch that finds other code than it knows is left out, and says
        so: the build then succeeds without it or fails for a reason that is reported.
    """
    applied = []
    for each in PATCHES:
        if each.wanted(release, model_type, past_failures=past_failures):
            try:
                each.run()
            except Exception as error:  # noqa: BLE001 - a newer release may break it in any way
                applied.append(f"{each} FAILED: {type(error).__name__}: {error}")
            else:
                applied.append(str(each))
    return applied


# --- what patches have in common ---------------------------------------------


def generic_config(*model_types: str, base: str = "PretrainedConfig") -> None:
    """Give model types whose configuration class is remote code a generic one.

    Args:
        model_types: as in `config.json`.
        base: the class of transformers that it is made of.
    """
    GENERIC.update(dict.fromkeys(model_types, base))


def module(name: str) -> Any:
    """The module, or None where this release has none that can be imported."""
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - CUDA-only modules fail in every way there is
        return None


def submodules(package: str) -> Iterator[Any]:
    """The modules of a package that can be imported here."""
    parent = module(package)
    for info in pkgutil.iter_modules(getattr(parent, "__path__", [])):
        found = module(f"{package}.{info.name}")
        if found is not None:
            yield found


def substitute(replacements: dict[Any, Any]) -> None:
    """Puts new functions in the place of old ones, in every vLLM module that holds them."""
    for name, holder in list(sys.modules.items()):
        if name.startswith("vllm.") and type(holder) is types.ModuleType:
            for key, value in list(vars(holder).items()):
                if isinstance(value, types.FunctionType) and value in replacements:
                    setattr(holder, key, replacements[value])


def platform() -> Any:
    """The class of the platform that vLLM detected."""
    from vllm.platforms import current_platform

    return type(current_platform)


def show_cuda(*names: str) -> None:
    """Shows the CUDA face to modules of the quantization package."""
    for name in names:
        found = module(f"vllm.model_executor.layers.quantization.{name}")
        if hasattr(found, "current_platform"):
            found.current_platform = CudaFace()


def always(value: Any) -> Callable[..., Any]:
    """A function that returns the same, whatever it is asked."""
    return lambda *_, **__: value


def plugin_for_cuda() -> None:
    """Has mtpfix's plugin in this process judge for CUDA, which is what is built here."""
    vars(importlib.import_module("mtpfix.serving.engine"))["platform"] = always("cuda")
