"""Records what each release's target loader does with names that no module of the target has.

    python -m tools.target_names --release 0.32.0 [--family mimo] [--home DIR]

Asked are a quantized embedding, matrices of routed experts under names of their own, and a
quantized module more in a layer. The answers are kept in `tests/destinations/target_names.json`,
by family and name; messages are cut where vLLM lists what there is instead.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtpfix.engines.policies import construction
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.live import Server
from mtpfix.model import Module
from tools import environments, tiny
from tools.destinations import FOLDER, SIZE, answers, merged
from tools.recording import with_quantization

FILE = FOLDER.parent / "target_names.json"
STACKED = ("gate_up_proj", "down_proj")
"""What matrices of all experts are called in most families."""
_CUTS = (" The available parameters", " for checkpoint weight")


def names(family: str) -> Iterator[str]:
    """Yield the names to ask about."""
    config = tiny.config(family, tiny.BASE)
    known = policy.policy(policy.recognise(config) or "")
    context = construction.newest(known, config)
    modules = construction.modules(known, context, "trunk")
    embedding = next((module for module in modules if module.kind == "embedding"), None)
    if embedding is not None:
        yield f"{embedding.members[0]}.weight_packed"
    experts = next((module for module in modules if is_numbered(module)), None)
    if experts is not None:
        head = experts.members[0].partition("*")[0]
        parts = (name.rpartition(".")[2] for name in experts.members)
        yield from (f"{head}{part}.0.qweight" for part in dict.fromkeys((*parts, *STACKED)))
    layer = next(iter(construction.target_layers(known, context)), None)
    if layer is not None:
        yield from (f"{layer}extra.qweight", f"{layer}extra.weight_scale")


def is_numbered(module: Module) -> bool:
    """Return whether a module is that of routed experts, which are stored one by one."""
    return module.kind == "experts" and "*" in "".join(module.members[:1])


def record(server: Server, family: str) -> dict[str, str]:
    """Return what one release does with the names; nothing where it builds no such model."""
    config = with_quantization(tiny.config(family, tiny.BASE), None, None)
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "config.json").write_text(json.dumps(config), encoding="utf-8")
        asked = dict.fromkeys(names(family), SIZE)
        answer = server.ask(Path(scratch), names=asked, names_of="trunk", past_failures=True)
    return {name: _cut(found) for name, found in answers(answer).items()}


def _cut(found: Any) -> str:
    """Return an answer without what vLLM lists in its messages."""
    text = str(found)
    for cut in _CUTS:
        text = text.partition(cut)[0]
    return text


def update(release: str, family: str, found: dict[str, str]) -> None:
    """Put the answers of one release into the file."""
    order = list(reversed(environments.releases()))
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    rows = data.setdefault(family, {})
    for name in dict.fromkeys((*rows, *found)):
        rows[name] = merged(rows.get(name, {}), release, found.get(name), order)
    data[family] = {name: ranges for name, ranges in rows.items() if ranges}
    kept = {each: data[each] for each in sorted(data) if data[each]}
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Entry point."""
    options = environments.recorder(__doc__, tiny.families()).parse_args()
    with environments.Home(options.home).server(options.release) as server:
        for family in options.family or tiny.families():
            found = record(server, family)
            print(f"{family}: {len(found)} names", flush=True)
            update(options.release, family, found)


if __name__ == "__main__":
    main()
