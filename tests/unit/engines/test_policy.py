"""Choosing releases, families and rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from packaging.version import Version

from mtpfix.engines.policies.condition import Condition
from mtpfix.engines.policies.context import Context, fits, in_releases
from mtpfix.engines.policies.family import Index
from mtpfix.engines.policies.files import parse
from mtpfix.engines.policies.module import ModuleRow
from mtpfix.engines.vllm.policy import (
    FILES,
    KNOWLEDGE,
    covered_releases,
    families,
    grade,
    is_newer,
    known_releases,
    policy,
    recognise,
    rules,
    select_releases,
)
from mtpfix.errors import UnknownError, UsageError

COVERED = covered_releases()

# --- releases ----------------------------------------------------------------


def test_releases_are_covered_from_the_oldest_to_the_newest() -> None:
    assert list(COVERED) == sorted(COVERED, key=Version)


def test_one_release_stands_for_each_minor_version() -> None:
    minors = [Version(release).release[:2] for release in COVERED]
    assert len(set(minors)) == len(minors)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["0.32.0"], ("0.32.0",)),
        (["0.32"], ("0.32.0",)),
        (["0.25"], ("0.25.1",)),
        (["0.32.7"], ("0.32.7",)),
        (["0.25.0"], ("0.25.0",)),
        ([" 0.32.0 "], ("0.32.0",)),
        (["newest"], (COVERED[-1],)),
        (["all"], COVERED),
        ([">=0.30,<0.32"], ("0.30.0", "0.31.0")),
        (["<0.22"], ("0.20.2", "0.21.0")),
        (["==0.32.*"], ("0.32.0",)),
        (["~=0.32.0"], ("0.32.0",)),
        (["!=0.32.0", "0.32"], COVERED),
        (["0.33", "0.32", "0.33.0"], ("0.32.0", "0.33.0")),
        (["0.33", "0.29"], ("0.29.0", "0.33.0")),
        (["latest"], ("0.34.0",)),
        (["v0.30.0", "v0.31"], ("0.30.0", "0.31.0")),
    ],
)
def test_a_release_is_selected_by(wanted: list[str], chosen: tuple[str, ...]) -> None:
    assert select_releases(wanted) == chosen


@pytest.mark.parametrize("text", ["0.19.0", "0.2", "<0.20"])
def test_a_release_that_is_not_covered_is_unknown(text: str) -> None:
    with pytest.raises(UnknownError) as caught:
        select_releases([text])
    assert caught.value.code == "MTP903"
    assert COVERED[0] in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "release"),
    [("0.40", "0.40.0"), ("0.40.2", "0.40.2"), ("1", "1.0"), (">=0.40", "0.40.0")],
)
def test_a_newer_release_is_taken_and_what_is_known_of_it_assumed(text: str, release: str) -> None:
    assert select_releases([text]) == (release,)
    assert grade(policy("mimo"), Context(release, "cuda", {})) == "assumed"
    assert not is_newer(COVERED[-1])


@pytest.mark.parametrize(
    "text", ["lastest", "vv0.32.0", "v", "0.32.x", "0..3", ">=", ">=a", "0.3 2", "=0.32"]
)
def test_what_is_no_release_is_a_mistake_of_the_user(text: str) -> None:
    with pytest.raises(UsageError):
        select_releases([text])


def test_no_wish_selects_nothing() -> None:
    assert select_releases([]) == ()


def test_nothing_typed_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError):
        select_releases([""])


def test_a_specifier_looks_at_the_release_that_stands_for_its_minor_version() -> None:
    assert select_releases(["==0.33.1"]) == select_releases(["0.33.1"])


def test_a_local_version_is_judged_as_its_release() -> None:
    assert select_releases(["0.32.0+cpu"]) == ("0.32.0+cpu",)
    assert in_releases(">=0.32", "0.32.0+cpu")


@pytest.mark.parametrize(
    ("specifier", "release", "answer"),
    [
        (">=0.24", "0.24.0", True),
        (">=0.24", "0.23.9", False),
        ("<0.24", "0.24.3", False),
        ("<0.24", "0.23.9", True),
        (">=0.27,<0.29", "0.28.1", True),
        (">=0.27,<0.29", "0.29.0", False),
    ],
)
def test_patch_versions_do_not_count(specifier: str, release: str, answer: bool) -> None:
    assert in_releases(specifier, release) is answer


def test_a_family_is_known_only_where_the_engine_has_it() -> None:
    text_only = policy("qwen3_5_text")
    known = known_releases(text_only, ["all"])
    assert known == tuple(r for r in COVERED if in_releases(text_only.record.releases, r))
    assert known != COVERED


def test_no_release_with_the_family_is_unknown() -> None:
    with pytest.raises(UnknownError) as caught:
        known_releases(policy("qwen3_5_text"), ["0.24"])
    assert caught.value.code == "MTP903"


@pytest.mark.parametrize("release", COVERED)
def test_every_rule_has_a_value_in_every_release(release: str) -> None:
    for key in ("fused_name_first", "shards_differ", "no_target", "shards_before_class"):
        rules(key, release)
    for key in ("experts_target", "experts_class", "experts_param", "embedding_asks_scheme"):
        rules(key, release)


# --- families ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"architectures": ["DeepseekV3ForCausalLM"]}, "deepseek_v3"),
        ({"architectures": ["Other", "MiMoForCausalLM"]}, "mimo"),
        ({"architectures": ["GlmMoeDsaForCausalLM"]}, "deepseek_v32"),
        ({"model_type": "glm4_moe"}, "glm4_moe"),
        ({"architectures": [], "model_type": "glm4_moe"}, "glm4_moe"),
        ({"architectures": None, "model_type": "glm4_moe"}, "glm4_moe"),
        ({"architectures": ["Unheard"], "model_type": "glm4_moe"}, None),
        ({"architectures": ["deepseekv3forcausallm"]}, None),
        ({}, None),
        ({"model_type": None}, None),
        ({"model_type": ["glm4_moe"]}, None),
        ({"architectures": "MiMoForCausalLM"}, None),
        ({"architectures": {"MiMoForCausalLM": 1}}, None),
        ({"architectures": [1, None, ["MiMoForCausalLM"]]}, None),
    ],
)
def test_a_family_is_told_from(config: dict[str, Any], family: str | None) -> None:
    assert recognise(config) == family


def test_an_architecture_of_two_families_is_told_by_its_tensors() -> None:
    named = Counter(a for family in families() for a in policy(family).architectures)
    assert [a for a, count in named.items() if count > 1] == ["DeepseekV4ForCausalLM"]
    heads = FILES.read("families.json", Index).families
    pair = [heads["deepseek_v4_dspark"], heads["deepseek_v4"]]
    assert all(head.markers for head in pair)
    assert not set(pair[0].markers) & set(pair[1].markers)
    assert [bool(head.keys) for head in pair] == [True, False]  # without tensors the keys tell


def test_an_unknown_family_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UnknownError, match="nonsense") as caught:
        policy("nonsense")
    assert "mimo" in caught.value.remedy


@pytest.mark.parametrize("family", families())
def test_every_policy_says_what_the_stages_need(family: str) -> None:
    known = policy(family).record
    assert known.title
    assert known.disk_roots
    assert known.draft
    roots = {root.source for root in known.disk_roots} - {"{block_root}"}
    assert all(root.endswith(".") for root in (*roots, *known.block_roots))


@pytest.mark.parametrize("family", families())
def test_every_block_that_a_policy_uses_exists(family: str) -> None:
    known = policy(family).record
    assert [row.name for s in (*known.draft, *known.trunk) for row in expanded(s.modules)]


def expanded(rows: Iterable[ModuleRow]) -> Iterator[ModuleRow]:
    """Rows, with those of the blocks that they use."""
    for row in rows:
        yield row
        yield from expanded(KNOWLEDGE.block(row.use) if row.use is not None else ())


# --- rows --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({}, True),
        ({"releases": ">=0.30"}, True),
        ({"releases": "<0.30"}, False),
        ({"platforms": ["cuda"]}, True),
        ({"platforms": ["rocm", "xpu"]}, False),
        ({"when": "layers > 3"}, True),
        ({"when": "layers > 9"}, False),
        ({"when": "absent"}, False),
        ({"releases": ">=0.30", "platforms": ["cuda"], "when": "layers"}, True),
        ({"releases": ">=0.30", "platforms": ["rocm"], "when": "layers"}, False),
    ],
)
def test_a_row_fits(row: dict[str, Any], answer: bool) -> None:
    condition = parse(json.dumps(row).encode(), Condition, "row.json")
    assert fits(condition, Context("0.32.0", "cuda", {"layers": 4})) is answer


def test_more_fields_leave_the_old_context_alone() -> None:
    old = Context("0.32.0", "cuda", {"layers": 4})
    assert old.with_fields(layer=1).fields == {"layers": 4, "layer": 1}
    assert old.fields == {"layers": 4}
