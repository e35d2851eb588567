"""The proofs of the plugin that are kept: enough of them, none that differs, and their page."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from mtpfix.engines.vllm import live
from tools import prove_serving
from tools.environments import releases
from tools.prove_plugin import BESIDE, PAGE, Proof, differences, page, proofs
from tools.schemes import named


def test_the_page_is_made_from_the_data() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(proofs())


def test_what_is_kept_shows_what_the_page_claims() -> None:
    found = proofs()
    assert {p.release for p in found} >= {"0.24.0", "0.28.0", "0.32.0", "0.33.0"} <= set(releases())
    for release in {p.release for p in found}:
        here = [p for p in found if p.release == release]
        mended = [p for p in here if p.plugin.startswith("clean")]
        assert len({p.family for p in mended}) >= 8
        assert len({named()[p.scheme]["quant_method"] for p in mended}) >= 4
        assert {BESIDE, "text_config", "compression_config"} <= {p.place for p in mended}
    assert [p for p in found if p.differences] == []
    assert all(p.plugin == (p.rewrite if p.mends else p.alone) for p in found)


def answer(**load: object) -> live.Answer:
    raw: dict[str, object] = {
        "vllm": "0.32.0",
        "platform": "CpuPlatform",
        **dict.fromkeys(("patches", "decisions", "unasked", "failures"), ()),
    }
    loaded = {
        "verdict": "clean",
        **{key: {} for key in ("uninitialised", "partial", "digests")},
        **dict.fromkeys(("lossy", "unused", "unequal"), ()),
        **dict.fromkeys(("failure", "postprocess")),
        "equal": 0,
        **load,
    }
    return live.parse({**raw, "load": loaded} if load else raw)


def test_differences_are_told() -> None:
    one = answer(digests={"a": "0"})
    assert list(differences(one, answer(digests={"a": "0"}))) == []
    assert list(differences(one, answer(digests={"a": "1"}))) == ["digests"]
    assert list(differences(one, answer())) == ["load"]
    assert list(differences(one, replace(one, ignore=("lm_head",)))) == ["ignore"]


def test_the_page_tells_of_a_difference() -> None:
    made = Proof("0.32.0", "mimo", "awq", "config.json", "a", "b", "c", (), True, 1, ("digests",))
    assert "| no: digests |" in page([made])


def test_what_was_served_is_as_it_should_be() -> None:
    found = prove_serving.served()
    assert list(prove_serving.wrong(found)) == []
    assert {one.by for one in found} == {"LLM", "vllm serve"}
    assert {one.model for one in found} == set(get_args(prove_serving.Model))
    assert {one.way for one in found} == set(get_args(prove_serving.Way))
    assert {one.workers for one in found} == {1, 2}


def test_a_draft_that_is_not_accepted_is_told() -> None:
    found = prove_serving.served()
    broken = [replace(one, accepted=one.drafted - 1) for one in found if one.way == "plugin"]
    rest = [one for one in found if one.way != "plugin"]
    told = list(prove_serving.wrong([*rest, *broken]))
    assert len(told) == len(broken)
    assert all("drafted tokens accepted" in line for line in told)
