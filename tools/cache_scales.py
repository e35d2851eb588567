"""Records what each release's draft loader does with the scales of a quantized KV cache.

    python -m tools.cache_scales --release 0.32.0 [--family mimo] [--home DIR]

Quantizers store them beside the attention or beside a projection. Some loaders know both, some
only where the model is quantized, since then the attention has a parameter for them, and some
know neither. The answers are kept in `tests/destinations/cache_scales.json`, by family, model
(`none` or `quantized`) and name.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from mtpfix.engines.vllm.live import Server
from tools import environments, tiny
from tools.destinations import FOLDER, Ranges, answers, draft_names, merged
from tools.record import MAIN, ask, schemes
from tools.recording import MAIN as METHOD
from tools.recording import with_quantization

FILE = FOLDER.parent / "cache_scales.json"
STYLES = ("k_scale", "k_proj.k_scale")
"""The scale of the keys as a name below the attention."""
_ATTENTION = re.compile(r"(.*\.(?:self_attn|attn|attention|mixer))\.[^.]+\.weight")


def attention(family: str) -> str | None:
    """What names of tensors of the first attention in the MTP block begin with."""
    found = (_ATTENTION.fullmatch(name) for name in draft_names(family, tiny.BASE))
    return next((each[1] for each in found if each), None)


def record(server: Server, family: str) -> dict[str, dict[str, str]]:
    """What one release says of a family, without quantization and with it."""
    place = attention(family)
    names = {f"{place}.{style}": ((1,), "float32") for style in STYLES}
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for model, scheme in (("none", None), ("quantized", schemes(METHOD)[MAIN])):
            config = with_quantization(
                tiny.config(family, tiny.BASE), scheme, ["lm_head"] if scheme else None
            )
            first = ask(server, Path(scratch), config)
            if place is None or first.failures:
                continue
            second = server.ask(Path(scratch), names=names, past_failures=True)
            found[model] = {} if second.failures else answers(second)
    return found


def update(release: str, family: str, found: dict[str, dict[str, str]]) -> None:
    """Puts the answers of one release into the file."""
    order = list(reversed(environments.releases()))
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for model, names in found.items():
        for name, answer in names.items():
            ranges: Ranges = data.setdefault(family, {}).setdefault(model, {})
            ranges[name] = merged(ranges.get(name, {}), release, answer, order)
    FILE.write_text(json.dumps(dict(sorted(data.items())), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Entry point."""
    options = environments.recorder(__doc__, tiny.families()).parse_args()
    with environments.Home(options.home).server(options.release) as server:
        for family in options.family or tiny.families():
            update(options.release, family, record(server, family))


if __name__ == "__main__":
    main()
