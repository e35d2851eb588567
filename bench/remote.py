"""Repos of the Hub, on a server of the loopback interface that behaves as it does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import data, runs
from tests.hub import pairs
from tests.hub.server import GOOD_TOKEN, Hub, Repo, Sparse, serving, sparse
from tests.hub.traffic import base_regions, traffic

TENSORS, SHARDS, MTP_SHARDS = 90_000, 128, 2
DELAYS = (0.0, 0.08, 0.25)
"""Seconds before each answer."""
REPOS, BROKEN = 200, 3
HUGGINGFACE_HUB = """
import sys
from huggingface_hub import get_safetensors_metadata
get_safetensors_metadata(sys.argv[1])
"""


def headers(where: Path, rounds: int) -> str:
    """Requests, bytes and seconds for one repo of many shards."""
    folder = where / "remote"
    tensors = data.checkpoint(folder, TENSORS, SHARDS, mtp_shards=MTP_SHARDS)
    lines = [
        f"### {tensors:,} tensors in {SHARDS} shards, MTP in {MTP_SHARDS} of them",
        "",
        "| | delay ms | requests | redirected | MB | wall s | x huggingface_hub |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with _hub() as (hub, env):
        hub.repos["org/large"] = _repo(folder)
        for delay in DELAYS:
            hub.latency = delay
            rows = {
                contender.name: _asked(hub, contender, rounds, env)
                for contender in (
                    runs.python("huggingface_hub", HUGGINGFACE_HUB, "org/large"),
                    runs.mtpfix("mtpfix check", "check", "org/large"),
                )
            }
            peer = rows["huggingface_hub"][-1]
            for name, (requests, hops, size, wall) in rows.items():
                lines.append(
                    f"| {name} | {delay * 1000:.0f} | {requests} | {hops} | {size:.1f} | "
                    f"{wall:.2f} | {wall / peer:.2f} |"
                )
    return "\n".join(lines) + "\n"


def _asked(
    hub: Hub, contender: runs.Contender, rounds: int, env: Mapping[str, str]
) -> tuple[int, int, float, float]:
    """Requests to the Hub, those to where it redirects, MB sent, and median seconds."""
    walls = []
    for _ in range(rounds):
        hub.requests.clear()
        hub.sent = 0
        with tempfile.TemporaryDirectory() as cold:
            walls.append(runs.once(contender, {**env, "HF_HOME": cold}).wall)
    hops = sum("/cdn/" in path for _, path, _ in hub.requests)
    asked = [path for _, path, _ in hub.requests if "/cdn/" not in path and "agent" not in path]
    return len(asked), hops, hub.sent / 1e6, median(walls)


def graft(where: Path, _rounds: int) -> str:
    """What a graft asks of a base of 128 shards with the block in 28 of them."""
    del where
    shape = pairs.Shape(width=2048, layers=43, shards=128, spread=28)
    with _hub() as (hub, env):
        made = pairs.pair(hub, shape)
        regions = base_regions(made.base)
        lines = [
            f"### A block of {made.size / 1e6:.1f} MB in 28 of 128 shards",
            "",
            "| | headers | kB | slices | kB | ranges of the block | MB | x block | wall s |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, extra in (
            ("plan", ()),
            ("push", ("--push-to-hub", "--token", GOOD_TOKEN)),
        ):
            hub.requests.clear()
            command = ("graft", pairs.TARGET, "--from", pairs.BASE, "--vllm", "newest", *extra)
            with tempfile.TemporaryDirectory() as cold:
                here = {**env, "HF_HOME": cold, "HF_HUB_DISABLE_XET": "1"}
                wall = runs.once(runs.mtpfix(name, *command), here).wall
            seen = traffic(hub, pairs.BASE, regions)
            cells = [name]
            for count, unit in zip(seen.values(), (1e3, 1e3, 1e6), strict=True):
                cells += [str(count.requests), f"{count.size / unit:.1f}"]
            cells += [f"{seen['block'].size / made.size:.4f}", f"{wall:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def audit(where: Path, _rounds: int) -> str:
    """Many repos in one run, once, some of them broken."""
    folder = where / "small"
    data.checkpoint(folder, 3_000, 4)
    with _hub() as (hub, env):
        for number in range(REPOS):
            hub.repos[f"org/model-{number:03}"] = _repo(folder)
        for number in range(BROKEN):
            repo = hub.repos[f"org/model-{number * 60:03}"]
            repo.commit(repo.commits[repo.branches["main"]] | {"config.json": sparse(b"{")})
        hub.latency = 0.05
        contender = runs.Contender(
            "audit", (runs.PYTHON, "-m", "mtpfix", "check", "--org", "org"), (2,)
        )
        with tempfile.TemporaryDirectory() as cold:
            run = runs.once(contender, {**env, "HF_HOME": cold})
        requests = len(hub.requests)
    return (
        f"### {REPOS} repos in one run, {BROKEN} broken, 50 ms a request\n\n"
        f"{run.wall:.1f} s, {run.cpu:.1f} s of CPU, {run.peak:.0f} MB, "
        f"{requests} requests; exit code 2, as the broken ones demand.\n"
    )


@contextmanager
def _hub() -> Iterator[tuple[Hub, Mapping[str, str]]]:
    """A server, and the environment in which the real client asks it."""
    with serving() as hub:
        yield hub, {"HF_ENDPOINT": hub.url}


def _repo(folder: Path) -> Repo:
    """A folder as a repo: of shards, only the headers are kept."""
    repo = Repo()
    repo.commit({path.name: _file(path) for path in sorted(folder.iterdir())})
    return repo


def _file(path: Path) -> Sparse:
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        return sparse(path.read_bytes())
    with path.open("rb") as file:
        first = file.read(8)
        return Sparse(first + file.read(int.from_bytes(first, "little")), size)
