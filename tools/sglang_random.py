"""Random checkpoints for a running SGLang, which `tools.prove_random` draws and counts."""

from __future__ import annotations

import random
import re
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import mtpfix
from mtpfix.engines.policies import construction
from mtpfix.engines.policies.context import in_releases
from mtpfix.engines.sglang import methods, policy
from mtpfix.engines.sglang.live import Server
from mtpfix.errors import MtpfixError
from mtpfix.model import Part
from tools import prove_sglang, random_draws, schemes, sglang_tiny
from tools.forge import NONE
from tools.prove_draft_folder import outcome
from tools.random_draws import FORGED, NOT_ASKED, Draw, Judge
from tools.sglang_environment import HOME, Home, releases

VLLM = "0.32.0"
"""The release of vLLM whose names are drawn, too."""
NO_KERNEL = ("ModuleNotFoundError: ", "RuntimeError: Failed to build JIT module")
"""Exceptions of a CPU, which has no kernel that a loader calls."""
PARTS: tuple[Part, ...] = ("draft", "trunk")
MOST = 8
"""Entries of a random list."""


class SglangJudge(Judge):
    """A running SGLang.

    Args:
        server: it.
        release: its release.
    """

    title = "SGLang"
    lists = ("head", "absent", "disk", "vllm", *("asked",) * 4, *("random",) * 4)
    changes = ("none", "none", "none", "fused", "lost")
    schemes = tuple(
        name for name in FORGED if name != NONE and schemes.dialect(name) in methods.BY_QUANT_METHOD
    )

    def __init__(self, server: Server, release: str) -> None:
        self._server = server
        self._release = release
        self.families = [name for name in sglang_tiny.families() if _drafted(name, release)]

    def like(self, family: str) -> str:
        """Return the tiny model of `tools.tiny` that a family's checkpoint is forged of."""
        return sglang_tiny.like(family)

    def adapt(self, folder: Path, family: str) -> None:
        """Make a forged checkpoint one that SGLang reads."""
        sglang_tiny.adapt(folder, family)

    def entries(self, drawn: Draw, variant: str, chance: random.Random) -> list[str] | None:
        """Return the ignore list that was drawn."""
        if drawn.listed == "absent":
            return None
        like, method = self.like(drawn.family), schemes.dialect(drawn.scheme)
        disk = random_draws.on_disk(like, variant)
        ours = [name for part in PARTS for name in asked(drawn.family, self._release, part)]
        theirs = random_draws.asked(like, variant, VLLM)
        if drawn.listed == "random":
            names = [*disk, *ours, *theirs]
            chosen = (chance.choice(names) for _ in range(chance.randrange(1, MOST)))
            return ["lm_head", *(spelled(name, method, chance) for name in chosen)]
        lists = {"disk": disk, "asked": asked(drawn.family, self._release, "draft")}
        found = ["lm_head", *{**lists, "vllm": theirs}.get(drawn.listed, ())]
        return list(dict.fromkeys(found))

    def foretold(self, folder: Path) -> str:
        """Return what mtpfix foretells of the draft, or that there is no target model for it."""
        try:
            engines = mtpfix.inspect(folder, sglang=[self._release], trunk=True).engines
            modules = [module for engine in engines for module in engine.modules]
            if any(
                m.decision.built == "error" for m in modules if m.decision.module.part == "trunk"
            ):
                return "target fails"
            return prove_sglang.foreseen(folder, self._release)
        except MtpfixError as error:
            return f"unknown: {error}"

    def heard(self, folder: Path) -> str:
        """Return what SGLang did."""
        told = sglang_tiny.told(folder)
        answer = self._server.ask(folder, load=True, tolerant=True, arguments=told)
        did = outcome(answer)
        loaded = answer.load.get("draft")
        if loaded is None or loaded.failure is None:
            lacks = did == "not loaded"
        else:
            lacks = str(loaded.failure).startswith(NO_KERNEL)
        if lacks:
            return NOT_ASKED
        if did == "clean":
            return did
        kind, _, rest = did.partition(": ")
        return f"silent_garbage: {rest}" if kind == "garbage" else f"load_error: {did}"


@cache
def asked(family: str, release: str, part: Part) -> tuple[str, ...]:
    """Return the names that a SGLang asks about in order to build a part."""
    config = sglang_tiny.config(family)
    known = policy.policy(policy.index().recognise(config) or "")
    context = construction.context(known, config, release, "cuda")
    modules = construction.modules(known, context, part)
    return tuple(module.name for module in modules if module.asks and module.name)


def spelled(name: str, method: str, chance: random.Random) -> str:
    """Return an entry about a module, about what it stands in, or about more than that."""
    for _ in range(chance.randrange(3)):
        name = name.rpartition(".")[0] or name
    form = chance.choice(("plain", "plain", "below"))
    if form == "plain":
        return name
    marks = {"compressed-tensors": "re:", "quark": "re:", "gptq": "-:"}
    if method in marks:
        return f"{marks[method]}{chance.choice(('', '.*'))}{re.escape(name)}.*"
    return f"{name}{chance.choice(('*', '.*'))}" if method == "modelopt" else name


def _drafted(family: str, release: str) -> bool:
    """Return whether a release has a draft for the family, and checkpoints can be forged."""
    found = policy.index().recognise(sglang_tiny.config(family))
    if found is None or sglang_tiny.like(family) != family:  # nothing can be forged
        return False
    return in_releases(policy.policy(found).record.releases, release, policy.DEPTH)


def opened(release: str | None, home: Path | None, stack: ExitStack) -> SglangJudge:
    """Return a SGLang that runs until the stack is closed; the newest unless told otherwise."""
    chosen = release or releases()[0]
    return SglangJudge(stack.enter_context(Home(home or HOME).server(chosen)), chosen)
