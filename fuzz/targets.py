"""What is fuzzed: bytes in, and nothing but a declared error may come out.

Each target is a function of some bytes. It returns whether they were read, and raises where a
promise is broken.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import regex
from safetensors import SafetensorError, deserialize

from mtpfix.analysis import analyze
from mtpfix.changes.graft import plan as plan_of_graft
from mtpfix.changes.repair import Repair
from mtpfix.changes.rewrite import of_subject
from mtpfix.checkpoint.header import PREFIX, header_length, parse_header
from mtpfix.checkpoint.load import listing
from mtpfix.checkpoint.strict_json import loads
from mtpfix.errors import BrokenFileError, MtpfixError, TargetError
from mtpfix.model import Entry, Target
from mtpfix.patterns import Entries, PatternError
from mtpfix.patterns.budget import BUDGET
from mtpfix.repair import progress
from mtpfix.repair.fixes import attach_fixes
from mtpfix.repair.plan import Options
from mtpfix.report import github, markdown, text
from mtpfix.selection import Selection, select
from mtpfix.subject import open_subject
from tests.unit.cli.conftest import CONFIG, Header
from tests.unit.cli.conftest import header as tiny_header
from tests.unit.cli.conftest import safetensors as written

NAMES = (
    "lm_head",
    "model.layers.2.self_attn.qkv_proj",
    "model.layers.61.mlp.shared_experts.gate_up_proj",
    "model.layers.43.mtp_block.ffn.experts.0.gate_proj",
    "ParallelLMHead",
    "",
)
"""Names that a pattern is compared with."""
CONFIG_BYTES = 1 << 14
"""Bytes of the longest configuration that is tried."""


LONGEST_LINE = 4000
DATA_BYTES = 1 << 12
"""Bytes of data that are put to a header, at most."""
_NUMBER = re.compile(rb"\d{1,9}")


class Memory:
    """A folder that is none: the source of a target that is fuzzed."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def target(self) -> Target:  # noqa: D102 - see `mtpfix.checkpoint.source.Source`
        return Target("local", "fuzz")

    def list(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(sorted(self._files))

    def expect(  # noqa: D102
        self, files: Iterable[str], headers: Mapping[str, int] | None = None
    ) -> None:
        pass

    def read(self, path: str, *, limit: int = 0) -> bytes:  # noqa: ARG002, D102
        if path not in self._files:
            raise TargetError(f"{path!r}: no such file")
        return self._files[path]

    def read_header(self, path: str) -> tuple[bytes, int]:  # noqa: D102
        raw = self.read(path)
        length = header_length(raw[:PREFIX], len(raw), file=path)
        return raw[PREFIX : PREFIX + length], len(raw) - PREFIX - length

    def stream(self, path: str, begin: int, end: int) -> Iterator[bytes]:  # noqa: D102
        raw = self.read(path)
        if end > len(raw):
            raise TargetError(f"{path!r}: ends early")
        yield raw[begin:end]


def in_one_line(error: MtpfixError) -> None:
    """Whether an error is what a user may be shown."""
    if not error.message or not error.message.isprintable() or len(error.message) > LONGEST_LINE:
        raise AssertionError(f"not one printable line: {error.message[:300]!r}")


def header(data: bytes) -> bool:
    """A whole safetensors file: read only if safetensors reads it, and as safetensors does.

    Bytes that begin with `{` are a header alone: its length and the data are put to it.
    """
    if data.startswith(b"{"):
        ends = [int(digits) for digits in _NUMBER.findall(data)]
        size = max((end for end in ends if end < DATA_BYTES), default=0)
        data = len(data).to_bytes(PREFIX, "little") + data + bytes(size)
    try:
        length = header_length(data[:PREFIX], len(data), file="fuzz")
        raw = data[PREFIX : PREFIX + length]
        table = parse_header(raw, data_size=len(data) - PREFIX - length, file="fuzz")
    except BrokenFileError as error:
        in_one_line(error)
        return False
    try:
        theirs = {name: entry["shape"] for name, entry in deserialize(data)}
    except SafetensorError as error:
        raise AssertionError(f"safetensors refuses it: {error}") from error
    ours = {name: list(tensor.shape) for name, tensor in table.items()}
    if ours != theirs:
        raise AssertionError(f"safetensors reads {theirs}, not {ours}")
    return True


def index(data: bytes) -> bool:
    """An index beside a good shard: read only if it names nothing outside of the folder."""
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": data,
        "model.safetensors": _SHARD,
        "model-00002.safetensors": _SHARD,
    }
    try:
        found = listing(Memory(files))
    except MtpfixError as error:
        in_one_line(error)
        return False
    if not set(found.shards.values()) <= set(files):
        raise AssertionError(f"shards {set(found.shards.values())}")
    return True


def config(data: bytes) -> bool:
    """A whole `config.json`: judged and repaired, or refused."""
    if len(data) > CONFIG_BYTES:
        return False
    try:
        held = Memory({"config.json": data, "model.safetensors": _SHARD})
        subject = open_subject(held)
        selection = select(vllm=["0.32.0"], platforms=["cuda"])
        found = analyze(subject, selection)
        configs = subject.files.listing.configs
        report = attach_fixes(found.report, found.cases, configs)
        made = of_subject(held, subject, selection, Options())
    except MtpfixError as error:
        in_one_line(error)
        return False
    for rendered in (text.render(report, width=80), github.render(report), markdown.render(report)):
        if not rendered.replace("\n", "").isprintable():
            raise AssertionError("a live character in a report")
    for name, (_, new) in made.files.items():
        loads(new, name)
    return True


def pattern(data: bytes) -> bool:
    """A pattern: refused, or it fits what the `regex` module says, and never hangs."""
    body = data.decode("utf-8", "replace")
    begin = time.monotonic()
    found = _first(Entry(f"re:{body}", "config.json", "/0"))
    if time.monotonic() - begin > 10 * BUDGET:
        raise AssertionError("it hangs")
    if found is None:
        return False
    for name in NAMES:
        try:
            theirs = regex.match(body, name, timeout=5) is not None
        except TimeoutError:
            continue
        if found[name] != theirs:
            raise AssertionError(f"{body!r} fits {name!r}: {theirs}")
    return True


def planner(data: bytes) -> bool:
    """Metadata beside an MTP block in FP8 blocks: the planner gives it that scheme, or cannot."""
    return _repaired(data, _FP8_BLOCK, select(vllm=["0.32.0"], platforms=["cuda"]))


def sglang(data: bytes) -> bool:
    """Metadata beside an unquantized block: judged and repaired by three epochs of SGLang."""
    return _repaired(data, _SHARD, select(sglang=["0.5.13", "0.5.16", "0.5.23"]))


def _planned(source: Memory, selection: Selection) -> Repair:
    """Return the repair of a checkpoint in memory."""
    subject = open_subject(source, selection.engines)
    return of_subject(source, subject, selection, Options())


def _repaired(data: bytes, shard: bytes, selection: Selection) -> bool:
    """Metadata that a repair is planned for: it is refused, or is right and can be read again."""
    if len(data) > CONFIG_BYTES:
        return False
    try:
        whole = {**CONFIG, "quantization_config": loads(data, "config.json")}
        files = {"config.json": json.dumps(whole).encode(), "model.safetensors": shard}
        made = _planned(Memory(files), selection)
    except MtpfixError as error:
        in_one_line(error)
        return False
    for name, (_, new) in made.files.items():
        if _planned(Memory({**files, name: new}), selection).edits:
            raise AssertionError("a second repair finds more to do")
    if progress.worsened(made.before, made.after):
        raise AssertionError("the repair makes it worse")
    return True


def graft(data: bytes) -> bool:
    """The header of a base: its block is planned into a checkpoint without one, or refused."""
    ends = [int(digits) for digits in _NUMBER.findall(data)]
    size = max((end for end in ends if end < DATA_BYTES), default=0)
    base = len(data).to_bytes(PREFIX, "little") + data + bytes(size)
    plain = {key: value for key, value in CONFIG.items() if key != "quantization_config"}
    ours = Memory({"config.json": json.dumps(CONFIG).encode(), "model.safetensors": _TRUNK})
    theirs = Memory({"config.json": json.dumps(plain).encode(), "model.safetensors": base})
    try:
        made = plan_of_graft(
            ours, theirs, select(vllm=["0.32.0"], platforms=["cuda"]), Options(), "auto"
        )
    except MtpfixError as error:
        in_one_line(error)
        return False
    if made.block is None:
        raise AssertionError("a graft without a block")
    layout = made.block.layout
    found = {name for name, _ in deserialize(layout.head + bytes(layout.data_size))}
    if found != {piece.name for piece in layout.pieces}:
        raise AssertionError(f"safetensors finds {found} in the new shard")
    for name, (_, new) in made.files.items():
        loads(new, name)
    return True


def _first(entry: Entry) -> dict[str, bool] | None:
    try:
        entries = Entries([entry])
        return {name: entries.first(name) is not None for name in NAMES}
    except PatternError as error:
        if not error.reason:
            raise AssertionError("a refusal without a reason") from None
        return None


def _in_blocks(tensors: Header) -> Header:
    """The MTP block in FP8 with a scale for each block of 128: the one of these small matrices."""
    made = dict(tensors)
    for name, (_, shape) in tensors.items():
        if ".mtp_layers." in name and len(shape) > 1:
            made[name] = ("F8_E4M3", shape)
            made[f"{name}_scale"] = ("BF16", (1, 1))
    return made


_SHARD = written(tiny_header())
_TRUNK = written({name: t for name, t in tiny_header().items() if ".mtp_layers." not in name})
_FP8_BLOCK = written(_in_blocks(tiny_header()))
TARGETS: Mapping[str, Callable[[bytes], Any]] = {
    "header": header,
    "index": index,
    "config": config,
    "pattern": pattern,
    "planner": planner,
    "sglang": sglang,
    "graft": graft,
}
