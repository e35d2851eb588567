"""mtpfix.grafting: a block comes into a folder, or into a new one; what is refused, and how."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import LocalSource
from mtpfix.delivery import Delivered, guard
from mtpfix.errors import ConflictError, MtpfixError, RefusedError, UsageError, WriteError
from mtpfix.grafts import staging
from mtpfix.grafts.leftovers import LOCK
from mtpfix.grafts.transfer import Watch
from mtpfix.repair.writing import disk
from mtpfix.repair.writing.locking import locked
from tests.unit.grafts.pairs import INDEX, Pair, content, edit, loaded, pair, tensors

CHOSEN: dict[str, Any] = {"vllm": ["0.32.0"], "platforms": ["cuda"]}
FP8 = "deepseek_v3 ct-w4a16 fp8-block"
SHARD, MANIFEST = "model-mtp.safetensors", "model-mtp.manifest.json"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


def graft(made: Pair, **more: Any) -> Delivered:
    place = {"write": more.get("output") is None}
    return mtpfix.graft(made.target, made.base, **{**CHOSEN, **place, **more})


def outcome(folder: Path) -> str:
    """What the release makes of the draft."""
    (engine,) = mtpfix.check(folder, **CHOSEN).engines
    return engine.outcome


def check_right(made: Pair, folder: Path, old: dict[str, bytes], done: Delivered) -> None:
    """The block is there bit for bit, the rest is as it was, and both readers see the same."""
    assert outcome(folder) == "clean"
    base, held = loaded(made.base), loaded(folder)
    for piece in done.repair.tensors:
        if piece.conversion != "dequantize":
            assert held[piece.name] == base[piece.source]
        assert done.hashes[piece.name] == hashlib.sha256(held[piece.name]).hexdigest()
    weights = [name for name in old if name.endswith(".safetensors")]
    assert {n: (folder / n).read_bytes() for n in weights} == {n: old[n] for n in weights}
    assert set(held) == {n for w in weights for n in tensors(folder / w)} | set(done.hashes)
    index = edit(folder / INDEX)
    assert set(index["weight_map"]) == set(held)
    assert index["metadata"]["total_size"] == sum(map(len, held.values()))
    source = LocalSource(folder)
    found = listing(source)
    opened = open_shards(source, found, found.shards)
    assert opened.problems == ()
    assert set(opened.listing.shards) == set(held)
    assert [path for path in content(folder) if ".mtpfix-" in path] == []


# --- in place, and beside --------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    "kind", ["deepseek_v3 ct-fp8-channel none", "qwen3_5 ct-fp8-channel none", FP8]
)
@pytest.mark.parametrize("output", [False, True], ids=["in place", "output"])
def test_the_block_comes_back(tmp_path: Path, kind: str, shards: int, output: bool) -> None:
    family, scheme, donor = kind.split()
    made = pair(tmp_path, family, scheme, donor=donor, shards=shards)
    old = content(made.target)
    assert outcome(made.target) != "clean"
    place = tmp_path / "new" if output else made.target
    done = graft(made, output=place if output else None)
    check_right(made, place, old, done)
    assert done.exit_code == 0
    new = content(place)
    assert set(new) - set(old) - {INDEX} == {SHARD, MANIFEST} | {
        f"{n}.bak-mtpfix" for n in done.repair.files if n in old and not output
    }
    if output:
        assert content(made.target) == old
        assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "new", "target"]
    again = mtpfix.graft(place, made.base, **CHOSEN, write=True)
    assert (again.repair.tensors, again.repair.changes) == ((), ())
    assert content(place) == new


def test_fp8_becomes_bf16_where_that_is_asked_for(tmp_path: Path) -> None:
    made = pair(tmp_path, scheme="ct-w4a16", donor="fp8-block")
    old = content(made.target)
    done = graft(made, precision="bf16")
    check_right(made, made.target, old, done)
    assert {piece.dtype for piece in done.repair.tensors} <= {"BF16", "F32"}
    converted = [piece for piece in done.repair.tensors if piece.conversion == "dequantize"]
    assert converted
    assert not any("scale" in piece.name for piece in done.repair.tensors)
    old = content(made.target)
    assert graft(made).repair.tensors == ()  # what is BF16 now needs no scales
    assert content(made.target) == old


def test_the_manifest_says_where_everything_came_from(tmp_path: Path) -> None:
    made = pair(tmp_path)
    done = graft(made)
    told = json.loads((made.target / MANIFEST).read_text(encoding="utf-8"))
    assert told["schema"] == "mtpfix.manifest/1"
    assert told["base"] == {"kind": "local", "name": "base", "revision": None}
    assert {n: t["sha256"] for n, t in told["tensors"].items()} == done.hashes
    assert str(tmp_path) not in json.dumps(told)


def test_without_a_backup(tmp_path: Path) -> None:
    made = pair(tmp_path)
    graft(made, backup=False)
    assert not [name for name in content(made.target) if ".bak" in name]


@posix
def test_the_new_files_have_the_mode_of_the_old(tmp_path: Path) -> None:
    made = pair(tmp_path)
    (made.target / "config.json").chmod(0o664)
    graft(made)
    for name in (SHARD, MANIFEST, INDEX, "config.json"):
        assert stat.S_IMODE((made.target / name).stat().st_mode) == 0o664


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    made = pair(tmp_path, shards=3)
    (made.target / MANIFEST).write_bytes(b"mine")
    done = graft(made)
    assert done.repair.block.shard == "model-mtp-2.safetensors"
    assert (made.target / MANIFEST).read_bytes() == b"mine"
    assert outcome(made.target) == "clean"


def test_half_a_block_is_completed(tmp_path: Path) -> None:
    made = pair(tmp_path, shards=3)
    done = graft(made)
    kept = [name for name in tensors(made.target / SHARD) if "self_attn" not in name]
    index = made.index()
    (tmp_path / "half").mkdir()
    _rewritten(made.target / SHARD, kept)
    index["weight_map"] = {n: f for n, f in index["weight_map"].items() if f != SHARD or n in kept}
    edit(made.target / INDEX, **index)
    old = content(made.target)
    again = graft(made)
    assert {piece.name for piece in again.repair.tensors} == set(done.hashes) - set(kept)
    assert again.repair.block is not None
    assert set(again.repair.block.skipped) == set(kept)
    assert again.repair.block.shard == "model-mtp-2.safetensors"
    check_right(made, made.target, old, again)


def _rewritten(file: Path, names: list[str], also: dict[str, str] | None = None) -> None:
    """Leave only some tensors in a file, or copy some under another name."""
    from safetensors.torch import load_file, save_file

    held = load_file(file)
    kept = {name: held[name] for name in names}
    kept |= {new: held[name].clone() for new, name in (also or {}).items()}
    file.unlink()
    save_file(kept, file, metadata={"format": "pt"})


# --- what the config.json of the base has ------------------------------------------


@pytest.mark.parametrize("count", [0, None])
@pytest.mark.parametrize(
    ("family", "field"),
    [("deepseek_v3", "num_nextn_predict_layers"), ("qwen3_5", "mtp_num_hidden_layers")],
)
def test_a_count_that_was_taken_out_comes_back(
    tmp_path: Path, family: str, field: str, count: int | None
) -> None:
    made = pair(tmp_path, family)
    config = made.config()
    part = config.get("text_config", config)
    part[field] = count
    if count is None:
        del part[field]
    (made.target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    old = content(made.target)
    done = graft(made)
    check_right(made, made.target, old, done)
    config = made.config()
    assert config.get("text_config", config)[field] == 1


# --- every state in between ----------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
def test_every_state_between_two_renames_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    made = pair(tmp_path, shards=shards)
    old = loaded(made.target)
    before = mtpfix.inspect(made.target, **CHOSEN, trunk=True)
    assert trunk(before)
    states: list[tuple[str, bool, dict[str, bytes], mtpfix.Report]] = []
    replace = os.replace

    def watched(one: Any, other: Any, **more: Any) -> None:
        replace(one, other, **more)
        states.append(
            (
                Path(other).name,
                (made.target / SHARD).exists(),
                loaded(made.target),
                mtpfix.inspect(made.target, **CHOSEN, trunk=True),
            )
        )

    monkeypatch.setattr(os, "replace", watched)
    graft(made)
    monkeypatch.undo()
    new = loaded(made.target)
    assert len(new) > len(old)
    names = [name for name, *_ in states if ".bak-" not in name]
    interim = [] if shards == 3 else [INDEX]
    assert names == [*interim, SHARD, MANIFEST, "config.json", INDEX]
    for name, _, seen, report in states[:-1]:
        assert seen == old, name
        assert trunk(report) == trunk(before)
        assert report.engines[0].outcome == before.engines[0].outcome
    assert states[-1][2] == new
    assert trunk(states[-1][3]) == trunk(before)


def trunk(report: mtpfix.Report) -> dict[str, object]:
    """What is built for the modules of the target model."""
    return {
        m.decision.module.name: (m.decision.built, m.decision.scheme)
        for m in report.engines[0].modules
        if m.decision.module.part == "trunk"
    }


# --- what goes wrong while it is written -------------------------------------------


def test_a_failing_rename_takes_all_back_and_keeps_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pair(tmp_path)
    old = content(made.target)
    replace, count = os.replace, [0]

    def failing(one: Any, other: Any, **more: Any) -> None:
        count[0] += 1
        if Path(other).name == INDEX and (made.target / SHARD).exists():
            raise OSError(5, "Input/output error")
        replace(one, other, **more)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(WriteError, match="Input/output error"):
        graft(made)
    left = content(made.target)
    parts = [name for name in left if ".mtpfix-part" in name]
    assert len(parts) == 2
    assert {name: data for name, data in left.items() if name not in parts} == old
    monkeypatch.undo()
    moved: list[int] = []
    done = graft(made, watch=Watch(moved=moved.append))
    check_right(made, made.target, old, done)


def test_a_second_graft_waits_and_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtpfix.repair.writing.locking.PATIENCE", 0.05)
    made = pair(tmp_path)
    with locked(made.target, LOCK):
        old = content(made.target)
        with pytest.raises(ConflictError, match="another mtpfix is writing"):
            graft(made)
        assert content(made.target) == old


@pytest.mark.parametrize("name", ["config.json", SHARD, MANIFEST, INDEX])
def test_what_changed_meanwhile_is_noticed_before_a_byte_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = pair(tmp_path)
    check = disk.check_unmoved

    def late(folder: Path, files: Any) -> None:
        (folder / name).write_bytes(b"{}")
        check(folder, files)

    monkeypatch.setattr(disk, "check_unmoved", late)
    with pytest.raises(ConflictError, match=r"changed since it was read|made meanwhile"):
        graft(made, watch=Watch(moved=_never))
    assert [n for n in content(made.target) if ".mtpfix-" in n] == []


def _never(count: int) -> None:
    raise AssertionError(f"{count} bytes were fetched")


@posix
def test_a_hub_cache_is_not_written_into(tmp_path: Path) -> None:
    made = pair(tmp_path)
    blob = tmp_path / "blob"
    (made.target / "config.json").rename(blob)
    (made.target / "config.json").symlink_to(blob)
    old = sorted(path.name for path in made.target.iterdir())
    with pytest.raises(WriteError, match="is a link"):
        graft(made, watch=Watch(moved=_never))
    assert sorted(path.name for path in made.target.iterdir()) == old


@pytest.mark.parametrize("place", ["full", "file", "nowhere/new", "target/new", "target"])
def test_an_impossible_output_is_told_before_a_byte_is_fetched(tmp_path: Path, place: str) -> None:
    made = pair(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        graft(made, output=tmp_path / place, watch=Watch(moved=_never))


def test_a_disk_without_room_is_told_before_a_byte_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pair(tmp_path)
    monkeypatch.setattr(staging, "_SPARE", 1 << 60)
    old = content(made.target)
    with pytest.raises(WriteError, match="bytes are free, and the block needs") as caught:
        graft(made, watch=Watch(moved=_never))
    assert "free some space" in caught.value.remedy
    assert content(made.target) == old


def test_a_cut_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtpfix.grafts.layout.UNIT", 1 << 16)
    monkeypatch.setattr("mtpfix.grafts.transfer.AT_ONCE", 1)
    made = pair(tmp_path)
    old = content(made.target)
    arrived = [0]

    def cut(count: int) -> None:
        arrived[0] += count
        if arrived[0] > 700_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graft(made, watch=Watch(moved=cut))
    assert {n: d for n, d in content(made.target).items() if ".mtpfix-part" not in n} == old
    streams: list[int] = []
    real, check = LocalSource.stream, disk.check_unmoved

    def counted(self: LocalSource, path: str, begin: int, end: int) -> Any:
        if self.target().name == str(made.base):
            streams.append(end - begin)
        return real(self, path, begin, end)

    def planned(folder: Path, files: Any) -> None:
        check(folder, files)
        monkeypatch.setattr(LocalSource, "stream", counted)

    monkeypatch.setattr(disk, "check_unmoved", planned)
    done = graft(made)
    check_right(made, made.target, old, done)
    assert 0 < sum(streams) < done.repair.block.layout.fetched - 600_000


# --- pairs that do not fit -------------------------------------------------------------


def spoil(change: Callable[[Pair], None], match: str) -> Any:
    return pytest.param(change, match, id=change.__name__)


def no_block(made: Pair) -> None:
    for path in made.base.iterdir():
        path.unlink()
    for path in made.target.iterdir():
        (made.base / path.name).write_bytes(path.read_bytes())


def other_sizes(made: Pair) -> None:
    made.config(hidden_size=64)


def no_config(made: Pair) -> None:
    (made.base / "config.json").unlink()


def config_is_garbage(made: Pair) -> None:
    (made.base / "config.json").write_bytes(b"\xff{")


def unknown_family(made: Pair) -> None:
    edit(made.base / "config.json", architectures=["X\x1b[2J"], model_type="x")


def climbs_out(made: Pair) -> None:
    names = dict.fromkeys(tensors(made.base / "model.safetensors"), "../../secret.safetensors")
    (made.base / INDEX).write_text(json.dumps({"weight_map": names}))


def missing_shard(made: Pair) -> None:
    names = dict.fromkeys(tensors(made.base / "model.safetensors"), "lost.safetensors")
    (made.base / INDEX).write_text(json.dumps({"weight_map": names}))


def header_lies(made: Pair) -> None:
    raw = (made.base / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8 : 8 + size])
    name = next(n for n in table if "layers.2" in n)
    table[name]["shape"][0] += 1
    head = json.dumps(table).encode()
    (made.base / "model.safetensors").write_bytes(
        len(head).to_bytes(8, "little") + head + raw[8 + size :]
    )


def cut_short(made: Pair) -> None:
    with (made.base / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 100)


def lfs_pointer(made: Pair) -> None:
    (made.base / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        spoil(no_block, "it has no tensor of an MTP block either"),
        spoil(other_sizes, "hidden_size is 64 here and"),
        spoil(no_config, "^base: .*no config.json"),
        spoil(config_is_garbage, "^base: 'config.json'"),
        spoil(unknown_family, "^base: "),
        spoil(climbs_out, "^base: .*weight_map names '../../secret.safetensors'"),
        spoil(missing_shard, "^base: .*'lost.safetensors', which is not there"),
        spoil(header_lies, "^base: 'model.safetensors': tensor .* do not fit"),
        spoil(cut_short, "^base: 'model.safetensors': .*cut short"),
        spoil(lfs_pointer, "^base: 'model.safetensors': a Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("output", [False, True], ids=["in place", "output"])
def test_a_base_that_cannot_give_a_block(
    tmp_path: Path, change: Callable[[Pair], None], match: str, output: bool
) -> None:
    made = pair(tmp_path)
    change(made)
    old = content(made.target)
    with pytest.raises(MtpfixError, match=match) as caught:
        graft(made, output=tmp_path / "new" if output else None)
    assert caught.value.remedy
    assert caught.value.message.isprintable()
    assert content(made.target) == old
    assert not (tmp_path / "new").exists()


def test_a_base_of_another_family(tmp_path: Path) -> None:
    made = pair(tmp_path)
    other = pair(tmp_path / "other", "qwen3_5")
    with pytest.raises(RefusedError, match="the base is of another family"):
        mtpfix.graft(made.target, other.base, **CHOSEN, write=True)


def test_a_base_with_another_draft(tmp_path: Path) -> None:
    made = pair(tmp_path, "deepseek_v4", "ct-nvfp4")
    names = list(tensors(made.base / "model.safetensors"))
    _rewritten(made.base / "model.safetensors", names, {"mtp.0.markov_head.weight": names[0]})
    with pytest.raises(MtpfixError, match="of another family: DeepSeek-V4 with DSpark") as caught:
        graft(made)
    assert caught.value.remedy == "give the model that this checkpoint was made from"


def test_the_target_is_no_base(tmp_path: Path) -> None:
    made = pair(tmp_path)
    with pytest.raises(UsageError, match="the base is the target itself"):
        mtpfix.graft(made.target, made.target, **CHOSEN, write=True)


def test_a_base_that_moved_while_it_was_read(tmp_path: Path) -> None:
    made = pair(tmp_path)
    old = content(made.target)

    def moved(_: int) -> None:
        os.utime(made.base / "model.safetensors", ns=(1, 1))

    with pytest.raises(ConflictError, match=r"base: 'model\.safetensors': changed"):
        graft(made, watch=Watch(moved=moved))
    assert {n: d for n, d in content(made.target).items() if ".mtpfix-part" not in n} == old


def test_a_stray_tensor_in_a_shard_of_the_index(tmp_path: Path) -> None:
    made = pair(tmp_path, shards=3)
    graft(made)
    index = made.index()
    names = list(tensors(made.target / SHARD))
    index["weight_map"] = {n: f for n, f in index["weight_map"].items() if n not in names[1:]}
    edit(made.target / INDEX, **index)
    old = content(made.target)
    with pytest.raises(RefusedError, match="the index does not name it: vLLM would load both"):
        graft(made)
    assert content(made.target) == old


def test_hostile_names_are_told_inertly(tmp_path: Path) -> None:
    made = pair(tmp_path)
    names = list(tensors(made.base / "model.safetensors"))
    evil = "model.layers.2.\x1b[2Jevil\n.weight"
    _rewritten(made.base / "model.safetensors", names, {evil: names[0]})
    done = mtpfix.graft(made.target, made.base, **CHOSEN)
    said = str(done.refused) if done.refused is not None else ""
    assert said.isprintable()


def test_a_block_that_is_there_and_not_declared_is_declared(tmp_path: Path) -> None:
    made = pair(tmp_path)
    mtpfix.graft(made.target, made.base, write=True)
    shard = (made.target / "model-mtp.safetensors").read_bytes()
    made.config(num_nextn_predict_layers=0)
    again = mtpfix.graft(made.target, made.base, write=True)
    assert (again.repair.tensors, [*again.repair.files], again.exit_code) == (
        (),
        ["config.json"],
        0,
    )
    assert made.config()["num_nextn_predict_layers"] == 1
    assert (made.target / "model-mtp.safetensors").read_bytes() == shard


def test_an_output_is_made_where_nothing_is_lacking_too(tmp_path: Path) -> None:
    made = pair(tmp_path)
    mtpfix.graft(made.target, made.base, write=True)
    mtpfix.graft(made.target, made.base, output=tmp_path / "copy")
    assert mtpfix.check(tmp_path / "copy").exit_code == 0


def test_what_the_base_is_is_told_before_a_byte_is_fetched(tmp_path: Path) -> None:
    made = pair(tmp_path)
    told: list[object] = []
    watch = Watch(
        expected=lambda _: told.append("bytes"), compared=lambda found: told.append(found.verdict)
    )
    graft(made, watch=watch)
    assert told == ["same weights", "bytes"]


def test_what_compressed_tensors_cannot_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pair(tmp_path, "glm4_moe", "ct-w4a16", donor="fp8-block")
    before = content(made.target)
    seen: list[bytes] = []

    def reads(raw: bytes, name: str) -> bool:
        seen.append(raw)
        return name == "config.json" and raw == before["config.json"]

    monkeypatch.setattr(guard, "accepts", reads)
    with pytest.raises(RefusedError, match="compressed-tensors would not read"):
        graft(made)
    assert content(made.target) == before
    assert b"mixed-precision" in seen[-1]
