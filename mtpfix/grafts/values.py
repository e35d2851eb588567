"""The values of a block, judged as its bytes pass: a base may be broken, too."""

from __future__ import annotations

from collections.abc import Sequence

from mtpfix.errors import MissingPackageError, RefusedError, UnknownError
from mtpfix.grafts.block import Block
from mtpfix.grafts.pieces import Piece
from mtpfix.model import Finding, Tensor
from mtpfix.values.judge import judge
from mtpfix.values.read import scan_tensors
from mtpfix.values.scan import Scan, settle
from mtpfix.values.scanned import Scanned
from mtpfix.values.siblings import choose_siblings, tensors_of


class Values:
    """What is seen of the tensors of a block.

    Raises:
        MissingPackageError: torch is not installed.
    """

    def __init__(self) -> None:
        try:
            settle()
        except UnknownError:
            raise MissingPackageError(
                "torch", "a graft needs it, to check the values that it brings"
            ) from None
        self._scans: dict[str, tuple[Tensor, Scan]] = {}

    def scanner(self, piece: Piece) -> Scan:
        """Return what looks at the bytes of one tensor of the new shard."""
        tensor = Tensor(piece.dtype, piece.shape, 0, piece.size)
        scan = Scan(tensor)
        self._scans[piece.name] = tensor, scan
        return scan

    def findings(self, block: Block) -> tuple[Finding, ...]:
        """Return what is wrong with them (MTP5xx).

        They are compared with the target model where that is a folder; of a repo, the slices
        would have to be fetched.
        """
        scanned = {name: Scanned(t, scan.summary()) for name, (t, scan) in self._scans.items()}
        if block.source.target().kind == "hub":
            return judge(scanned, {}, {})
        files = block.held.files
        siblings = choose_siblings(scanned, files.inventory, block.held.roots)
        names = tensors_of(siblings, files.inventory)
        shards = files.listing.shards
        trunk = scan_tensors(block.source, {name: shards[name] for name in names}, parts=True)
        return judge(scanned, trunk, siblings)


def refuse_broken(findings: Sequence[Finding]) -> None:
    """Refuse a block that no draft can use; what rests on assumed thresholds is told only.

    Raises:
        RefusedError: a value makes it useless.
    """
    for finding in findings:
        if finding.severity == "error" and finding.confidence != "assumed":
            raise RefusedError(
                f"the block of the base is broken ({finding.code}): {finding.message}",
                f"give another revision of the base; see `mtpfix explain {finding.code}`",
            )
