"""mtpfix: the quantization metadata of MTP blocks, judged by the rules of vLLM and SGLang.

Everything public is imported on first use, so that `import mtpfix` costs nothing::

    import mtpfix

    report = mtpfix.inspect("path/to/checkpoint", vllm=["all"])
    for finding in report.findings:
        print(finding.code, finding.message)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtpfix.calls import Override
    from mtpfix.changes.repair import Repair
    from mtpfix.delivery import Delivered, Pushed
    from mtpfix.drafting import Drafted
    from mtpfix.engines.verification import Verification
    from mtpfix.errors import (
        BrokenFileError,
        ConflictError,
        GateError,
        MissingPackageError,
        MtpfixError,
        OverrideError,
        RefusedError,
        TargetError,
        UnknownError,
        UsageError,
        WriteError,
    )
    from mtpfix.handle import (
        Checkpoint,
        check,
        draft_folder,
        gated,
        graft,
        inspect,
        names_of,
        open,  # noqa: A004 - as `io.open`
        override,
        plan,
        push,
        rewrite,
        saving,
        verify,
    )
    from mtpfix.model import (
        Edit,
        EngineReport,
        Finding,
        Fix,
        ModuleReport,
        Platform,
        Report,
    )
    from mtpfix.recipe import Names
    from mtpfix.repair.plan import Options, Plan, Unresolved

__version__ = "0.2.0"

__all__ = [
    "BrokenFileError",
    "Checkpoint",
    "ConflictError",
    "Delivered",
    "Drafted",
    "Edit",
    "EngineReport",
    "Finding",
    "Fix",
    "GateError",
    "MissingPackageError",
    "ModuleReport",
    "MtpfixError",
    "Names",
    "Options",
    "Override",
    "OverrideError",
    "Plan",
    "Platform",
    "Pushed",
    "RefusedError",
    "Repair",
    "Report",
    "TargetError",
    "UnknownError",
    "Unresolved",
    "UsageError",
    "Verification",
    "WriteError",
    "__version__",
    "check",
    "draft_folder",
    "gated",
    "graft",
    "inspect",
    "names_of",
    "open",
    "override",
    "plan",
    "push",
    "rewrite",
    "saving",
    "verify",
]

_HOMES = {
    "mtpfix.calls": ("Override",),
    "mtpfix.changes.repair": ("Repair",),
    "mtpfix.delivery": ("Delivered", "Pushed"),
    "mtpfix.drafting": ("Drafted",),
    "mtpfix.engines.verification": ("Verification",),
    "mtpfix.errors": (
        "BrokenFileError",
        "ConflictError",
        "GateError",
        "MissingPackageError",
        "MtpfixError",
        "OverrideError",
        "RefusedError",
        "TargetError",
        "UnknownError",
        "UsageError",
        "WriteError",
    ),
    "mtpfix.handle": (
        "Checkpoint",
        "check",
        "draft_folder",
        "gated",
        "graft",
        "inspect",
        "names_of",
        "open",
        "override",
        "plan",
        "push",
        "rewrite",
        "saving",
        "verify",
    ),
    "mtpfix.model": (
        "Edit",
        "EngineReport",
        "Finding",
        "Fix",
        "ModuleReport",
        "Platform",
        "Report",
    ),
    "mtpfix.recipe": ("Names",),
    "mtpfix.repair.plan": ("Options", "Plan", "Unresolved"),
}
"""Module -> the public names that live there."""


def __getattr__(name: str) -> object:
    """Imports a public name when it is first asked for, with all that lives beside it."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(home)
    globals().update({public: getattr(module, public) for public in _HOMES[home]})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
