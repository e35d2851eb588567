"""What a repair must be before it is written anywhere."""

from __future__ import annotations

from collections.abc import Iterable

from mtpfix.changes.repair import Repair
from mtpfix.changes.rewrite import hint
from mtpfix.checkpoint import strict_json
from mtpfix.checkpoint.load import CONFIGS
from mtpfix.engines.registry import DEFAULT, engine
from mtpfix.errors import MissingPackageError, MtpfixError, RefusedError
from mtpfix.model import EngineReport, JsonFile, Report
from mtpfix.selection import asking

_PARTIAL = "--allow-partial writes it anyway"


def require_harmless(
    made: Repair, *, allow_partial: bool = False, verb: str = "written", remedy: str = _PARTIAL
) -> None:
    """Refuse a repair that does harm, helps nobody, or that other readers of the file cannot read.

    A block that is brought, or a declaration that is taken out, has been asked for: it may not do
    harm, and that was judged when it was planned.

    Args:
        made: the repair.
        allow_partial: whether it may leave every release that decides as broken as it is.
        verb: what was not done then, for the message.
        remedy: what the user can do where the result would be as broken as the source.

    Raises:
        RefusedError: it is refused.
        MissingPackageError: compressed-tensors is to read the result, and is not installed.
    """
    if made.refusal is not None:
        raise made.refusal
    if made.purpose == "rewrite":
        _require_better(made, allow_partial=allow_partial, verb=verb, remedy=remedy)
    if made.purpose != "graft --drop":
        prove(made)


def _require_better(made: Repair, *, allow_partial: bool, verb: str, remedy: str) -> None:
    harmed = (*made.new.worse(made.old), *made.new.newly_failing(made.old))
    if harmed:
        raise RefusedError(
            f"the repair would make it worse on {_releases(harmed)}; nothing was {verb}",
            f"choose other releases with {asking(harmed[0].engine, '').split()[0]}",
            repair=made,
        )
    if made.is_useless and not allow_partial:
        raise RefusedError(
            f"the result would be as broken as the source ({_codes(made.checked)}); nothing was "
            f"{verb}",
            hint(made, remedy),
            repair=made,
        )


def _codes(report: Report) -> str:
    """Return the codes of all errors in a report; what fails without any has none."""
    found = {finding.code for finding in report.findings if finding.severity == "error"}
    return ", ".join(sorted(found)) or "no finding says why"


def _releases(engines: Iterable[EngineReport]) -> str:
    found: dict[str, dict[str, None]] = {}
    for each in engines:
        found.setdefault(each.engine, {})[each.version] = None
    return " and ".join(f"{engine(name).title} {', '.join(own)}" for name, own in found.items())


def prove(repair: Repair) -> None:
    """Have compressed-tensors itself read the repaired metadata, if it could read the old.

    Imports torch, which takes a second: nothing but a write calls this.

    Raises:
        RefusedError: it reads the old metadata and not the new.
        MissingPackageError: it is not installed, and the metadata is its own.
    """
    for name, (old, new) in repair.metadata.items():
        if name not in CONFIGS:
            continue
        try:
            refuses = accepts(old, name) and not accepts(new, name)
        except ImportError:
            raise MissingPackageError(
                "compressed-tensors", "a write needs it, to check that it reads the new metadata"
            ) from None
        if refuses:
            raise RefusedError(
                f"{name}: compressed-tensors would not read the repaired metadata",
                "please report this, with the file",
                repair=repair,
            )


def accepts(raw: bytes, name: str) -> bool:
    """Return whether `compressed_tensors.QuantizationConfig` reads the metadata of a config file.

    Raises:
        ImportError: compressed-tensors, or what it stands on, is not installed.
    """
    configs = {name: JsonFile(name, raw, strict_json.loads(raw, name))}
    try:
        view = engine(DEFAULT).metadata(configs)
    except MtpfixError:
        return False
    if view is None or view.method != "compressed-tensors":
        return False
    from compressed_tensors.quantization import QuantizationConfig  # noqa: PLC0415 - heavy

    try:
        QuantizationConfig.model_validate(dict(view.raw))
    except Exception:  # noqa: BLE001 - whatever its validators trip over, it does not read it
        return False
    return True
