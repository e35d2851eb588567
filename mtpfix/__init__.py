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
    from mtpfix.api import Override, check, inspect, names_of, override, plan, rewrite
    from mtpfix.drafting import Drafted, draft_folder
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
    from mtpfix.gating import gated, saving
    from mtpfix.grafting import Graft, graft
    from mtpfix.handle import Checkpoint, open  # noqa: A004 - as `io.open`
    from mtpfix.model import (
        Edit,
        EngineReport,
        Finding,
        Fix,
        ModuleReport,
        Platform,
        Report,
    )
    from mtpfix.planning import Repair
    from mtpfix.pushing import Push, Pushed, push
    from mtpfix.recipe import Names
    from mtpfix.repair.plan import Options, Plan, Unresolved
    from mtpfix.verification import Verification, verify

__version__ = "0.2.0"

__all__ = [
    "BrokenFileError",
    "Checkpoint",
    "ConflictError",
    "Drafted",
    "Edit",
    "EngineReport",
    "Finding",
    "Fix",
    "GateError",
    "Graft",
    "MissingPackageError",
    "ModuleReport",
    "MtpfixError",
    "Names",
    "Options",
    "Override",
    "OverrideError",
    "Plan",
    "Platform",
    "Push",
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
    "mtpfix.recipe": ("Names",),
    "mtpfix.api": (
        "Override",
        "check",
        "inspect",
        "names_of",
        "override",
        "plan",
        "rewrite",
    ),
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
    "mtpfix.drafting": ("Drafted", "draft_folder"),
    "mtpfix.gating": ("gated", "saving"),
    "mtpfix.grafting": ("Graft", "graft"),
    "mtpfix.model": (
        "Edit",
        "EngineReport",
        "Finding",
        "Fix",
        "ModuleReport",
        "Platform",
        "Report",
    ),
    "mtpfix.handle": ("Checkpoint", "open"),
    "mtpfix.planning": ("Repair",),
    "mtpfix.pushing": ("Push", "Pushed", "push"),
    "mtpfix.repair.plan": ("Options", "Plan", "Unresolved"),
    "mtpfix.verification": ("Verification", "verify"),
}
"""Module -> the public names that live there."""


def __getattr__(name: str) -> object:
    """Imports a public name when it is first asked for, with all that lives beside it."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(home)
    # All at once: the import has just bound `verify` to the module of that name.
    globals().update({public: getattr(module, public) for public in _HOMES[home]})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
