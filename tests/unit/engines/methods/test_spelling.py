"""Every judged method has spellings, and none of them reaches further than it says."""

from __future__ import annotations

import pytest

from mtpfix.engines.vllm import methods, policy
from mtpfix.engines.vllm.name_mapper import map_name
from mtpfix.engines.vllm.policy import covered_releases
from mtpfix.engines.vllm.records.family import MapperRow
from mtpfix.model import Entry

ROOT = "model.layers.4."
BELOW = ("self_attn.q_proj", "mlp.gate_up_proj", "mlp.experts", "head")
OTHERS = ("model.layers.43.self_attn.q_proj", "model.layers.40.mlp.experts", "lm_head")
LISTED = [name for name in methods.names() if not policy.method(name).unread]
APART = [name for name in methods.names() if methods.of(name).spelling.unmapped_block]
RELEASES = (covered_releases()[0], covered_releases()[-1])


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("method", methods.names())
def test_a_block_reaches_all_below_it_and_nothing_else(method: str, release: str) -> None:
    block = methods.of(method).spelling.block
    if block is None:
        return
    listed = methods.of(method).listed([Entry(block(ROOT), "", "")], release)
    assert all(listed.first(ROOT + name) for name in BELOW)
    assert not any(listed.first(name) for name in OTHERS)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("method", LISTED)
def test_a_name_reaches_the_module_of_that_name(method: str, release: str) -> None:
    spelled = methods.of(method).spelling.name(f"{ROOT}self_attn.q_proj")
    listed = methods.of(method).listed([Entry(spelled, "", "")], release)
    assert listed.first(f"{ROOT}self_attn.q_proj")
    assert not any(listed.first(name) for name in OTHERS)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("method", sorted(set(methods.names()) - set(LISTED)))
def test_no_entry_of_an_unread_list_reaches_anything(method: str, release: str) -> None:
    entries = [Entry(methods.of(method).spelling.name(f"{ROOT}{name}"), "", "") for name in BELOW]
    listed = methods.of(method).listed(entries, release)
    assert not any(listed.first(f"{ROOT}{name}") for name in BELOW)


@pytest.mark.parametrize(
    "method", [name for name in methods.names() if methods.of(name).spelling.unmapped_block]
)
def test_a_spelling_that_no_mapper_touches_reaches_the_same(method: str) -> None:
    spell, own = methods.of(method).spelling.unmapped_block, methods.of(method).spelling.unmapped
    assert spell is not None
    assert own is not None
    assert map_name(spell(ROOT), MapperRow(prefix={"model.": "x."})) == spell(ROOT)
    assert own("") == ""
    for entry, names in ((spell(ROOT), BELOW), (own(f"{ROOT}head"), ("head",))):
        listed = methods.of(method).listed([Entry(entry, "", "")], RELEASES[-1])
        assert all(listed.first(ROOT + name) for name in names)
        assert not any(listed.first(name) for name in (*OTHERS, f"x.{ROOT}head"))
