"""Asks the matchers of vLLM releases themselves, and records their answers.

    python -m tools.differential SOURCES --out tests/differential

`SOURCES` holds a folder for each release, named like it, with the unpacked wheel of that
release in it (`SOURCES/0.33.0/vllm/...`). Nothing of vLLM is imported: `should_ignore_layer`
and `find_matched_target`, with the functions that they call, are lifted out of the sources by
`ast` and run on their own, on cases that a seeded generator makes. The cases are the same for
all releases and stand in one file; the answers of a release fit on a few lines.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "mtpfix.differential/1"
CASES = "cases.json"
SEED = 20261124
PLAIN, ODD = 480, 60
"""Number of cases with lists that a person would write, and with hostile ones."""

YES, NO = "+", "-"
"""An answer about one name; anything else is the name of an exception."""

_FILES = (
    "vllm/model_executor/layers/quantization/compressed_tensors/utils.py",
    "vllm/model_executor/layers/quantization/utils/config_utils.py",
)
_ROOTS = ("should_ignore_layer", "find_matched_target")
_IMPORTED = frozenset({"collections", "fnmatch", "regex", "types"})
"""Modules that lifted functions may use."""


class Case(NamedTuple):
    """One question: is `name` ignored, and which target does it fall under?"""

    name: str
    cls: str
    ignore: tuple[str, ...]
    targets: tuple[str, ...]
    packed: str
    """Key of `PACKED`."""


class Answer(NamedTuple):
    """What a release says to one case."""

    ignored: str
    """`YES`, `NO` or the name of an exception."""
    target: str
    """Index of the target, `NO` or the name of an exception."""
    text: str
    """Message of the exception that the ignore test raises."""


PACKED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "none": {},
    "usual": {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    },
    "mla": {
        "gate_up_proj": ["gate_proj", "up_proj"],
        "fused_qkv_a_proj": ["q_a_proj", "kv_a_proj_with_mqa"],
    },
    "deepseek_v4": {
        "gate_up_proj": ["w1", "w3"],
        "fused_wqa_wkv": ["wq_a", "wkv"],
        "fused_wkv_wgate": ["wkv", "wgate"],
    },
    "wrong": {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["up_proj", "down_proj"],
    },
    "itself": {"qkv": ["qkv"], "in_proj_qkvz": ["in_proj_qkv", "in_proj_z"]},
    "suffix": {"proj": ["left_proj", "right_proj"], "qkv_proj": ["q_proj", "k_proj", "v_proj"]},
}
"""Mappings that releases have, and one whose key is the end of other names."""

_PREFIXES = (
    "",
    "model.layers.3.self_attn.",
    "model.layers.4.mlp.",
    "model.layers.43.attn.",
    "model.layers.43.ffn.shared_experts.",
    "model.layers.61.mlp.",
    "model.layers.61.mlp.experts.0.",
    "mtp.",
    "mtp.layers.0.self_attn.",
    "mtp.layers.0.mlp.",
    "language_model.model.layers.1.mlp.",
    "visual.blocks.0.attn.",
    "gate_up_proj.",
    "q_proj.",
    "qkv_proj.0.",
)
_CLASSES = (
    "QKVParallelLinear",
    "MergedColumnParallelLinear",
    "RowParallelLinear",
    "ReplicatedLinear",
    "ParallelLMHead",
    "VocabParallelEmbedding",
    "RoutedExperts",
    "FusedMoE",
)
_CLASS_TARGETS = ("Linear", "linear", "Parallel", "QKVParallelLinear", "RoutedExperts", "re:.*Head")


# --- cases -------------------------------------------------------------------


def cases(seed: int = SEED) -> list[Case]:
    """The cases: first those that a person would write, then the hostile ones."""
    chosen = random.Random(seed)  # noqa: S311 - not for secrets
    plain = [_case(chosen, _sensible) for _ in range(PLAIN)]
    odd = [_case(chosen, _hostile) for _ in range(ODD)]
    return plain + odd


Make = Callable[[random.Random, str, Sequence[str]], str]


def _case(chosen: random.Random, make: Make) -> Case:
    packed = chosen.choice(tuple(PACKED))
    lasts = [*(s for shards in PACKED[packed].values() for s in shards), "o_proj", "fc"]
    fused = PACKED[packed] and chosen.random() < 0.6  # noqa: PLR2004 - they are the hard ones
    name = chosen.choice(_PREFIXES) + chosen.choice(tuple(PACKED[packed]) if fused else lasts)
    if make is _hostile and chosen.random() < 0.1:  # noqa: PLR2004
        name = ""
    last = name.rpartition(".")[2]
    members = [name, *(name.replace(last, s) for s in PACKED[packed].get(last, ()))]
    ignore = [make(chosen, name, members) for _ in range(chosen.randint(0, 4))]
    targets = [make(chosen, name, members) for _ in range(chosen.randint(0, 3))]
    targets += chosen.sample(_CLASS_TARGETS, chosen.randint(0, 2))
    chosen.shuffle(targets)
    unique = tuple(dict.fromkeys(targets))  # the engine keeps targets in a mapping
    return Case(name, chosen.choice(_CLASSES), tuple(ignore), unique, packed)


def _sensible(chosen: random.Random, name: str, members: Sequence[str]) -> str:
    """An entry as people and tools write them, for `name` or for something like it."""
    member = chosen.choice(members)
    parent, _, last = member.rpartition(".")
    root = ".".join(member.split(".")[: chosen.randint(1, 3)])
    return chosen.choice(
        (
            member,
            member,
            members[-1],
            name,
            parent or name,
            f"{member}.weight",
            last,
            "lm_head",
            f"re:^{re.escape(root)}\\..*",
            f"re:{root}.*",
            f"re:.*{last}$",
            f"re:.*{last}",
            f"re:{last}",
            "re:.*\\.(q|k|gate|w1|wq_a|left)(_proj)?$",
            "re:.*(self_attn|attn|mlp)\\..*",
            "re:model.layers.4.*",
            "re:.*mtp.*",
            "re:^mtp",
            f"re:(?!{re.escape(root)}).*",
            f"re:(?i){member.upper()}",
            f"{root}*",
            member.upper(),
        )
    )


def _hostile(chosen: random.Random, name: str, members: Sequence[str]) -> str:
    """An entry that nobody should write."""
    return chosen.choice(
        (
            "",
            "re:",
            "re:$",
            "re:*",
            "re:(",
            "re:^$",
            "re:.*",
            "RE:.*",
            " " + name,
            "re:re:.*",
            f"re:{members[-1]}{{e<=1}}",
            "re:\\p{Lu}?.*_proj\\Z",
            _sensible(chosen, name, members),
        )
    )


# --- releases ----------------------------------------------------------------


@dataclass(frozen=True)
class Matchers:
    """The two functions of one release."""

    ignored: Callable[..., bool]
    target: Callable[..., str | None]

    def ask(self, case: Case) -> Answer:
        """What the release says to one case."""
        packed = PACKED[case.packed]
        module = type(case.cls, (), {})()
        text = ""
        try:
            ignored = YES if self.ignored(case.name, list(case.ignore), packed) else NO
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            ignored, text = type(error).__name__, str(error)
        try:
            found = self.target(case.name, module, dict.fromkeys(case.targets).keys(), packed)
            target = NO if found is None else str(case.targets.index(found))
        except Exception as error:  # noqa: BLE001
            target = type(error).__name__
        return Answer(ignored, target, text)


def lifted(sources: Path) -> Matchers:
    """The matchers of the release that is unpacked in `sources`."""
    functions: dict[str, ast.FunctionDef] = {}
    imports: list[ast.stmt] = []
    for name in _FILES:
        path = sources / name
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                functions.setdefault(node.name, node)
            elif isinstance(node, (ast.Import, ast.ImportFrom)) and _allowed(node):
                imports.append(node)
    body: list[ast.stmt] = [*imports, *_closure(functions)]
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    module = ast.fix_missing_locations(ast.Module([future, *body], []))
    space: dict[str, Any] = {"__name__": "lifted"}
    exec(compile(module, str(sources), "exec"), space)  # noqa: S102 - that is what this is for
    return Matchers(space[_ROOTS[0]], space[_ROOTS[1]])


def _allowed(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
    return all((name or "").split(".")[0] in _IMPORTED for name in names)


def _closure(functions: Mapping[str, ast.FunctionDef]) -> Iterator[ast.FunctionDef]:
    """The functions that are asked, and all that they call."""
    wanted, seen = list(_ROOTS), set(_ROOTS)
    while wanted:
        node = functions[wanted.pop()]
        yield node
        called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & functions.keys()
        wanted += sorted(called - seen)
        seen |= called


# --- files -------------------------------------------------------------------


def read_cases(folder: Path) -> list[Case]:
    """The recorded cases."""
    rows = json.loads((folder / CASES).read_text(encoding="utf-8"))["cases"]
    return [Case(n, c, tuple(i), tuple(t), p) for n, c, i, t, p in rows]


def read_answers(path: Path) -> list[Answer]:
    """The recorded answers of one release, one for each case."""
    data = json.loads(path.read_text(encoding="utf-8"))
    texts = {int(index): text for index, text in data["texts"].items()}
    pairs = zip(data["ignored"].split(), data["target"].split(), strict=True)
    return [Answer(i, t, texts.get(index, "")) for index, (i, t) in enumerate(pairs)]


def write_cases(folder: Path, asked: Sequence[Case]) -> None:
    """Writes the cases, one a line."""
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in asked)
    head = f'"schema": {json.dumps(SCHEMA)},\n"seed": {SEED},\n"plain": {PLAIN}'
    text = f'{{{head},\n"cases": [\n{rows}\n]}}\n'
    (folder / CASES).write_text(text, encoding="utf-8")


def write_answers(folder: Path, release: str, answers: Sequence[Answer]) -> None:
    """Writes the answers of one release."""
    texts = {i: a.text for i, a in enumerate(answers) if a.ignored == "ValueError"}
    data = {
        "schema": SCHEMA,
        "engine": "vllm",
        "release": release,
        "command": "python -m tools.differential SOURCES --out tests/differential",
        "ignored": " ".join(a.ignored for a in answers),
        "target": " ".join(a.target for a in answers),
        "texts": dict(list(texts.items())[:5]),
    }
    text = json.dumps(data, indent=1) + "\n"
    (folder / f"{release}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", type=Path, help="a folder for each release")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    asked = cases()
    write_cases(options.out, asked)
    for folder in sorted(options.sources.iterdir()):
        if (folder / _FILES[0]).exists():
            matchers = lifted(folder)
            answers = [matchers.ask(case) for case in asked]
            write_answers(options.out, folder.name, answers)
            print(
                f"{folder.name}: {sum(a.ignored == YES for a in answers)} of {len(asked)} ignored"
            )


if __name__ == "__main__":
    main()
