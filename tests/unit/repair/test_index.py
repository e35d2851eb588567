"""mtpfix.repair.index: what an edit of the index makes right, and what needs weights moved."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from mtpfix.model import Edit, Tensor
from mtpfix.repair import move_by_hand, patch
from mtpfix.repair.diff import diff
from mtpfix.repair.index import INDEX, Index, IndexRepair, repair, size_of

A, B, MTP = "a.safetensors", "b.safetensors", "mtp.safetensors"
Files = Mapping[str, tuple[str, ...]]


def header(names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: Tensor("BF16", (2,), 4 * at, 4 * at + 4) for at, name in enumerate(names)}


def made(shards: Mapping[str, str], files: Files, **more: Any) -> IndexRepair:
    """What is corrected; files that were not read are those of the index without a header."""
    index = Index(
        file=INDEX,
        shards=shards,
        total=more.pop("total", None),
        usable=more.pop("usable", tuple(dict.fromkeys([*shards.values(), *files]))),
        headers={file: header(names) for file, names in files.items()},
        roots=("mtp.",),
    )
    return repair(Index(**{**vars(index), **more}))


def after(shards: Mapping[str, str], files: Files, **more: Any) -> dict[str, str]:
    return made(shards, files, **more).shards(shards)


# --- corrected -------------------------------------------------------------------


def test_a_right_index_stays() -> None:
    found = made({"x": A, "mtp.y": B}, {A: ("x",), B: ("mtp.y",)})
    assert (found.edits, found.refused, found.done) == ((), (), ())


def test_an_unnamed_file_is_named() -> None:
    found = made({"x": A}, {MTP: ("mtp.y", "mtp.z")})
    assert found.shards({"x": A}) == {"x": A, "mtp.y": MTP, "mtp.z": MTP}
    assert found.done == (f"name 2 tensors of {MTP}",)
    assert found.about == {MTP}
    assert found.title == f"in {INDEX}, name 2 tensors of {MTP}"


def test_a_file_without_mtp_tensors_is_left_alone() -> None:
    assert made({"x": A}, {B: ("y",)}).edits == ()


def test_what_the_draft_takes_from_elsewhere_may_be_in_its_file() -> None:
    shards = {"x": A, "head.weight": A}
    found = made(shards, {MTP: ("mtp.y", "other.weight")}, shared=frozenset({"other.weight"}))
    assert found.shards(shards)["other.weight"] == MTP


def test_a_tensor_is_said_to_be_where_it_is() -> None:
    shards = {"x": A, "mtp.y": A, "mtp.z": B}
    assert after(shards, {A: ("x",), B: ("mtp.y", "mtp.z")}) == {**shards, "mtp.y": B}


def test_a_tensor_of_the_target_model_is_too_where_its_header_was_read() -> None:
    shards = {"x": A, "mtp.z": B}
    assert after(shards, {A: (), B: ("x", "mtp.z")})["x"] == B


def test_a_name_that_no_file_holds_goes_and_stays_if_asked() -> None:
    shards = {"x": A, "mtp.y": B, "mtp.z": B}
    files = {A: ("x",), B: ("mtp.z",)}
    found = made(shards, files)
    assert (found.lost, found.shards(shards)) == (("mtp.y",), {"x": A, "mtp.z": B})
    assert made(shards, files, keep=found.lost).edits == ()


@pytest.mark.parametrize("files", [{B: ("mtp.z",)}, {}])
def test_it_stays_where_not_all_files_were_read(files: Files) -> None:
    assert made({"x": A, "mtp.y": B, "mtp.z": B}, files).edits == ()


def test_a_lost_name_of_the_target_model_stays() -> None:
    assert made({"x": A, "w": A}, {A: ("w",)}).edits == ()


def test_names_of_a_file_that_is_absent_are_found_or_go() -> None:
    shards = {"x": A, "mtp.y": "gone.safetensors", "mtp.z": "gone.safetensors"}
    found = made(shards, {A: ("x",), MTP: ("mtp.y",)}, usable=(A, MTP))
    assert found.shards(shards) == {"x": A, "mtp.y": MTP}
    assert found.lost == ()


def test_names_of_the_target_model_in_a_file_that_is_absent_stay_where_they_are_nowhere() -> None:
    shards = {"x": "gone.safetensors", "mtp.y": B}
    assert after(shards, {B: ("mtp.y",)}, usable=(B,)) == shards


def test_names_are_only_names() -> None:
    names = ("mtp.a/b", "mtp.c~d", 'mtp.e"f', "mtp.\x1b[2J")
    found = made({"x": A}, {MTP: names})
    raw = json.dumps({"weight_map": {"x": A}}).encode()
    assert json.loads(patch.apply(raw, found.edits))["weight_map"] == found.shards({"x": A})


# --- the size --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "new"), [(4, 12), (100, 108), (12, None), (None, None), (4.0, None), ("4", None)]
)
def test_the_size_grows_by_what_is_named_if_it_was_not_in_it(total: Any, new: Any) -> None:
    found = made({"x": A}, {A: ("x",), MTP: ("mtp.y", "mtp.z")}, total=total)
    sizes = [edit for edit in found.edits if edit.pointer == "/metadata/total_size"]
    assert sizes == ([] if new is None else [Edit(INDEX, "/metadata/total_size", "replace", new)])


def test_the_size_stays_where_a_tensor_is_only_elsewhere() -> None:
    shards = {"x": A, "mtp.y": A, "mtp.z": B}
    found = made(shards, {A: ("x",), B: ("mtp.y", "mtp.z")}, total=12)
    assert [edit.pointer for edit in found.edits] == ["/weight_map/mtp.y"]


def test_the_size_is_the_sum_of_all_tensors() -> None:
    headers = (
        {"a": Tensor("BF16", (2,), 0, 4), "b": Tensor("F32", (), 4, 8)},
        {"c": Tensor("U8", (0,), 0, 0)},
    )
    assert size_of(headers) == 8


# --- refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shards", "files", "reason"),
    [
        ({"x": A, "mtp.y": B}, {MTP: ("mtp.y",)}, f"its MTP tensors are also in {B!r}"),
        ({"x": A, "mtp.y": B}, {MTP: ("mtp.y", "mtp.z")}, f"also holds 'mtp.y', as {B!r} does"),
        ({"x": A}, {MTP: ("x", "mtp.y")}, f"also holds 'x', as {A!r} does"),
        ({"x.weight_packed": A}, {MTP: ("x.weight", "mtp.y")}, "hold otherwise"),
        ({"x": A, "mtp.y": A}, {A: ("x", "mtp.y", "mtp.y.q")}, "has no place beside"),
        (
            {"x": A, "mtp.experts.0.up.weight": A},
            {A: ("x", "mtp.experts.0.up.weight", "mtp.experts.up")},
            "has no place beside",
        ),
        (
            {"x": A, "mtp.experts.up": A},
            {A: ("x", "mtp.experts.up", "mtp.experts.0.up.weight")},
            "has no place beside",
        ),
    ],
)
def test_what_would_be_loaded_twice_is_refused(
    shards: Mapping[str, str], files: Files, reason: str
) -> None:
    found = made(shards, files, unfit=frozenset({"mtp.y.q"}))
    assert found.edits == ()
    (refusal,) = found.refused
    assert reason in refusal.reason
    assert refusal.file == list(files)[-1]
    assert refusal.remedy


def test_of_two_files_that_nobody_names_neither_is_named() -> None:
    found = made({"x": A}, {MTP: ("mtp.y",), B: ("mtp.y",)})
    assert found.edits == ()
    assert {refusal.file for refusal in found.refused} == {MTP, B}


def test_a_tensor_in_two_files_that_are_read_is_told_of_both() -> None:
    shards = {"x": A, "mtp.y": A, "mtp.z": B}
    found = made(shards, {A: ("x", "mtp.y"), B: ("mtp.y", "mtp.z")})
    assert found.edits == ()
    assert {refusal.file for refusal in found.refused} == {A, B}


def test_a_file_of_the_other_format_is_not_named() -> None:
    found = made({"x": A}, {MTP: ("mtp.y",)}, usable=(A,))
    (refusal,) = found.refused
    assert "consolidated*.safetensors" in refusal.reason
    assert "--load-format" in refusal.remedy


# --- commands --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a';x.safetensors", "$(x).safetensors", "a b", "`x`", "ä"])
def test_strange_names_do_not_get_into_a_command(name: str) -> None:
    for said in (
        move_by_hand.copied(name, ("mtp.",)),
        move_by_hand.cleared(name, ["mtp.x"], INDEX),
        move_by_hand.copied(A, (name,)),
        move_by_hand.cleared(A, [name], INDEX),
    ):
        assert name not in said
    assert "FILE" in move_by_hand.copied(name, ("mtp.",))


def test_of_many_tensors_the_index_says_which_stay() -> None:
    said = move_by_hand.cleared(A, [f"mtp.{number}" for number in range(9)], INDEX)
    assert f"w.get(k) == '{A}'" in said
    assert "mtp.3" not in said


# --- size ------------------------------------------------------------------------


def test_the_index_of_a_large_model_is_corrected_in_seconds() -> None:
    trunk = {f"model.layers.{n // 5000}.mlp.experts.{n % 5000}.w": A for n in range(280_000)}
    block = tuple(f"mtp.layers.0.mlp.experts.{n}.w" for n in range(5000))
    document = {"metadata": {"total_size": 1}, "weight_map": trunk}
    raw = json.dumps(document, indent=2).encode()
    begun = time.process_time()
    found = made(trunk, {MTP: block}, total=1)
    new = patch.apply(raw, found.edits)
    shown = diff(raw, new, INDEX)
    assert time.process_time() - begun < 20  # some 3 s
    assert json.loads(new)["metadata"]["total_size"] == 1 + 4 * len(block)
    assert shown.count("\n+") == len(block) + 3  # size, the item before, and the file name
