"""Which other names for scales are tried, and files that have them."""

from __future__ import annotations

import json

import pytest

from mtpfix.checkpoint.header import parse_header
from mtpfix.checkpoint.inventory import Inventory
from mtpfix.errors import BrokenFileError, RefusedError
from mtpfix.model import Checkpoint, Listing, Target, Tensor
from mtpfix.repair import renames

FILE = "mtp.safetensors"
Form = tuple[str, tuple[int, ...]]
WEIGHT: Form = ("F8_E4M3", (512, 256))
BLOCKS: Form = ("F32", (4, 2))


def checkpoint(tensors: dict[str, Form], opened: bool = True) -> Checkpoint:
    header = {name: Tensor(dtype, shape, 0, 0) for name, (dtype, shape) in tensors.items()}
    found = Listing(Target("local", "."), (FILE,), {}, dict.fromkeys(tensors, FILE), "index")
    return Checkpoint(found, {FILE: header} if opened else {})


def tried(
    tensors: dict[str, Form], experts: tuple[str, ...] = (), opened: bool = True
) -> list[dict[str, str]]:
    inventory = Inventory(checkpoint(tensors, opened))
    others = sorted(set(inventory.modules()) - set(experts))
    return renames.candidates(inventory, experts, others)


def linear(suffix: str, scale: Form = BLOCKS, module: str = "m.q") -> dict[str, Form]:
    return {f"{module}.weight": WEIGHT, f"{module}.{suffix}": scale}


# --- which names are tried -----------------------------------------------------------------


def test_fp8_in_blocks_may_have_either_name() -> None:
    assert tried(linear("weight_scale_inv")) == [{"m.q.weight_scale_inv": "m.q.weight_scale"}]
    assert tried(linear("weight_scale")) == [{"m.q.weight_scale": "m.q.weight_scale_inv"}]


def test_a_bare_scale_may_become_either() -> None:
    assert tried(linear("scale", ("F8_E8M0", (4, 2)))) == [
        {"m.q.scale": "m.q.weight_scale"},
        {"m.q.scale": "m.q.weight_scale_inv"},
    ]


@pytest.mark.parametrize("shape", [(), (1,), (512, 1), (512,)])
def test_no_name_makes_blocks_of_what_has_none(shape: tuple[int, ...]) -> None:
    """`weight_scale_inv` alone passes for FP8 in blocks."""
    assert tried(linear("weight_scale", ("F32", shape))) == []


@pytest.mark.parametrize("dtype", ["U8", "I32", "F8_E4M3"])
def test_a_scale_whose_bytes_mean_something_else_keeps_its_name(dtype: str) -> None:
    assert tried(linear("weight_scale_inv", (dtype, (4, 2)))) == []


def test_what_is_not_known_is_not_renamed() -> None:
    assert tried(linear("weight_scale_inv"), opened=False) == []


def test_plain_weights_have_no_scale() -> None:
    assert tried({"m.q.weight": ("BF16", (8, 8)), "m.q.bias": ("BF16", (8,))}) == []
    assert tried({"m.q.weight": ("BF16", (8, 8)), "m.q.weight_scale_inv": BLOCKS}) == []


def test_no_tensor_gets_the_name_of_another() -> None:
    both = {**linear("weight_scale_inv"), **linear("weight_scale")}
    assert tried(both) == []
    assert tried({**linear("scale"), **linear("weight_scale_inv")}) == []


def test_scales_beside_stacked_experts_are_named_their_way() -> None:
    stacked: dict[str, Form] = {
        "m.experts.up_proj": ("F8_E4M3", (2, 512, 256)),
        "m.experts.up_proj_scale_inv": ("F32", (2, 4, 2)),
    }
    assert tried(stacked, ("m.experts.up_proj",)) == [
        {"m.experts.up_proj_scale_inv": "m.experts.up_proj_scale"}
    ]


def test_experts_and_other_modules_are_renamed_apart_and_the_fewest_first() -> None:
    both = {**linear("weight_scale_inv"), **linear("weight_scale_inv", module="m.experts.0.up")}
    both |= linear("weight_scale_inv", module="m.experts.1.up")
    names = tried(both, ("m.experts.0.up", "m.experts.1.up"))
    assert [len(each) for each in names] == [1, 2, 3]
    assert list(names[0]) == ["m.q.weight_scale_inv"]


def test_what_has_the_name_already_keeps_it() -> None:
    half = {**linear("weight_scale_inv"), **linear("weight_scale", module="m.k")}
    assert {"m.q.weight_scale_inv": "m.q.weight_scale"} in tried(half)


# --- files ---------------------------------------------------------------------------------


def raw(names: dict[str, list[int]], **more: object) -> bytes:
    table = {
        n: {"dtype": "U8", "shape": [e - b], "data_offsets": [b, e]} for n, (b, e) in names.items()
    }
    return json.dumps({**more, **table}, ensure_ascii=False).encode()


OLD = {"é.weight_scale_inv": [0, 4], "é.weight": [4, 8]}
NAMES = {"é.weight_scale_inv": "é.weight_scale"}


def test_a_header_keeps_all_but_names() -> None:
    old = raw(OLD, __metadata__={"format": "pt", "über": "ß"})
    new = renames.header(old, NAMES, FILE)
    assert len(new) % 8 == 0
    assert json.loads(new)["__metadata__"] == {"format": "pt", "über": "ß"}
    before, after = (parse_header(each, data_size=8, file=FILE) for each in (old, new))
    assert list(after) == ["é.weight_scale", "é.weight"]
    assert list(after.values()) == list(before.values())


def test_a_header_fits_into_the_place_of_the_old_one() -> None:
    old = raw(OLD)
    new = renames.fitted(old, NAMES, FILE)
    assert len(new) == len(old)
    assert new.startswith(b"{")
    assert new.rstrip(b" ").endswith(b"}")
    assert list(parse_header(new, data_size=8, file=FILE)) == ["é.weight_scale", "é.weight"]


def test_a_longer_header_fits_where_blanks_are_left() -> None:
    tight = json.dumps(json.loads(raw(OLD)), ensure_ascii=False, separators=(",", ":")).encode()
    longer = {"é.weight": "é.weight_is_longer"}
    with pytest.raises(RefusedError, match="10 bytes more"):
        renames.fitted(tight, longer, FILE)
    assert len(renames.fitted(tight + b" " * 10, longer, FILE)) == len(tight) + 10


def test_two_tensors_do_not_get_one_name() -> None:
    with pytest.raises(RefusedError, match="two tensors"):
        renames.header(raw(OLD), {"é.weight_scale_inv": "é.weight"}, FILE)


@pytest.mark.parametrize("broken", [b"[]", b"{", b'{"a": 1, "a": 2}'])
def test_what_is_no_header_is_refused(broken: bytes) -> None:
    with pytest.raises(BrokenFileError):
        renames.header(broken, NAMES, FILE)


# --- the index -----------------------------------------------------------------------------

INDEX = (
    '{\n  "metadata": {"total_size": 8},\n  "weight_map":{ "a.weight" : "1",\n'
    '    "m.q.weight_scale_inv":"mtp.safetensors", "m.q.weight": "mtp.safetensors",\n'
    '    "other.weight_scale_inv": "1"}\n}'
)


def test_the_index_follows_the_headers_and_keeps_every_other_byte() -> None:
    new = renames.index(INDEX.encode(), checkpoint(linear("weight_scale")))
    assert new.decode() == INDEX.replace("m.q.weight_scale_inv", "m.q.weight_scale")


def test_an_index_that_is_right_stays() -> None:
    for made in (linear("weight_scale_inv"), {}):
        assert renames.index(INDEX.encode(), checkpoint(made)) == INDEX.encode()


def test_a_name_that_the_index_has_for_another_file_is_not_given_twice() -> None:
    twice = INDEX.replace("a.weight", "m.q.weight_scale")
    assert renames.index(twice.encode(), checkpoint(linear("weight_scale"))) == twice.encode()


def test_escaped_names_are_found_and_written_escaped() -> None:
    escaped = INDEX.replace("m.q.", r"m.\u00e9.")
    made = checkpoint(linear("weight_scale", module="m.é"))
    new = renames.index(escaped.encode(), made)
    assert new.decode() == escaped.replace("weight_scale_inv", "weight_scale", 1)


def test_all_that_changes_in_a_file_is_counted_by_ends() -> None:
    made = checkpoint({**linear("scale"), **linear("scale", module="m.k")})
    names = {"m.q.scale": "m.q.weight_scale", "m.k.scale": "m.k.weight_scale"}
    found = renames.of(names, made, [*made.listing.shards], in_place=False)
    assert found.ends(FILE) == {("scale", "weight_scale"): 2}
    assert found.mixed == ()
    assert renames.of(names, made, list(names), in_place=True).mixed == (FILE,)
    assert not renames.Renames()
