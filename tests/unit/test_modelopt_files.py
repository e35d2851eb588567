"""ModelOpt states its metadata in two files: which one counts, and that both are kept in step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix.errors import BrokenFileError, OverrideError
from mtpfix.model import Finding
from mtpfix.repair.plan import Options
from tests.unit.engines.small import GLM, NEWEST, Config, tensors, with_list, write
from tools.sample import Tensors

BLOCK = "model.layers.2.*"
DECODER = "model.decoder.*"
"""What SGLang calls the same."""
FLAT = {"quant_method": "modelopt", "quant_algo": "FP8", "producer": {"name": "modelopt"}}
LAYERS = {"model.layers.0.self_attn.o_proj": {"quant_algo": "FP8"}}


def nested(*excluded: str, **more: Any) -> Config:
    stated = {"quant_algo": "FP8", "exclude_modules": list(excluded), **more}
    return {"producer": {"name": "modelopt"}, "quantization": stated}


def stored() -> Tensors:
    """The trunk as ModelOpt stores FP8, the draft unquantized."""
    found: Tensors = {}
    for name, entry in tensors(with_list(GLM)).items():
        if name.endswith(".weight_scale"):
            found[name] = ("F32", ())
            found[name.replace(".weight_scale", ".input_scale")] = ("F32", ())
        else:
            found[name] = entry
    return found


def folder(path: Path, flat: Config | None, beside: Any = None) -> Path:
    """A checkpoint with what its two files say of quantization; None leaves it out."""
    made = write(path / "model", GLM if flat is None else {**GLM, "quantization_config": flat},
                 stored())  # fmt: skip
    if beside is not None:
        (made / "hf_quant_config.json").write_text(json.dumps(beside), encoding="utf-8")
    return made


def ignored(path: Path) -> Any:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return config["quantization_config"].get("ignore")


def excluded(path: Path) -> Any:
    config = json.loads((path / "hf_quant_config.json").read_text(encoding="utf-8"))
    return config["quantization"].get("exclude_modules")


def outcome(path: Path, release: str = NEWEST) -> str:
    return mtpfix.inspect(path, vllm=[release]).engines[0].outcome


def disagreement(path: Path) -> list[Finding]:
    return [f for f in mtpfix.inspect(path, vllm=[NEWEST]).findings if f.code == "MTP401"]


# --- which file counts -------------------------------------------------------


def test_config_json_counts_where_it_says_anything(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": ["lm_head"]}, nested("lm_head", BLOCK))
    assert outcome(made) == "silent_garbage"


@pytest.mark.parametrize(("entries", "said"), [((BLOCK,), "clean"), ((), "silent_garbage")])
def test_the_other_file_counts_where_config_json_says_nothing(
    tmp_path: Path, entries: tuple[str, ...], said: str
) -> None:
    made = folder(tmp_path, None, nested("lm_head", *entries))
    assert outcome(made) == said
    assert mtpfix.inspect(made).quant_files == ("hf_quant_config.json#",)


def test_the_other_file_alone_is_repaired(tmp_path: Path) -> None:
    made = folder(tmp_path, None, nested("lm_head"))
    repair = mtpfix.rewrite(made, write=True)
    assert list(repair.files) == ["hf_quant_config.json"]
    assert excluded(made) == ["lm_head", BLOCK, DECODER]
    assert outcome(made) == "clean"


def test_layers_that_config_json_does_not_name_are_read_in_the_other_file(tmp_path: Path) -> None:
    flat = {**FLAT, "quant_algo": "MIXED_PRECISION", "ignore": ["model.layers.0.*"]}
    named = {**LAYERS, "model.layers.2.self_attn.o_proj": {"quant_algo": "FP8"}}
    other = nested("lm_head", quant_algo="MIXED_PRECISION", quantized_layers=named)
    made = folder(tmp_path, flat, {**other, "producer": {"name": "modelopt"}})
    found = mtpfix.inspect(made, vllm=["0.32.0"]).engines[0]
    built = {m.decision.module.name: m.decision.built for m in found.modules}
    assert built["model.layers.2.self_attn.o_proj"] == "quantized"
    assert mtpfix.inspect(made).quant_files == (
        "hf_quant_config.json#",
        "config.json#/quantization_config",
    )


# --- both in step ------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "after"),
    [
        (nested("lm_head"), ["lm_head", BLOCK, DECODER]),
        (nested(BLOCK), [BLOCK, DECODER]),
        (nested(exclude_modules=None), [BLOCK, DECODER]),
        ({"quantization": {"quant_algo": "FP8"}}, [BLOCK, DECODER]),
    ],
)
def test_a_repair_goes_into_both_files(tmp_path: Path, beside: Config, after: list[str]) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": ["lm_head"]}, beside)
    mtpfix.rewrite(made, write=True)
    assert ignored(made) == ["lm_head", BLOCK, DECODER]
    assert excluded(made) == after
    assert mtpfix.plan(made).files == {}


def test_an_entry_that_is_too_broad_goes_from_both_files(tmp_path: Path) -> None:
    both = ["lm_head", "*mlp.experts*", BLOCK]
    made = folder(tmp_path, {**FLAT, "ignore": both}, nested(*reversed(both)))
    mtpfix.rewrite(made, options=Options(repair_trunk=True), write=True)
    assert "*mlp.experts*" not in ignored(made)
    assert set(excluded(made)) == set(ignored(made))


def test_neither_file_is_edited_where_one_cannot_be_read(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": ["lm_head"]}, nested("lm_head"))
    (made / "hf_quant_config.json").write_text('{"quantization": {"exclude_modules": 1}}')
    before = (made / "config.json").read_bytes()
    with pytest.raises(BrokenFileError):
        mtpfix.rewrite(made, write=True)
    assert (made / "config.json").read_bytes() == before


# --- disagreement ------------------------------------------------------------


def test_files_that_say_the_same_in_another_order_agree(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": ["lm_head", BLOCK]}, nested(BLOCK, "lm_head"))
    assert disagreement(made) == []


def test_mtp401_entries_of_one_file_alone(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": ["lm_head", BLOCK]}, nested("lm_head", "a", "b"))
    (finding,) = disagreement(made)
    assert finding.severity == "warning"
    assert finding.message == (
        "hf_quant_config.json disagrees with config.json, which vLLM reads: "
        f"it lacks `{BLOCK}`; it alone has `a`, `b`"
    )
    assert finding.where is not None
    assert (finding.where.file, finding.where.pointer) == (
        "hf_quant_config.json",
        "/quantization/exclude_modules/1",
    )


def test_mtp401_another_algorithm(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "ignore": [BLOCK]}, nested(BLOCK, quant_algo="NVFP4"))
    assert "`quant_algo` differs" in disagreement(made)[0].message


def test_mtp401_other_layers(tmp_path: Path) -> None:
    flat = {**FLAT, "quant_algo": "MIXED_PRECISION", "quantized_layers": LAYERS}
    said = nested(quant_algo="MIXED_PRECISION", quantized_layers={"a": {"quant_algo": "FP8"}})
    assert "`quantized_layers` differs" in disagreement(folder(tmp_path, flat, said))[0].message


# --- a key that some releases do not read --------------------------------------


def test_exclude_modules_in_config_json_is_read_from_0_33_on(tmp_path: Path) -> None:
    made = folder(tmp_path, {**FLAT, "exclude_modules": ["lm_head", BLOCK]})
    assert outcome(made, "0.33.0") == "clean"
    assert outcome(made, "0.32.0") == "silent_garbage"


def test_a_list_that_some_releases_do_not_read_is_written_whole_where_all_do(
    tmp_path: Path,
) -> None:
    made = folder(tmp_path, {**FLAT, "exclude_modules": ["lm_head"]})
    mtpfix.rewrite(made, write=True)
    assert ignored(made) == ["lm_head", BLOCK]
    assert {outcome(made, release) for release in ("0.24.0", "0.32.0", "0.33.0")} == {"clean"}


# --- at serve time -----------------------------------------------------------


def overridden(path: Path) -> Any:
    return json.loads(mtpfix.override(path, vllm=["0.32.0"]).value)["quantization_config"]


def test_an_override_of_the_other_file_alone_is_that_file_repaired(tmp_path: Path) -> None:
    made = folder(tmp_path, None, nested("lm_head"))
    assert overridden(made) == nested("lm_head", BLOCK)
    assert excluded(made) == ["lm_head"]


def mixed(path: Path, **more: Any) -> Path:
    """A checkpoint whose layers are named in the other file, one of them wrongly."""
    flat = {**FLAT, "quant_algo": "MIXED_PRECISION"}
    named = {**LAYERS, "model.layers.2.self_attn.o_proj": {"quant_algo": "FP8"}}
    return folder(path, flat, nested(quant_algo="MIXED_PRECISION", quantized_layers=named, **more))


def test_an_override_names_the_layers_that_the_other_file_names(tmp_path: Path) -> None:
    value = overridden(mixed(tmp_path))
    assert value["quant_method"] == "modelopt"
    assert value["ignore"] == [BLOCK]
    assert "model.layers.0.self_attn.o_proj" in value["quantized_layers"]
    assert "exclude_modules" not in value


def test_an_override_is_refused_where_it_would_lose_the_cache_s_format(tmp_path: Path) -> None:
    with pytest.raises(OverrideError):
        overridden(mixed(tmp_path, kv_cache_quant_algo="FP8"))
