"""Checkpoints that mean harm, and what a user sees of each; `peers.py` makes a table of it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from mtpfix.cli import main
from tests.unit.cli.conftest import Folder, header, safetensors

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
WEIGHT = "model.mtp_layers.0.input_proj.weight"


class Case(NamedTuple):
    """One hostile checkpoint.

    Attributes:
        about: what is wrong with it, for the table.
        spoil: makes a good folder into it.
        meanwhile: what happens to a weight file as soon as it is opened.
        peers: who else reads what is spoilt, or writes it.
    """

    about: str
    spoil: Callable[[Folder], object]
    peers: str = ""
    meanwhile: Callable[[Path], object] | None = None


# --- weights -----------------------------------------------------------------


def length(claimed: int, size: int | None = None) -> Callable[[Folder], object]:
    """The header claims another length; the file is sparse up to `size`."""

    def spoil(folder: Folder) -> None:
        path = folder.path / WEIGHTS
        path.write_bytes(struct.pack("<Q", claimed) + path.read_bytes()[8:])
        if size is not None:
            os.truncate(path, size)

    return spoil


def head(change: Callable[[dict[str, Any]], object]) -> Callable[[Folder], object]:
    """The table of tensors is another one."""

    def spoil(folder: Folder) -> None:
        raw = safetensors(header())
        end = 8 + int.from_bytes(raw[:8], "little")
        table = json.loads(raw[8:end])
        change(table)
        put(folder, json.dumps(table).encode(), raw[end:])

    return spoil


def put(folder: Folder, head: bytes, data: bytes = b"") -> None:
    (folder.path / WEIGHTS).write_bytes(struct.pack("<Q", len(head)) + head + data)


def text(old: str, new: bytes) -> Callable[[Folder], object]:
    """A part of the header's text is another one; the data stay."""

    def spoil(folder: Folder) -> None:
        raw = (folder.path / WEIGHTS).read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little")
        assert old.encode() in raw[8:end]
        put(folder, raw[8:end].replace(old.encode(), new, 1), raw[end:])

    return spoil


def entry(**changes: Any) -> Callable[[Folder], object]:
    """One entry of the header is another one."""
    return head(lambda table: table[WEIGHT].update(changes))


def moved(by: int) -> Callable[[Folder], object]:
    """The place of the last tensor is another one."""
    return head(
        lambda table: table[WEIGHT].update(
            data_offsets=[offset + by for offset in table[WEIGHT]["data_offsets"]]
        )
    )


def special(make: Callable[[Path], object], name: str = WEIGHTS) -> Callable[[Folder], object]:
    """Something else stands in the place of a file."""

    def spoil(folder: Folder) -> None:
        (folder.path / name).unlink()
        make(folder.path / name)

    return spoil


def cut(size: int) -> Callable[[Folder], object]:
    return lambda folder: os.truncate(folder.path / WEIGHTS, size)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SAFE = "safetensors huggingface_hub"
WEIGHT_CASES = (
    Case("header length 0", length(0), SAFE),
    Case("header length 2^63", length(1 << 63), SAFE),
    Case("header length beyond the end of the file", length(50_000), SAFE),
    Case("header of 100 MB and a byte, file long enough", length(10**8 + 1, 10**8 + 64), SAFE),
    Case("header of 100 MB, all zeros", length(10**8, 10**8 + 64), SAFE),
    Case("empty file", cut(0), SAFE),
    Case("file of 5 bytes", cut(5), SAFE),
    Case("file cut short in the header", cut(100), SAFE),
    Case(
        "file cut short in the data", lambda f: cut((f.path / WEIGHTS).stat().st_size - 9)(f), SAFE
    ),
    Case("bytes behind the last tensor", lambda f: grow(f.path / WEIGHTS), SAFE),
    Case(
        "Git LFS pointer",
        special(lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n")),
        SAFE,
    ),
    Case("overlapping offsets", moved(-32), SAFE),
    Case("offsets beyond the end of the data", moved(10**6), SAFE),
    Case("offsets of 2^64", moved(1 << 64), SAFE),
    Case("negative offsets", moved(-(10**6)), SAFE),
    Case("offsets that end before they begin", entry(data_offsets=[32, 0]), SAFE),
    Case("offsets as text", entry(data_offsets=["0", "32"]), SAFE),
    Case("offset of 1e999", text('"data_offsets": [0,', b'"data_offsets": [1e999,'), SAFE),
    Case("NaN in a shape", text('"shape": [4,', b'"shape": [NaN,'), SAFE),
    Case(
        "number of 5,000 digits in a shape",
        text('"shape": [4,', b'"shape": [' + b"9" * 5000 + b","),
        SAFE,
    ),
    Case("shape whose product is 2^126", entry(shape=[1 << 63, 1 << 63]), SAFE),
    Case("shape of 100,000 dimensions", entry(shape=[1] * 100_000), SAFE),
    Case("unknown dtype", entry(dtype="BF15"), SAFE),
    Case("the same tensor twice", text('"model.norm.weight"', b'"lm_head.weight"'), SAFE),
    Case(
        "nested 100,000 levels deep",
        text('"shape": [4, 4]', b'"shape": ' + b"[" * 10**5 + b"]" * 10**5),
        SAFE,
    ),
    Case("header that is not UTF-8", text("lm_head", b"lm\xff\xfehead"), SAFE),
    Case("half a surrogate pair in a name", text("lm_head", b"lm_\\ud800head"), SAFE),
    Case("byte order mark in front of the header", text("{", b"\xef\xbb\xbf{"), SAFE),
    Case("header that is a list", lambda f: put(f, b"[]"), SAFE),
    Case("`__metadata__` with numbers", head(lambda t: t.update(__metadata__={"a": 1})), SAFE),
    Case("FIFO as a shard", special(os.mkfifo)),
    Case("device as a shard", special(lambda p: p.symlink_to("/dev/zero"))),
    Case("folder as a shard", special(Path.mkdir), SAFE),
    Case("link to itself as a shard", special(lambda p: p.symlink_to(p.name)), SAFE),
    Case("link to nothing as a shard", special(lambda p: p.symlink_to("gone")), SAFE),
    Case("shard that vanishes while it is read", lambda _: None, meanwhile=Path.unlink),
    Case("shard that becomes a FIFO while it is read", lambda _: None, meanwhile=to_fifo),
)

# --- index -------------------------------------------------------------------


SHARD = "model-00001-of-00001.safetensors"


def indexed(folder: Folder) -> Folder:
    """The same weights in a shard of another name, which only an index tells."""
    (folder.path / WEIGHTS).rename(folder.path / SHARD)
    return folder


def mapped(shard: Any) -> Callable[[Folder], object]:
    """An index that maps a tensor to a strange place."""

    def spoil(folder: Folder) -> None:
        index = {"weight_map": {**dict.fromkeys(header(), SHARD), WEIGHT: shard}}
        (indexed(folder).path / INDEX).write_text(json.dumps(index), encoding="utf-8")

    return spoil


def file(name: str, data: bytes, size: int | None = None) -> Callable[[Folder], object]:
    """A file has other bytes; it is sparse up to `size`."""

    def spoil(folder: Folder) -> None:
        (folder.path / name).write_bytes(data)
        if size is not None:
            os.truncate(folder.path / name, size)

    return spoil


def index(data: bytes, size: int | None = None) -> Callable[[Folder], object]:
    """An index with these bytes."""
    return lambda folder: file(INDEX, data, size)(indexed(folder))


HUB = "huggingface_hub"
INDEX_CASES = (
    Case("weight_map leads to `../`", mapped("../outside.safetensors"), HUB),
    Case("weight_map leads to an absolute path", mapped("/etc/passwd"), HUB),
    Case("weight_map leads to a drive of Windows", mapped("C:\\x.safetensors"), HUB),
    Case("weight_map leads to a folder below", mapped("a/b.safetensors"), HUB),
    Case("weight_map with a name that holds NUL", mapped("a\0b.safetensors"), HUB),
    Case("weight_map with a name that holds escape codes", mapped("\x1b[2J.safetensors"), HUB),
    Case("weight_map with an empty name", mapped(""), HUB),
    Case("weight_map with a number", mapped(7), HUB),
    Case("weight_map names a file that is not there", mapped("model-9.safetensors"), HUB),
    Case("weight_map is a list", index(b'{"weight_map": []}'), HUB),
    Case("index without weight_map", index(b"{}"), HUB),
    Case("index that is a list", index(b"[]"), HUB),
    Case(
        "tensor twice in the index",
        index(b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}'),
        HUB,
    ),
    Case("index of 100 MB and a byte", index(b"{", 10**8 + 1), HUB),
    Case("index that is not UTF-8", index(b'{"weight_map": {"\xff": "x"}}'), HUB),
    Case("index nested 100,000 levels deep", index(b"[" * 10**5), HUB),
    Case(
        "metadata of an index nested 100,000 levels deep",
        index(b'{"weight_map": {"a": "b"}, "metadata": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        HUB,
    ),
    Case("FIFO as an index", lambda f: os.mkfifo(indexed(f).path / INDEX)),
)

# --- configuration -----------------------------------------------------------


def config(**changes: Any) -> Callable[[Folder], object]:
    return lambda folder: folder.save(**changes)


def quantization(**changes: Any) -> Callable[[Folder], object]:
    """Some fields of the metadata are others."""

    def spoil(folder: Folder) -> None:
        folder.config["quantization_config"].update(changes)
        folder.save()

    return spoil


def entries(number: int) -> Callable[[Folder], object]:
    """A list as long as the file may be, without blanks."""

    def spoil(folder: Folder) -> None:
        folder.config["quantization_config"]["ignore"] = [f"x{n}" for n in range(number)]
        text = json.dumps(folder.config, separators=(",", ":"))
        (folder.path / CONFIG).write_text(text, encoding="utf-8")

    return spoil


def metadata(value: Any) -> Callable[[Folder], object]:
    return config(quantization_config=value)


def raw(old: str, new: bytes) -> Callable[[Folder], object]:
    """A part of the text of config.json is another one."""

    def spoil(folder: Folder) -> None:
        data = (folder.path / CONFIG).read_bytes()
        assert old.encode() in data
        (folder.path / CONFIG).write_bytes(data.replace(old.encode(), new, 1))

    return spoil


SLOW = "re:(?:.{1,20}){1,20}[!?]"
WRITER, METADATA = "update_config", "compressed-tensors"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
CONFIG_CASES = (
    Case("config.json that is empty", file(CONFIG, b""), WRITER),
    Case("config.json that is a list", file(CONFIG, b"[]"), WRITER),
    Case("config.json of 16 MB and a byte", file(CONFIG, b"{", 16_000_001), WRITER),
    Case("config.json nested 100,000 levels deep", file(CONFIG, b'{"a":' * 10**5), WRITER),
    Case(
        "config.json nested 70 levels deep",
        raw("{", b'{"a": ' + b"[" * 70 + b"]" * 70 + b","),
        WRITER,
    ),
    Case("config.json that is not UTF-8", raw("mimo", b"\xffmimo"), WRITER),
    Case(
        "config.json in UTF-16",
        lambda f: file(CONFIG, json.dumps(f.config).encode("utf-16"))(f),
        WRITER,
    ),
    Case("byte order mark in front of config.json", raw("{", b"\xef\xbb\xbf{"), WRITER),
    Case("the key quantization_config twice", raw("{", b'{"quantization_config": null,'), WRITER),
    Case("NaN in config.json", raw("{", b'{"x": NaN,'), WRITER),
    Case("number of 5,000 digits in config.json", raw("{", b'{"x": ' + b"9" * 5000 + b","), WRITER),
    Case("FIFO as config.json", special(os.mkfifo, CONFIG), WRITER),
    Case("link to itself as config.json", special(lambda p: p.symlink_to(p.name), CONFIG), WRITER),
    Case("folder as config.json", special(Path.mkdir, CONFIG), WRITER),
    Case("device as config.json", special(lambda p: p.symlink_to("/dev/full"), CONFIG), WRITER),
    Case("FIFO as hf_quant_config.json", lambda f: os.mkfifo(f.path / "hf_quant_config.json")),
    Case("10^18 layers", config(num_hidden_layers=10**18)),
    Case("10^6 layers", config(num_hidden_layers=10**6)),
    Case("-1 layers", config(num_hidden_layers=-1)),
    Case("layers as text", config(num_hidden_layers="many")),
    Case("layers as a list nested", config(num_hidden_layers=[[[]]])),
    Case("10^18 MTP layers", config(num_nextn_predict_layers=10**18)),
    Case("architectures that are numbers", config(architectures=[1, 2])),
    Case("architecture of a million letters", config(architectures=["x" * 10**6])),
    Case("100,000 architectures", config(architectures=["x"] * 10**5)),
    Case("live characters in an architecture", config(architectures=["\x7f\x1b[2J\u202e"])),
    Case("quantization_config that is a list", metadata([]), METADATA),
    Case("quantization_config that is a text", metadata("x"), METADATA),
    Case("quant_method that is a list", quantization(quant_method=["a"]), METADATA),
    Case("ignore that is a text", quantization(ignore="lm_head"), METADATA),
    Case("ignore with a number", quantization(ignore=[1]), METADATA),
    Case("a million ignore entries", entries(10**6), METADATA),
    Case(
        "ignore entries of 17 MB",
        quantization(ignore=["x" * 17 + str(n) for n in range(10**6)]),
        METADATA,
    ),
    Case(
        "100,000 patterns to ignore",
        quantization(ignore=[f"re:x{n}" for n in range(10**5)]),
        METADATA,
    ),
    Case("pattern that takes for ever", quantization(ignore=[SLOW]), METADATA),
    Case("pattern that calls itself", quantization(ignore=["re:(?R)"]), METADATA),
    Case(
        "60,000 rules of GPTQ",
        metadata({**GPTQ, "dynamic": {f"-:x{n}": {} for n in range(60_000)}}),
    ),
    Case("pattern that is none", quantization(ignore=["re:("]), METADATA),
    Case("pattern of 100,000 letters", quantization(ignore=["re:" + "a|" * 50_000]), METADATA),
    Case(
        "pattern with 10,000 brackets",
        quantization(ignore=["re:" + "(" * 10**4 + ")" * 10**4]),
        METADATA,
    ),
    Case(
        "pattern that repeats 10^9 times",
        quantization(ignore=["re:(?:a{1000}){1000000}"]),
        METADATA,
    ),
    Case("config_groups that is a list", quantization(config_groups=[]), METADATA),
    Case(
        "1,000 config groups",
        quantization(config_groups={f"mtp_{n}": {"targets": [f"x{n}"]} for n in range(1000)}),
        METADATA,
    ),
    Case(
        "bits as a text of 5,000 digits",
        quantization(
            config_groups={"a": {"targets": ["Linear"], "weights": {"num_bits": "1" * 5000}}}
        ),
        METADATA,
    ),
    Case("config_groups with a null group", quantization(config_groups={"a": None}), METADATA),
    Case(
        "targets that are null",
        quantization(config_groups={"a": {"targets": None, "weights": None}}),
        METADATA,
    ),
)

CASES = {case.about: case for case in (*WEIGHT_CASES, *INDEX_CASES, *CONFIG_CASES)}


@contextmanager
def happening(case: Case) -> Iterator[None]:
    """Lets happen what happens to a weight file as soon as it has been looked at."""
    if case.meanwhile is None:
        yield
        return
    real, meanwhile = Path.stat, case.meanwhile

    def looked(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        if path.name == WEIGHTS and not _HAPPENED.get(str(path)):
            _HAPPENED[str(path)] = True
            meanwhile(path)
        return found

    _HAPPENED.clear()
    Path.stat = looked
    try:
        yield
    finally:
        Path.stat = real


_HAPPENED: dict[str, bool] = {}


class Seen(NamedTuple):
    """What a user sees: the exit code, and the line that says what is wrong."""

    code: int
    line: str


def judged(folder: Folder, case: Case) -> Seen:
    """What `mtpfix check` says."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), happening(case):
        code = main(["check", str(folder)])
    line = next(iter((err.getvalue() + out.getvalue()).splitlines()), "")
    return Seen(code, line.replace(str(folder), "FOLDER"))


def made(case: Case, place: Path) -> Folder:
    """The checkpoint of a case."""
    folder = Folder(place / "model")
    case.spoil(folder)
    return folder
