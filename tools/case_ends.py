"""How many public cases end clean by one command: `rewrite`, or `graft` where the block is lost.

    python -m tools.case_ends [CASE ...]

Judged for the newest release on CUDA, as `check` does. A base to graft from is made for the cases
that lost their block: their configuration without quantization, and the block in BF16. It shows
that the plan is clean, not that the weights of the real base are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mtpfix
from mtpfix.checkpoint.inventory import written_out
from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.errors import MtpfixError, UnknownError
from tests.cases.materialise import CASES, materialise
from tools.sample import Tensors, dump, write_shard


class End(NamedTuple):
    """What one checkpoint of a case comes to.

    Attributes:
        before: whether it is clean as it is; None: it cannot be judged.
        command: what ends clean: `rewrite`, `graft`; empty: nothing was needed, or nothing does.
        why: why it does not end clean.
    """

    case: str
    checkpoint: str
    before: bool | None
    command: str = ""
    why: str = ""

    @property
    def clean(self) -> bool:
        """Whether it ends clean."""
        return bool(self.before or self.command)


def end(case: Path, checkpoint: str) -> End:
    """Return what one checkpoint comes to by one command."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = materialise(case / checkpoint, Path(scratch) / "model")
        found = End(case.name, checkpoint, None)
        try:
            made = mtpfix.plan(folder)
        except UnknownError as error:
            return found._replace(why=str(error))
        found = found._replace(before=made.checked_before.exit_code == 0)
        if found.before:
            return found
        if made.exit_code == 0:
            return found._replace(command="rewrite")
        try:
            graft = mtpfix.graft(folder, base(folder, Path(scratch) / "base"))
        except MtpfixError as error:
            return found._replace(why=str(error))
        if graft.exit_code == 0 and graft.refused is None:
            return found._replace(command="graft")
        errors = {f.code for f in made.checked.findings if f.severity == "error"}
        return found._replace(why=", ".join(sorted(errors)))


def base(target: Path, folder: Path) -> Path:
    """Write a model in BF16 of which a checkpoint may have been made, the MTP block alone."""
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    for key in ("quantization_config", "compression_config"):
        config.pop(key, None)
    known = policy.policy(policy.recognise(config) or "")
    context = construction.newest(known, config)
    tensors: Tensors = {}
    for module in construction.modules(known, context, "draft"):
        names = (name for name in written_out(module) if name not in module.stacked)
        tensors |= {f"{name}.weight": ("BF16", (8, 8)) for name in names}
    roots = construction.disk_roots(known, context)
    for each in construction.plain(known, context):
        tensors.setdefault(each.name, ("BF16", (8,)))
    folder.mkdir()
    dump(folder / "config.json", config)
    write_shard(
        folder / "model.safetensors", {n: t for n, t in tensors.items() if n.startswith(roots)}
    )
    return folder


def ends(cases: list[str]) -> Iterator[End]:
    """Yield what every checkpoint of some cases comes to; of all, where none is named."""
    for path in sorted(CASES.glob("*/expected.json")):
        if not cases or path.parent.name in cases:
            stated = json.loads(path.read_text(encoding="utf-8"))
            yield from (end(path.parent, name) for name in stated["checkpoints"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="*")
    found = []
    for each in ends(parser.parse_args().case):
        found.append(each)
        said = "clean" if each.before else each.command or f"- {each.why}"
        print(f"{each.case} {each.checkpoint}: {said}", flush=True)
    cases: dict[str, list[End]] = {}
    for each in found:
        cases.setdefault(each.case, []).append(each)
    before = sum(all(e.before for e in group) for group in cases.values())
    after = sum(all(e.clean for e in group) for group in cases.values())
    print(f"{len(cases)} cases: {before} clean before, {after} clean by one command")


if __name__ == "__main__":
    main()
