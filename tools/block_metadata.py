"""The metadata that a checkpoint of `tools.blocks` should have: written by hand, method by method.

mtpfix takes no part in it: the names are those that vLLM asks about. Where vLLM then loads the
draft clean, the checkpoint is sound, and metadata exist that a repair could have found.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mtpfix.engines.vllm.live import Server
from tools import schemes
from tools.blocks import Asked
from tools.forge import Forged
from tools.record import Names, experts, names_of, spread
from tools.schemes import Quantization


def with_metadata(asked: Asked, made: Forged, server: Server, folder: Path) -> None:
    """Copy a checkpoint into a folder, and state there how its block is stored.

    Some drafts ask about more layers once the metadata are right, so that vLLM is asked twice.

    Args:
        asked: what the checkpoint is.
        made: the checkpoint.
        server: a running vLLM.
        folder: a new folder.
    """
    shutil.copytree(made.folder, folder)
    for ask in (made.folder, folder):
        answer = server.ask(ask, tolerant=True)
        names = names_of(asked.family, asked.variant, answer)
        quantized, plain = _parts(asked, names)
        write(asked, made, folder, quantized=quantized, plain=plain)


def write(
    asked: Asked,
    made: Forged,
    folder: Path,
    *,
    quantized: Sequence[str],
    plain: Sequence[str],
    block: str | None = None,
) -> None:
    """State how a block is stored in a copy of a checkpoint, in the place of what stands there.

    Args:
        asked: what the checkpoint is.
        made: the checkpoint.
        folder: the copy.
        quantized: names of what is stored by the scheme of the block.
        plain: names of what is not quantized.
        block: the scheme; None: the one that was asked for.
    """
    block = block or asked.block
    config = json.loads((made.folder / "config.json").read_text(encoding="utf-8"))
    stated = config["quantization_config"]
    method = stated["quant_method"]
    for key, value in schemes.unquantized(method, plain).items():
        both = (*stated[key], *(entry for entry in value if entry not in stated[key]))
        stated[key] = {**stated[key], **value} if isinstance(value, dict) else list(both)
    if block != asked.trunk or method == "modelopt":
        own = {name.rpartition(".")[0] for name in made.mtp}
        trunk = [module for module in made.quantized if module not in own]
        WRITERS[method](stated, block, quantized, trunk)
    for file, value in {"config.json": config, **schemes.companions(config)}.items():
        (folder / file).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _parts(asked: Asked, names: Names) -> tuple[list[str], list[str]]:
    """Return the names of what is stored quantized, and of what is not."""
    heads = [name for name in names.linears if name.endswith("head") or "shared_head" in name]
    kept = [name for name in names.linears if name not in heads]
    if asked.mtp == "mixed":
        kept = [] if names.experts else [name for name in kept if ".mlp." in name]
    rest = [name for name in names.linears if name not in kept]
    return forms(names, kept, names.experts), forms(names, rest, ())


def forms(names: Names, linears: Sequence[str], fused: Sequence[str]) -> list[str]:
    """Return names with those of the shards and the experts in them."""
    some = names._replace(linears=tuple(linears), experts=tuple(fused))
    return list(dict.fromkeys((*some.linears, *spread(some), *some.experts, *experts(some))))


# --- method by method ----------------------------------------------------------


def _compressed_tensors(
    stated: Quantization, block: str, names: Sequence[str], trunk: Sequence[str]
) -> None:
    """State a group of its own; groups of several formats are of mixed precision."""
    del trunk
    own = schemes.quantization(block)
    for group in stated["config_groups"].values():
        group.setdefault("format", stated["format"])
    stated["format"] = "mixed-precision"
    stated["config_groups"]["mtp"] = {
        **own["config_groups"]["group_0"],
        "format": own["format"],
        "targets": [rf"re:^{re.escape(name)}(\..*)?$" for name in names],
    }


def _modelopt(stated: Quantization, block: str, names: Sequence[str], trunk: Sequence[str]) -> None:
    """State an algorithm for each layer."""
    rows = {
        **dict.fromkeys(trunk, _algorithm(stated)),
        **dict.fromkeys(names, _algorithm(schemes.quantization(block))),
    }
    stated["quant_algo"] = "MIXED_PRECISION"
    stated["quantized_layers"] = rows


def _algorithm(stated: Quantization) -> dict[str, object]:
    groups = stated.get("config_groups", {}).get("group_0", {}).get("weights", {})
    size = {"group_size": groups["group_size"]} if "group_size" in groups else {}
    return {"quant_algo": stated["quant_algo"], **size}


def _gptq(stated: Quantization, block: str, names: Sequence[str], trunk: Sequence[str]) -> None:
    """State rules of other bits and groups."""
    del trunk
    stated["dynamic"].update({f"+:^{re.escape(name)}$": _words(block) for name in names})


def _auto_round(
    stated: Quantization, block: str, names: Sequence[str], trunk: Sequence[str]
) -> None:
    """State other bits and groups, name by name."""
    del trunk
    stated["extra_config"].update(dict.fromkeys(names, _words(block)))


def _words(block: str) -> dict[str, object]:
    return {key: schemes.quantization(block)[key] for key in ("bits", "group_size", "sym")}


def _quark(stated: Quantization, block: str, names: Sequence[str], trunk: Sequence[str]) -> None:
    """State a configuration for each layer."""
    del trunk
    own = schemes.quantization(block)["global_quant_config"]
    stated["layer_quant_config"] = dict.fromkeys(names, own)


Writer = Callable[[Quantization, str, Sequence[str], Sequence[str]], None]
WRITERS: Mapping[str, Writer] = {
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "gptq": _gptq,
    "auto-round": _auto_round,
    "quark": _quark,
}
"""What is changed in the metadata of a method."""
