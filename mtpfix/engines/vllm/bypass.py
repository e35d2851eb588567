"""Draft classes that build modules unquantized because of what the metadata holds. Pure.

The class reads `config.json` itself and hands no quantization configuration on: the
modules are then not asked about, whatever the entries say of them (policy field `spares`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mtpfix.engines.policies.context import Context, first
from mtpfix.engines.policies.method import RaisesError
from mtpfix.engines.vllm.policy import Policy
from mtpfix.engines.vllm.records.family import SparesRow
from mtpfix.model import Decision, Entry, Module, QuantView

_PLACE = "/quantization_config"


@dataclass(frozen=True, slots=True)
class Bypass:
    """What such a class found in the metadata.

    Attributes:
        below: beginning of the names of the modules that it spares.
        entry: the first entry that made it do so; None: `error` is raised.
    """

    below: str
    entry: Entry | None
    error: str = ""

    def decide(self, module: Module) -> Decision | None:
        """The decision about a module that is spared; None about any other.

        Raises:
            RaisesError: the class cannot read the metadata.
        """
        if not module.name.startswith(self.below):
            return None
        if self.entry is None:
            raise RaisesError(self.error)
        unasked = replace(module, asks=False)
        return Decision(unasked, "unquantized", expects="unquantized", because=self.entry)


def find_bypass(policy: Policy, view: QuantView, context: Context) -> Bypass | None:
    """What the draft class of this release spares under the metadata; None if nothing."""
    row = first(policy.record.spares, context)
    if row is None or (view.file, view.pointer) != ("config.json", _PLACE):
        return None
    if view.null:
        return Bypass(row.below, None, row.null)
    entry = next((entry for entry in view.ignore if _marks(entry, row)), None)
    return None if entry is None else Bypass(row.below, entry)


def _marks(entry: Entry, row: SparesRow) -> bool:
    """Whether an entry, as the file spells it, is one that the class looks for."""
    return entry.spelling.startswith(row.begins) and row.holds in entry.spelling
