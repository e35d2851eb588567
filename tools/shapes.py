"""Writes the `tiny_shapes.json` of families: what a checkpoint of each tiny model holds.

    python -m tools.shapes [--release 0.32.0] [--family mimo] [--home DIR]

The names and shapes come from vLLM's own parameters, so that forging a checkpoint needs
no vLLM. A tensor is written as `256x128 bfloat16`, with `q` where vLLM would quantize it.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtpfix.engines.vllm.live import Answer, Server
from tools import disk, environments, tiny
from tools.record import MAIN, ask, schemes
from tools.recording import MAIN as METHOD
from tools.recording import with_quantization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtpfix.model import Part

PARTS: tuple[Part, Part] = ("trunk", "draft")


def record(server: Server, families: list[str]) -> dict[str, Any]:
    """Asks vLLM about every tiny configuration of some families."""
    found: dict[str, Any] = {}
    main = schemes(METHOD)[MAIN]
    with tempfile.TemporaryDirectory() as scratch:
        for family in families:
            for variant in tiny.variants(family):
                config = tiny.config(family, variant)
                plain = ask(server, Path(scratch), with_quantization(config, None, None))
                built = ask(server, Path(scratch), with_quantization(config, main, ["lm_head"]))
                entry = {part: describe(part, family, config, plain, built) for part in PARTS}
                base = found.get(f"{family}/{tiny.BASE}", {})
                found[f"{family}/{variant}"] = {
                    part: tiny.BASE if entry[part] == base.get(part) else entry[part]
                    for part in PARTS
                }
    return found


def describe(
    part: Part, family: str, config: tiny.Config, plain: Answer, built: Answer
) -> dict[str, str]:
    """The tensors of one part, by name; one line stands for all experts."""
    parameters = unquantized(plain.parameters[part])
    asked = {made.param for made in built.of(part) if made.built == "quantized"}
    weights = {n: size for n, size in built.parameters[part].items() if n.endswith("weight")}
    marked = {name: size for name, size in weights.items() if owner(name) in asked}
    quantizable = disk.on_disk(marked, part, family, config)
    found = {}
    for name, (shape, dtype) in disk.on_disk(parameters, part, family, config).items():
        mark = " q" if name in quantizable and name.endswith(".weight") else ""
        text = f"{'x'.join(map(str, shape))} {dtype}{mark}"
        found[re.sub(r"(\.experts)\.\d+\.", r"\1.*.", name)] = text
    return {name: text for name, text in found.items() if "visual." not in name}


def unquantized(parameters: Mapping[str, tuple[disk.Shape, str]]) -> disk.Tensors:
    """The parameters as they are without scales: some drafts are in FP8 whatever the metadata."""
    scales = ("weight_scale", "weight_scale_inv", "input_scale")
    return {
        name: (shape, "bfloat16" if dtype.startswith("float8") else dtype)
        for name, (shape, dtype) in parameters.items()
        if not name.endswith(scales)
    }


def owner(parameter: str) -> str:
    """The module that holds a parameter."""
    return parameter.rpartition(".")[0]


def main() -> None:
    """Entry point."""
    options = environments.recorder(__doc__, tiny.families()).parse_args()
    with environments.Home(options.home).server(options.release) as server:
        new = record(server, options.family or tiny.families())
    for folder in {tiny.folder(key.partition("/")[0]) for key in new}:
        write(folder, new)


def write(folder: Path, new: Mapping[str, Any]) -> None:
    """Write the recording of one family: what is new of it, and what was there."""
    models = [family for family in tiny.families() if tiny.folder(family) == folder]
    merged = {**tiny.shapes(models[0]), **new}
    order = [f"{family}/{variant}" for family in models for variant in tiny.variants(family)]
    lines = [f"{json.dumps(key)}: {json.dumps(merged[key])}" for key in order if key in merged]
    (folder / tiny.SHAPES).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
