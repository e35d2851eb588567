"""Where vLLM's loaders put tensors, by name: recordings against the policies.

`tools/destinations.py` asked the loader of each draft, release by release, about every name
that the family has, about vLLM's own names, and about names that nothing should take.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mtpfix.checkpoint.inventory import written_out
from mtpfix.checkpoint.precision import split_name
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import Context
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.destinations import APART, Tree, destination, dropped, failure
from mtpfix.engines.vllm.loader import Loader, loader
from mtpfix.engines.vllm.policy import Policy
from mtpfix.model import Module, Plain
from tools import environments, tiny
from tools.destinations import FOLDER, spread

FILES = sorted(FOLDER.glob("*.json"))
RELEASES = list(reversed(environments.releases()))
SHARED = ("model.embed_tokens.weight", "lm_head.weight")
"""Parameters that the draft shares with the target: not of the block."""
CACHE = ("_scale", "_zero_point")
"""Ends of the names of scales of the KV cache: where they go hangs on the quantization."""
SIZES = ("!RuntimeError: shape", "!AssertionError: Attempted to load")
"""What is raised at a tensor of another size than the parameter: it was found."""


class Draft(NamedTuple):
    """A draft of one release, as its policy has it."""

    modules: tuple[Module, ...]
    plain: tuple[Plain, ...]
    loader: Loader
    roots: tuple[str, ...]


def draft_of(known: Policy, context: Context) -> Draft:
    return Draft(
        construction.modules(known, context, "draft"),
        construction.plain(known, context),
        loader(known, context),
        construction.disk_roots(known, context),
    )


def recorded(path: Path) -> Iterator[tuple[str, str, Draft, list[str], dict[str, str]]]:
    """Variant and release, the draft, its parameters, and what came of each name."""
    for variant, rows in json.loads(path.read_text(encoding="utf-8")).items():
        config = tiny.config(path.stem, variant)
        family = policy.recognise(config)
        assert family is not None
        known = policy.policy(family)
        answers: dict[str, dict[str, str]] = {}
        for name, ranges in rows["names"].items():
            for release, answer in spread(ranges, RELEASES).items():
                answers.setdefault(release, {})[name] = answer
        for release, parameters in spread(rows["parameters"], RELEASES).items():
            context = construction.context(known, config, release, "cuda")
            context = construction.drafting(known, context, [])
            yield variant, release, draft_of(known, context), parameters, answers[release]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_of_the_draft_is_known(path: Path) -> None:
    wrong = []
    for variant, release, draft, parameters, _ in recorded(path):
        owners = tuple(f"{m.param}." for m in draft.modules if m.param)
        plain = {each.param for each in draft.plain}
        mine = [p for p in parameters if not p.startswith(owners) and p not in SHARED]
        wrong += [f"{variant} {release}: no row for {p}" for p in mine if p not in plain]
        extra = plain.difference(parameters)
        wrong += [f"{variant} {release}: vLLM has no {p}" for p in extra]
    assert not wrong, "\n".join(sorted(set(wrong)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_name_goes_where_vllm_puts_it(path: Path) -> None:
    wrong = []
    for variant, release, draft, _, answers in recorded(path):
        for name, answer in answers.items():
            told = foretold(name, draft) if name.startswith(draft.roots) else None
            several = [answer] if isinstance(answer, str) else answer
            if told is not None and not any(agrees(told, each, name) for each in several):
                wrong.append(f"{variant} {release} {name}: {told!r}, vLLM {answer!r}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


def foretold(name: str, draft: Draft) -> str | None:
    """What the policy says, as the recordings write it; None where it does not look at names.

    What a module does with a suffix is judged from its parameters, not from the name.
    """
    module, suffix = split_name(name)
    if name.endswith(CACHE) or name.rpartition(".")[2] in APART:
        return None
    fails = failure(name, draft.loader)
    if fails is not None:
        return f"!{fails.error or ''}"
    if dropped(name, draft.loader):
        return ""
    plain = {each.name: each for each in draft.plain}
    if name in plain:
        return plain[name].param
    owner = next((each for each in draft.modules if module in written_out(each)), None)
    if owner is not None:
        return f"{owner.param}." if suffix in ("", "weight") else None
    return followed(name, draft)


def followed(name: str, draft: Draft) -> str | None:
    """The same for a name that no row of the policy has."""
    goes = destination(name, Tree.of(draft.modules, draft.plain), draft.loader)
    if goes.plain is not None:
        # Of what the target lends anyway, the first layer's counts, and those of others do not.
        return None if goes.plain.optional else goes.plain.param
    if goes.module is not None:
        return None if name.endswith(".bias") else goes.path
    return f"!{goes.error or ''}" if goes.raises else ""


def agrees(told: str, answer: str, name: str) -> bool:
    """Whether it is what vLLM did.

    Of names of experts that the draft does not have, how vLLM spells the parameter in its
    message is left out: it depends on which of its tables the name happens to fit.
    """
    if told.startswith("!"):
        return answer.startswith("!") and ("experts." in name or answer.startswith(told))
    if told.endswith("."):  # taken by a module whose parameters may have other names
        return bool(answer) and (not answer.startswith("!") or answer.startswith(SIZES))
    return answer == told or (bool(told) and answer.startswith(SIZES))
