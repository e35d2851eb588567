"""mtpfix.grafts.repeats: an embedding or a head that the target holds already, byte for byte."""

from __future__ import annotations

import pytest

from mtpfix.grafts.pieces import Piece, Stored
from mtpfix.grafts.repeats import is_shared, same
from tests.unit.grafts.memory import Memory


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("model.layers.61.embed_tokens.weight", True),
        ("model.layers.61.shared_head.head.weight", True),
        ("mtp.0.emb.tok_emb.weight", True),
        ("embed.weight", True),
        ("lm_head.weight", True),
        ("model.word_embeddings.weight", True),
        ("mtp.0.head.weight_scale", False),
        ("model.layers.0.self_attn.o_proj.weight", False),
        ("model.overhead.weight", False),
        ("model.layers.61.shared_head.norm.weight", False),
    ],
)
def test_names(name: str, shared: bool) -> None:
    assert is_shared(name) == shared


HEAD = Stored("m.head.weight", "a", "BF16", (5,), 0, 10)
OWN = Stored("lm_head.weight", "b", "BF16", (5,), 4, 14)
BYTES = bytes(range(10))
THEIRS = Memory({"a": BYTES}, step=3)


def test_the_same_bytes() -> None:
    ours = Memory({"b": b"...." + BYTES}, step=3)
    assert same(THEIRS, Piece(HEAD.name, HEAD), ours, OWN)


def test_other_bytes_another_form_and_what_is_converted() -> None:
    ours = Memory({"b": b"...." + BYTES[:-1] + b"!"}, step=3)
    assert not same(THEIRS, Piece(HEAD.name, HEAD), ours, OWN)
    good = Memory({"b": b"...." + BYTES}, step=3)
    assert not same(THEIRS, Piece(HEAD.name, HEAD), good, OWN._replace(shape=(1, 5)))
    assert not same(THEIRS, Piece(HEAD.name, HEAD), good, OWN._replace(dtype="F16"))
    assert not same(THEIRS, Piece(HEAD.name, HEAD, OWN), good, OWN)
    assert not same(THEIRS, Piece("m.o_proj.weight", HEAD), good, OWN)
