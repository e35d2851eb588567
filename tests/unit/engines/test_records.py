"""The policy files as records: what is not as a record says is an error at load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mtpfix.engines.policies.condition import Condition, Record, Releases
from mtpfix.engines.policies.files import PolicyFiles, RecordError, parse
from mtpfix.engines.vllm import policy
from mtpfix.engines.vllm.records.engine import Engine
from mtpfix.engines.vllm.records.family import Family
from mtpfix.engines.vllm.records.method import Method
from tools.schema import FILES, files_of


def kinds(base: type[Record] = Record) -> Iterator[type[Record]]:
    """Every type of record of the package."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("mtpfix."):
            yield kind
        yield from kinds(kind)


def loaded(record: type[Any], **value: Any) -> Any:
    """The record of some JSON."""
    return parse(json.dumps(value).encode(), record, "demo.json")


FAMILY: dict[str, Any] = {
    "title": "Demo",
    "num_hidden_layers": "num_hidden_layers",
    "mtp_layers": "1",
    "disk_roots": ["mtp."],
    "trunk": [],
    "draft": [{"modules": [{"name": "fc"}]}],
}


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=str), ids=lambda kind: kind.__name__)
def test_no_record_takes_a_key_that_it_does_not_know(kind: type[Record]) -> None:
    with pytest.raises(RecordError, match=r"^demo\.json: Object contains unknown field `whne`$"):
        loaded(kind, whne="vision")


FILE_NAMES = [(name, record) for pattern, record in FILES.items() for name in files_of(pattern)]


@pytest.mark.parametrize(("name", "record"), FILE_NAMES)
def test_every_file_is_as_its_record_says(name: str, record: type[Record]) -> None:
    assert isinstance(policy.FILES.read(name, record), record)


def places(value: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a value, with its place."""
    if isinstance(value, dict):
        yield path, value
        for each in value.values():
            yield from places(each, f"{path}.")
    elif isinstance(value, list):
        for each in value:
            yield from places(each, f"{path}[]")


FREE = {"defaults", "metadata", "example", "shapes", "is"}
"""Keys that hold whatever others wrote, or facts about that."""


@pytest.mark.parametrize(
    "name", ["families/deepseek_v4/policy.json", "methods/quark.json", "blocks.json"]
)
def test_a_wrong_key_is_refused_wherever_it_stands(name: str) -> None:
    value = json.loads(policy.FILES.content(name))
    record = dict(FILE_NAMES)[name]
    kept = {key: each for key, each in value.items() if key not in FREE}
    rows = [row for _, row in places(kept) if any(isinstance(v, (str, bool)) for v in row.values())]
    wrong = [row for row in rows if not FREE & row.keys() and {"name", "use", "scheme"} & {*row}]
    assert wrong
    for row in wrong:
        row["whne"] = "vision"
        with pytest.raises(RecordError, match=r"unknown field `whne` - at `\$\."):
            loaded(record, **value)
        del row["whne"]
    loaded(record, **value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mtp_layers": "a.b"}, r"a\.b is not part of the policy language - at `\$\.mtp_layers`"),
        ({"mtp_layers": "1 +"}, r"invalid syntax - at `\$\.mtp_layers`"),
        ({"mtp_layers": 1}, r"Expected `str`, got 1 - at `\$\.mtp_layers`"),
        ({"derived": {"x": "lne(a)"}}, r"lne\(a\) is not part .* - at `\$\.derived\[\.\.\.\]`"),
        ({"disk_roots": ["mtp.{i.j}."]}, r"i\.j is not part .* - at `\$\.disk_roots\[0\]`"),
        ({"own_config": [{"when": "not"}]}, r"at `\$\.own_config\[0\]\.when`"),
        ({"own_config": [{"releases": "0.30"}]}, r"Invalid specifier: '0\.30' - at `\$\.own"),
        ({"releases": "=>0.30"}, r"Invalid specifier: '=>0\.30' - at `\$\.releases`"),
        ({"platforms": ["cdua"]}, r"Invalid enum value 'cdua' - at `\$\.platforms\[0\]`"),
        ({"own_config": [{"grade": "seen"}]}, r"Invalid enum value 'seen'"),
        ({"loader": [{"style": "auot"}]}, r"Invalid enum value 'auot' - at `\$\.loader\[0\]"),
        ({"loader": [{}]}, r"missing required field `style` - at `\$\.loader\[0\]`"),
        ({"limits": [{"reason": "r", "outcome": "load_error"}]}, r"missing required field `grade`"),
        ({"cache_scales": [{"value": "raises"}]}, r"`error` stands beside `raises`"),
        ({"cache_scales": [{"value": "named", "error": "E: "}]}, r"`error` stands beside `raises`"),
        ({"draft": [{"modules": [{}]}]}, r"one of `name`, `use` and `plain` - at `\$\.draft\[0\]"),
        ({"draft": [{"modules": [{"name": "a", "use": "b"}]}]}, r"one of `name`, `use` and"),
        ({"draft": [{"modules": [{"name": "a", "kind": "liner"}]}]}, r"Invalid enum value 'liner'"),
        ({"draft": [{"modules": [], "repeat": "f(1)"}]}, r"at `\$\.draft\[0\]\.repeat`"),
        ({"draft_mappers": [{"prefix": {"{i.j}": "y"}}]}, r"at `key` in `\$\.draft_mappers\[0\]"),
        ({"disk_roots": ["mtp.{i."]}, r"a brace is missing in 'mtp\.{i\.' - at `\$\.disk_roots"),
        ({"destinations": [{"paths": [["a"]]}]}, r"Expected `array` of length 2"),
    ],
)
def test_a_wrong_family_is_an_error_with_its_place(changed: dict[str, Any], said: str) -> None:
    assert loaded(Family, **FAMILY).title == "Demo"
    with pytest.raises(RecordError, match=rf"^demo\.json: .*{said}"):
        loaded(Family, **{**FAMILY, **changed})


@pytest.mark.parametrize(
    "row", [{}, {"scheme": "A", "error": "E: "}, {"expects": "fp8"}], ids=["none", "both", "half"]
)
def test_a_class_is_built_or_refused(row: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="either `scheme` or `error` - at"):
        loaded(Method, classes={"linear": [row]})


def test_a_rule_that_no_code_knows_is_refused() -> None:
    engine = json.loads(policy.FILES.content("releases.json"))
    engine["rules"]["fused_nmae_first"] = [{"value": True}]
    with pytest.raises(RecordError, match=r"unknown field `fused_nmae_first` - at `\$\.rules`"):
        loaded(Engine, **engine)


def test_what_is_no_json_is_an_error_with_the_file() -> None:
    with pytest.raises(RecordError, match=r"^demo\.json: Input data was truncated"):
        parse(b"{", Family, "demo.json")


def test_a_wrong_file_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyFiles, "content", lambda self, name: b'{"whne": 1}')
    with pytest.raises(RecordError, match=r"^families/mimo/policy\.json: .*`whne`"):
        policy.FILES.read("families/mimo/policy.json", Family)


def test_a_condition_says_what_it_holds_for() -> None:
    row = loaded(Condition, **{"except": ["fp8"], "releases": ">=0.30", "when": f"a > {1}"})
    assert row.except_ == ("fp8",)
    assert row.releases == Releases(">=0.30")
    assert row.when.value({"a": 2}) is True


def test_a_record_does_not_change() -> None:
    with pytest.raises(AttributeError):
        loaded(Condition).note = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", [n for n, r in FILE_NAMES if r is Method])
def test_a_method_like_another_has_what_it_does_not_say_itself(name: str) -> None:
    stated = json.loads(policy.FILES.content(name))
    known = policy.method(name.removeprefix("methods/").removesuffix(".json"))
    other = policy.method(stated["like"]) if "like" in stated else Method()
    own = policy.FILES.read(name, Method)
    for field in msgspec.structs.fields(Method):
        wanted = own if field.encode_name in stated else other
        found = getattr(known, field.name)
        if field.name != "schema":
            assert repr(found) == repr(getattr(wanted, field.name))
