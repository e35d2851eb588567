import json
import struct

import pytest

from mtpfix.checkpoint import load as room
from mtpfix.checkpoint.load import listing, open_shards
from mtpfix.checkpoint.source import LocalSource
from mtpfix.errors import BrokenFileError, TargetError
from mtpfix.model import Tensor

INDEX = "model.safetensors.index.json"
ONE, TWO, THREE = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))


def shard(*names):
    entries = {
        name: {"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]}
        for at, name in enumerate(names)
    }
    raw = json.dumps(entries).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(len(names))


class Folder:
    def __init__(self, path):
        self.path = path
        self.opened = []
        self.write("config.json", b'{"model_type": "x"}')

    def write(self, name, content):
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_bytes(content)

    def shards(self, **names):
        for name, tensors in names.items():
            self.write(name, shard(*tensors.split()))

    def index(self, weight_map, name=INDEX):
        self.write(name, json.dumps({"weight_map": weight_map}).encode())

    @property
    def source(self):
        source = LocalSource(self.path)
        read = source.read_header
        source.read_header = lambda path: (self.opened.append(path), read(path))[1]
        return source


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def sharded(folder):
    folder.shards(**{ONE: "a", TWO: "b c"})
    folder.index({"a": ONE, "b": TWO, "c": TWO})
    return folder


def refused(call, *args, error=TargetError, **kwargs):
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert caught.value.message.isprintable()
    assert caught.value.remedy
    return caught.value.message


def broken(call, *args):
    return refused(call, *args, error=BrokenFileError)


# --- metadata files ----------------------------------------------------------


def test_config_is_kept_as_bytes_and_value(sharded):
    raw = b'{ "model_type" : "x" }\r\n'
    sharded.write("config.json", raw)
    config = listing(sharded.source).configs["config.json"]
    assert (config.name, config.raw, config.value) == ("config.json", raw, {"model_type": "x"})


@pytest.mark.parametrize(
    "name",
    [
        "hf_quant_config.json",
        "quantize_config.json",
        "quant_config.json",
        "quantization_config.json",
    ],
)
def test_quantization_files_are_read_where_they_exist(sharded, name):
    sharded.write(name, b'{"bits": 4}')
    assert listing(sharded.source).configs[name].value == {"bits": 4}


def test_other_json_files_are_not_read(sharded):
    sharded.write("tokenizer.json", b"not JSON")
    assert list(listing(sharded.source).configs) == ["config.json"]


def test_config_is_required(sharded):
    (sharded.path / "config.json").unlink()
    assert "no config.json" in refused(listing, sharded.source)


def test_config_is_not_required_when_told_so(sharded):
    (sharded.path / "config.json").unlink()
    assert listing(sharded.source, need_config=False).configs == {}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "line 1, column 1: is not JSON"),
        (b"[]", "not a JSON object"),
        (b"{\n\xff}", "line 2: is not UTF-8"),
        (b'{"a": 1,\n}', "line 2, column 1: is not JSON"),
        (b'{"a": 1,\n"b": {"a": 2, "\\u0061": 3}}', "line 2: has the key 'a' twice"),
        (b'{"a":\n\nNaN}', "line 3: holds NaN"),
        (b'{"a":\n-Infinity}', "line 2: holds -Infinity"),
        (b'{"a": "NaN",\n"b": 1e999}', "line 2: holds the number '1e999'"),
        (b'{"a":\n' + b"1" * 10_000 + b"}", "line 2: holds the number"),
        (b'{"a":\n"\\ud83d"}', "line 2: holds half of a surrogate pair"),
        (b'{"a":' + b"[" * 100_000, "nested too deep"),
        (b'{"a":' + b"[" * 90 + b"]" * 90 + b"}", "more than 64 levels"),
    ],
)
def test_malformed_config_is_refused_with_its_line(sharded, raw, words):
    sharded.write("config.json", raw)
    message = broken(listing, sharded.source)
    assert message.startswith("'config.json'")
    assert words in message
    assert len(message) < 300


def test_whole_surrogate_pairs_and_escaped_backslashes_are_legal(sharded):
    sharded.write("config.json", b'{"a": "\\ud83d\\ude00", "b": "\\\\ud83d"}')
    assert listing(sharded.source).configs["config.json"].value == {"a": "😀", "b": "\\ud83d"}


def test_same_key_in_two_objects_is_legal(sharded):
    sharded.write("config.json", b'{"a": {"x": 1}, "b": [{"x": 1}, {"x": 2}]}')
    assert listing(sharded.source)


def test_config_of_excessive_size_is_refused(sharded, monkeypatch):
    monkeypatch.setattr(room, "CONFIG_LIMIT", 4)
    assert "more than the 4" in broken(listing, sharded.source)


# --- layouts -----------------------------------------------------------------


def test_index_maps_tensors_without_opening_a_shard(sharded):
    found = listing(sharded.source)
    assert found.layout == "index"
    assert found.shards == {"a": ONE, "b": TWO, "c": TWO}
    assert found.files == ("config.json", ONE, TWO, INDEX)
    assert (found.headers, found.problems, sharded.opened) == ({}, (), [])


def test_single_file_is_mapped_by_its_header(folder):
    folder.shards(**{"model.safetensors": "a b"})
    found = listing(folder.source)
    assert found.layout == "headers"
    assert found.shards == {"a": "model.safetensors", "b": "model.safetensors"}
    assert found.headers["model.safetensors"]["a"] == Tensor("U8", (1,), 0, 1)


def test_shards_without_index_are_mapped_by_their_headers(folder):
    folder.shards(**{"x.safetensors": "a", "adapter_model.safetensors": "b"})
    found = listing(folder.source)
    assert found.shards == {"a": "x.safetensors", "b": "adapter_model.safetensors"}
    assert found.problems == ()


def test_tensor_in_two_files_belongs_to_the_one_that_is_loaded_last(folder):
    folder.shards(**{"m-2.safetensors": "a", "m-10.safetensors": "a"})
    found = listing(folder.source)
    assert found.shards == {"a": "m-10.safetensors"}
    (problem,) = found.problems
    assert (problem.kind, problem.file) == ("header_disagrees", "m-10.safetensors")
    assert problem.tensors == ("a",)


def test_files_in_sub_folders_and_hidden_ones_are_no_shards(folder):
    folder.shards(**{"model.safetensors": "a", "sub/b.safetensors": "b", ".c.safetensors": "c"})
    assert set(listing(folder.source).shards) == {"a"}


def test_consolidated_files_go_before_all_others(folder):
    folder.shards(**{"consolidated.safetensors": "a", ONE: "b"})
    folder.index({"b": ONE})
    found = listing(folder.source)
    assert (found.layout, found.shards) == ("headers", {"a": "consolidated.safetensors"})
    (problem,) = found.problems
    assert (problem.kind, problem.tensors) == ("not_in_index", ("b",))
    assert "consolidated" in problem.message


def test_consolidated_files_have_their_own_index(folder):
    folder.shards(**{"consolidated-1.safetensors": "a", "consolidated-2.safetensors": "b"})
    folder.index({"a": "consolidated-1.safetensors"}, "consolidated.safetensors.index.json")
    found = listing(folder.source)
    assert (found.layout, list(found.shards)) == ("index", ["a"])
    assert [problem.file for problem in found.problems] == ["consolidated-2.safetensors"]


def test_no_weights_are_refused(folder):
    assert "no safetensors files" in refused(listing, folder.source)


def test_no_weights_are_accepted_when_told_so(folder):
    found = listing(folder.source, need_weights=False, need_all=False)
    assert (found.layout, found.shards) == ("none", {})


# --- index -------------------------------------------------------------------


def test_missing_shard_is_refused(sharded):
    (sharded.path / TWO).unlink()
    message = refused(listing, sharded.source)
    assert "tensor 'b'" in message
    assert TWO in message


def test_missing_shard_is_accepted_when_no_weights_are_needed(sharded):
    (sharded.path / TWO).unlink()
    assert listing(sharded.source, need_all=False).shards["b"] == TWO


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "x\0.safetensors",
        "./x.safetensors",
        "x.bin",
        "",
        "..",
        "config.json",
    ],
)
def test_shard_name_that_is_no_plain_file_is_refused(sharded, name):
    sharded.index({"a": name})
    assert "plain name" in broken(listing, sharded.source)


@pytest.mark.parametrize("name", [None, 1, True, ["x"], {"x": 1}])
def test_shard_name_of_another_type_is_refused(sharded, name):
    sharded.index({"a": ONE, "b": name})
    assert "'b' is mapped to no file name" in broken(listing, sharded.source)


@pytest.mark.parametrize("weight_map", [{}, [], None, "x"])
def test_index_without_a_weight_map_is_refused(sharded, weight_map):
    sharded.index(weight_map)
    assert "no weight_map" in broken(listing, sharded.source)


def test_index_that_is_no_object_is_refused(sharded):
    sharded.write(INDEX, b"[]")
    assert "not a JSON object" in broken(listing, sharded.source)


def test_tensor_named_twice_in_the_index_is_refused(sharded):
    sharded.write(INDEX, b'{"weight_map": {\n"a": "x",\n"a": "y"}}')
    assert "line 3" in broken(listing, sharded.source)


# --- problems ----------------------------------------------------------------


def test_single_file_beside_an_index_shadows_it(sharded):
    sharded.shards(**{"model.safetensors": "a mtp.fc"})
    (problem,) = listing(sharded.source).problems
    assert (problem.kind, problem.file) == ("shadowed_index", "model.safetensors")
    assert problem.tensors == ("a", "mtp.fc")


def test_single_file_that_the_index_names_shadows_nothing(folder):
    folder.shards(**{"model.safetensors": "a"})
    folder.index({"a": "model.safetensors"})
    assert listing(folder.source).problems == ()


def test_shard_outside_the_index_is_read_and_reported(sharded):
    sharded.shards(**{"mtp.safetensors": "mtp.fc"})
    found = listing(sharded.source)
    (problem,) = found.problems
    assert (problem.kind, problem.file) == ("not_in_index", "mtp.safetensors")
    assert problem.tensors == ("mtp.fc",)
    assert "mtp.fc" not in found.shards


def test_broken_shard_outside_the_index_does_not_end_the_run(sharded):
    sharded.write("left\nover.safetensors", b"junk")
    (problem,) = listing(sharded.source).problems
    assert problem.kind == "not_in_index"
    assert problem.unread
    assert "its header was not read: 'left\\nover.safetensors': has 4 bytes" in problem.message
    assert problem.message.isprintable()


def test_only_so_many_shards_outside_the_index_are_opened(sharded, monkeypatch):
    monkeypatch.setattr(room, "MAX_STRAYS", 1)
    sharded.shards(**{"extra.safetensors": "x", "model.safetensors": "y"})
    problems = listing(sharded.source).problems
    assert [problem.tensors for problem in problems] == [("y",), ()]
    assert "was not read" in problems[1].message


# --- open_shards -------------------------------------------------------------


def test_only_shards_of_the_named_tensors_are_opened(sharded):
    source = sharded.source
    checkpoint = open_shards(source, listing(source), ["b", "unknown"])
    assert sharded.opened == [TWO]
    assert checkpoint.tensor("c") == Tensor("U8", (1,), 1, 2)
    assert checkpoint.tensor("a") is None
    assert checkpoint.problems == ()


def test_each_shard_is_opened_once(sharded):
    source = sharded.source
    open_shards(source, listing(source), ["a", "b", "c"])
    assert sharded.opened == [ONE, TWO]


def test_headers_of_files_that_no_engine_reads_are_kept(sharded):
    sharded.shards(**{"mtp.safetensors": "m"})
    found = listing(sharded.source)
    assert (found.index, found.strays) == (
        INDEX,
        {"mtp.safetensors": {"m": Tensor("U8", (1,), 0, 1)}},
    )
    assert "mtp.safetensors" not in found.headers


def test_headers_that_the_listing_read_are_not_read_again(folder):
    folder.shards(**{"model.safetensors": "a"})
    source = folder.source
    checkpoint = open_shards(source, listing(source), ["a"])
    assert folder.opened == ["model.safetensors"]
    assert checkpoint.tensor("a") is not None


def test_tensor_that_its_shard_lacks_is_reported_and_dropped(sharded):
    sharded.index({"a": ONE, "b": TWO, "c": TWO, "gone": TWO})
    source = sharded.source
    checkpoint = open_shards(source, listing(source), ["b"])
    (problem,) = checkpoint.problems
    assert (problem.kind, problem.file) == ("header_disagrees", TWO)
    assert problem.tensors == ("gone",)
    assert "lacks" in problem.message
    assert "gone" not in checkpoint.listing.shards


def test_tensor_that_its_shard_lacks_is_looked_for_in_all_others(folder):
    folder.shards(**{ONE: "a", TWO: "b c", THREE: "d"})
    folder.index({"a": ONE, "b": TWO, "c": ONE, "d": THREE})
    source = folder.source
    checkpoint = open_shards(source, listing(source), ["c"])
    assert checkpoint.listing.shards == {"a": ONE, "b": TWO, "c": TWO, "d": THREE}
    assert folder.opened == [ONE, TWO, THREE]
    assert [(problem.file, problem.tensors) for problem in checkpoint.problems] == [
        (ONE, ("c",)),
        (TWO, ("c",)),
    ]


def test_tensor_that_the_index_does_not_name_is_reported_and_kept(sharded):
    sharded.index({"a": ONE, "b": TWO})
    source = sharded.source
    checkpoint = open_shards(source, listing(source), ["b"])
    (problem,) = checkpoint.problems
    assert (problem.kind, problem.tensors) == ("header_disagrees", ("c",))
    assert checkpoint.listing.shards["c"] == TWO
    assert checkpoint.tensor("c") is not None


def test_tensor_mapped_elsewhere_is_reported_twice_and_found(sharded):
    sharded.index({"a": ONE, "b": TWO, "c": ONE})
    source = sharded.source
    checkpoint = open_shards(source, listing(source), ["a", "b"])
    assert [(it.file, it.tensors) for it in checkpoint.problems] == [(ONE, ("c",)), (TWO, ("c",))]
    assert checkpoint.listing.shards["c"] == TWO


def test_tensor_in_two_shards_stays_where_the_index_has_it(sharded):
    sharded.shards(**{ONE: "a b"})
    source = sharded.source
    checkpoint = open_shards(source, listing(source), ["a", "b"])
    assert [it.file for it in checkpoint.problems] == [ONE]
    assert checkpoint.listing.shards["b"] == TWO


def test_problems_of_the_listing_are_passed_on(sharded):
    sharded.shards(**{"model.safetensors": "a"})
    source = sharded.source
    found = listing(source)
    assert open_shards(source, found, []).problems == found.problems


def test_broken_shard_is_refused(sharded):
    sharded.write(ONE, b"junk")
    source = sharded.source
    assert "too few" in broken(open_shards, source, listing(source), ["a"])


def test_lfs_pointer_is_named_as_such(sharded):
    sharded.write(ONE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    source = sharded.source
    assert "Git LFS pointer" in broken(open_shards, source, listing(source), ["a"])
