"""Asks the matchers of vLLM releases themselves, and records their answers.

    python -m tools.differential [RELEASE ...] --home DIR [--out tests/differential]

Nothing of vLLM is imported (see `lifting`). Two sorts of questions are asked. The cases are
those that a person would write, with some hostile ones; they are the same for all releases
and stand in one file, and the answers of a release fit on a few lines. The generated questions
(see `grammar`) are thousands; only the answers are kept, equal releases together.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools import grammar
from tools.environments import HOME, Home, releases
from tools.lifting import NO, YES, Matchers, lifted

SCHEMA = "mtpfix.differential/1"
CASES, GENERATED = "cases.json", "generated.json"
OUT = Path(__file__).parents[1] / "tests" / "differential"
SEED = 20261124
PLAIN, ODD = 480, 60
"""Number of cases with lists that a person would write, and with hostile ones."""


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


class Generated(NamedTuple):
    """What a release says to the generated questions, one letter or word for each."""

    ignored: str
    """As in an `Answer`, by the letters of `LETTERS`."""
    target: str
    mapped: tuple[str, ...]
    """Checksums of lists after the mapper."""


LETTERS = {YES: "+", NO: "-", "ValueError": "V", "error": "E"}
"""Answers about names, as one letter; the index of a target is a digit."""

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
    return Case(name, chosen.choice(grammar.CLASSES), tuple(ignore), unique, packed)


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


def ask(matchers: Matchers, case: Case) -> Answer:
    """What a release says to one case."""
    packed = PACKED[case.packed]
    ignored, text = matchers.ignored(case.name, case.ignore, packed)
    return Answer(ignored, matchers.target(case.name, case.cls, case.targets, packed), text)


def ask_generated(matchers: Matchers) -> Generated:
    """What a release says to the generated questions."""
    ignored, target = [], []
    for q in grammar.matches():
        ignored.append(letter(matchers.ignored(q.name, q.ignore, q.packed)[0]))
        target.append(letter(matchers.target(q.name, q.cls, q.targets, q.packed)))
    mapped = (checksum(matchers.mapped(q.entries, q.tables)) for q in grammar.maps())
    return Generated("".join(ignored), "".join(target), tuple(mapped))


def letter(answer: str) -> str:
    """An answer as one letter; `?` for an exception that nobody expects."""
    return answer if answer.isdigit() else LETTERS.get(answer, "?")


def checksum(entries: Sequence[str]) -> str:
    """A list of entries, in a few letters."""
    return f"{zlib.crc32(json.dumps(list(entries)).encode()) & 0xFFFF:04x}"


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
        "command": f"python -m tools.differential {release}",
        "ignored": " ".join(a.ignored for a in answers),
        "target": " ".join(a.target for a in answers),
        "texts": dict(list(texts.items())[:5]),
    }
    text = json.dumps(data, indent=1) + "\n"
    (folder / f"{release}.json").write_text(text, encoding="utf-8")


def read_generated(folder: Path) -> dict[str, Generated]:
    """The recorded answers to the generated questions, by release."""
    path = folder / GENERATED
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"answers": []}
    return {
        release: Generated(row["ignored"], row["target"], tuple(row["mapped"].split()))
        for row in data["answers"]
        for release in row["releases"]
    }


def write_generated(folder: Path, answers: Mapping[str, Generated]) -> None:
    """Writes the answers to the generated questions, equal releases together."""
    groups: dict[Generated, list[str]] = {}
    for release in sorted(answers, key=lambda text: [int(part) for part in text.split(".")]):
        groups.setdefault(answers[release], []).append(release)
    rows = [
        {"releases": group, **answer._asdict(), "mapped": " ".join(answer.mapped)}
        for answer, group in groups.items()
    ]
    head = {"schema": SCHEMA, "engine": "vllm", "questions": grammar.digest(), "answers": rows}
    text = json.dumps(head, indent=1) + "\n"
    (folder / GENERATED).write_text(text, encoding="utf-8")


def record(release: str, sources: Path, out: Path) -> str:
    """Asks one release everything, writes the answers, and says how many there are."""
    out.mkdir(parents=True, exist_ok=True)
    matchers, asked = lifted(sources), cases()
    answers = [ask(matchers, case) for case in asked]
    generated = ask_generated(matchers)
    write_cases(out, asked)
    write_answers(out, release, answers)
    write_generated(out, {**read_generated(out), release: generated})
    number = 2 * len(asked) + sum(map(len, generated))
    ignored = sum(a.ignored == YES for a in answers) + generated.ignored.count(LETTERS[YES])
    return f"{release}: {number} answers, {ignored} names ignored"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="*", default=releases())
    parser.add_argument("--home", type=Path, default=HOME, help="see environments.py")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for release in options.release:
        sources = Home(options.home).sources(release)
        if sources is None:
            raise SystemExit(f"no {release}; run: python -m tools.environments {release}")
        print(record(release, sources, options.out), flush=True)


if __name__ == "__main__":
    main()
