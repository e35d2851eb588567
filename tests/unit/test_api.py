"""The library's calls, end to end on folders."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mtpfix
from mtpfix import Repair
from mtpfix.delivery import guard
from mtpfix.errors import (
    BrokenFileError,
    ConflictError,
    MissingPackageError,
    OverrideError,
    RefusedError,
    TargetError,
    UnknownError,
    UsageError,
)
from mtpfix.model import FAILED
from mtpfix.repair.plan import Options
from mtpfix.report.json import view as as_json
from tests.unit.engines.small import (
    ALL,
    DEEPSEEK,
    DEEPSEEK_V4,
    GLM,
    MIMO,
    NEWEST,
    QWEN_NEXT,
    STEP,
    Config,
    at_most,
    fp8,
    tensors,
    with_list,
    write,
)
from tools import sample
from tools.sample import Tensors

BLOCK = r"re:^model\.layers\.2\..*"
DECODER = r"re:^model\.decoder\..*"
SAMPLE_BLOCK = r"re:^model\.layers\.43\..*"
ENGINE_ONLY = Options(engine_names_only=True)


@pytest.fixture(scope="module")
def v4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample: only read by the tests that share it."""
    folder = tmp_path_factory.mktemp("v4")
    sample.write(folder)
    return folder


def folder(tmp_path: Path, config: Config, **fields: Any) -> Path:
    """A folder of a small model; `fields` go into `config.json` as they are."""
    return write(tmp_path / "model", {**config, **fields}, tensors(with_list(config)))


def ignore_of(path: Path) -> list[str]:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    ignore: list[str] = config["quantization_config"]["ignore"]
    return ignore


# --- inspect and check -------------------------------------------------------


def test_the_sample_is_judged(v4: Path) -> None:
    report = mtpfix.inspect(v4)
    assert (report.exit_code, report.method) == (1, "compressed-tensors")
    assert report.model.family == "deepseek_v4"
    assert (report.model.num_hidden_layers, report.model.mtp_layers) == (43, 1)
    assert report.model.draft_class == "DeepSeekV4MTP"
    engine, beside = report.engines
    assert (engine.version, engine.platform, engine.outcome) == (NEWEST, "cuda", "load_error")
    assert (beside.engine, beside.outcome, beside.decides) == ("sglang", "load_error", False)
    decisive = {finding.code for finding in report.findings if finding.decides}
    assert decisive == {"MTP101", "MTP201"}


def test_the_fix_of_a_finding_stands_with_it(v4: Path) -> None:
    fix = next(f.fix for f in mtpfix.inspect(v4).findings if f.code == "MTP201")
    assert fix is not None
    assert fix.applicability == "safe"
    assert SAMPLE_BLOCK in [edit.value for edit in fix.edits]


def test_what_an_engine_fails_with_all_the_same_has_no_fix(v4: Path) -> None:
    theirs = [f for f in mtpfix.inspect(v4).findings if not f.decides and f.code == "MTP201"]
    assert theirs
    assert all(finding.fix is None for finding in theirs)
    left = [one for one in mtpfix.plan(v4).plan.unresolved if one.engine == "sglang"]
    reason = "SGLang cannot load the target model as it is stored, whatever the entries"
    assert {one.reason for one in left} == {reason}


def test_findings_say_the_line(v4: Path) -> None:
    where = next(f.where for f in mtpfix.inspect(v4).findings if f.code == "MTP101")
    assert where is not None
    assert where.line is not None
    lines = (v4 / "config.json").read_text(encoding="utf-8").splitlines()
    assert "mtp_block" in lines[where.line - 1]


def test_the_trunk_is_shown_on_request(v4: Path) -> None:
    parts = [m.decision.module.part for m in mtpfix.inspect(v4, trunk=True).engines[0].modules]
    assert parts.count("trunk") > 43
    parts = [m.decision.module.part for m in mtpfix.inspect(v4).engines[0].modules]
    assert parts.count("trunk") == 0


def test_releases_and_platforms_are_judged_apart(v4: Path) -> None:
    report = mtpfix.inspect(v4, vllm=["0.32", "0.33"], platforms=["cuda", "rocm"])
    assert [(e.version, e.platform) for e in report.engines] == [
        ("0.32.0", "cuda"),
        ("0.32.0", "rocm"),
        ("0.33.0", "cuda"),
        ("0.33.0", "rocm"),
    ]


def test_check_is_inspect(v4: Path) -> None:
    checked, inspected = mtpfix.check(v4, engines=["vllm"]), mtpfix.inspect(v4, engines=["vllm"])
    assert any(finding.repair is not None for finding in inspected.findings)
    bare = tuple(replace(finding, repair=None) for finding in inspected.findings)
    assert checked == replace(inspected, findings=bare)  # check plans no repair


def test_a_clean_model_passes(tmp_path: Path) -> None:
    report = mtpfix.check(folder(tmp_path, with_list(GLM, ("lm_head", BLOCK))), vllm=["all"])
    assert (report.exit_code, report.findings) == (0, ())
    assert {engine.outcome for engine in report.engines} == {"clean"}


def plain(config: Config, *, mtp: bool = True) -> Tensors:
    """All tensors of a model in BF16, those of the MTP block left out on request."""
    named = (name for name in tensors(config) if not name.endswith("_scale"))
    return {n: ("BF16", (8, 8)) for n in named if mtp or not n.startswith("model.layers.2.")}


def test_a_model_without_metadata_is_judged(tmp_path: Path) -> None:
    report = mtpfix.check(write(tmp_path / "model", GLM, plain(GLM)), vllm=["all"])
    assert (report.exit_code, report.method, report.findings) == (0, None, ())
    assert {engine.outcome for engine in report.engines} == {"clean"}
    assert {engine.version for engine in report.engines} == set(ALL)
    built = {m.decision.built for engine in report.engines for m in engine.modules}
    assert built == {"unquantized"}
    assert "no quantization_config" in report.notes[0]


def test_the_report_on_a_model_without_metadata_names_no_method(tmp_path: Path) -> None:
    report = mtpfix.check(write(tmp_path / "model", GLM, plain(GLM)))
    assert as_json(report)["quantization"] == {"method": None, "files": []}
    assert as_json(report)["engines"][0]["modules"]


def test_an_mtp_block_that_is_not_there_is_missed_without_metadata(tmp_path: Path) -> None:
    report = mtpfix.check(write(tmp_path / "model", GLM, plain(GLM, mtp=False)))
    assert (report.exit_code, [f.code for f in report.findings]) == (1, ["MTP001"])
    (engine,) = report.engines
    assert engine.outcome == "load_error"
    assert "Following weights were not initialized" in (engine.error or "")


def test_a_class_that_keeps_no_account_of_its_weights_stays_uninitialised(tmp_path: Path) -> None:
    config = {**GLM, "architectures": ["HYV3ForCausalLM"], "model_type": "hy_v3", "num_experts": 2}
    report = mtpfix.check(write(tmp_path / "model", config, plain(config, mtp=False)))
    assert (report.engines[0].outcome, report.engines[0].error) == ("silent_garbage", None)


def test_a_layer_less_than_declared_is_missed_without_metadata(tmp_path: Path) -> None:
    two = {**GLM, "num_nextn_predict_layers": 2}
    report = mtpfix.check(write(tmp_path / "model", two, plain(GLM)))
    assert "MTP003" in [f.code for f in report.findings]
    assert report.engines[0].outcome == "load_error"


def test_mtp_tensors_that_nothing_declares_are_told_without_metadata(tmp_path: Path) -> None:
    none = {**GLM, "num_nextn_predict_layers": 0}
    report = mtpfix.check(write(tmp_path / "model", none, plain(GLM)))
    assert (report.exit_code, [f.code for f in report.findings]) == (1, ["MTP002"])
    assert report.engines[0].outcome == "no_mtp"


def test_quantized_weights_without_metadata_are_not_passed_over(tmp_path: Path) -> None:
    stored = {**plain(GLM), **fp8("model.layers.2.self_attn.o_proj")}
    report = mtpfix.check(write(tmp_path / "model", GLM, stored))
    (finding,) = report.findings
    assert (report.exit_code, finding.code) == (1, "MTP202")
    assert "1 MTP module is quantized on disk, but config.json has no quantization_config" in (
        finding.message
    )
    assert report.engines[0].outcome in FAILED


def test_a_quantized_trunk_without_metadata_is_not_passed_over(tmp_path: Path) -> None:
    report = mtpfix.check(folder(tmp_path, GLM))
    (finding,) = report.findings
    assert (report.exit_code, finding.code) == (1, "MTP206")
    assert finding.fix is None
    made = mtpfix.plan(tmp_path / "model")
    assert (made.files, made.plan.added) == ({}, ())


def test_an_unknown_model_without_metadata_is_judged_by_what_it_declares(tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    made = write(tmp_path / "none", config, plain(GLM, mtp=False))
    report = mtpfix.check(made)
    assert (report.exit_code, report.findings) == (0, ())
    assert "nothing to judge" in report.notes[-1]
    made = write(tmp_path / "some", {**config, "num_nextn_predict_layers": 1}, plain(GLM))
    report = mtpfix.check(made)
    assert (report.exit_code, [f.code for f in report.findings]) == (3, ["MTP901"])


@pytest.mark.parametrize(
    ("method", "release", "code", "exit_code"),
    [
        ("someones_own", "0.32", "MTP304", 1),
        ("w4afp8", "0.32", "MTP304", 1),
        ("gguf", "0.24", "MTP304", 1),
        ("gguf", "0.23", "MTP902", 3),
    ],
)
def test_a_method_that_is_not_read_hides_no_absence(
    method: str, release: str, code: str, exit_code: int, tmp_path: Path
) -> None:
    config = {**GLM, "quantization_config": {"quant_method": method}}
    two, none = ({**config, "num_nextn_predict_layers": count} for count in (2, 0))
    for name, stated, stored, more in (
        ("whole", config, plain(GLM), ()),
        ("cut", config, plain(GLM, mtp=False), ("MTP001",)),
        ("two", two, plain(GLM), ("MTP003",)),
        ("no", none, plain(GLM), ("MTP002",)),
    ):
        report = mtpfix.check(write(tmp_path / name, stated, stored), vllm=[release])
        # What the target model of an older release makes of the tensors was not run.
        open_question = ("MTP904",) if name == "no" and release != "0.32" else ()
        assert [f.code for f in report.findings] == [code, *open_question, *more]
        assert report.exit_code == (1 if {"MTP001", "MTP003"} & {*more} else exit_code)


def test_a_release_without_the_method_ends_with_an_exception(tmp_path: Path) -> None:
    config = {**GLM, "quantization_config": {"quant_method": "gguf"}}
    made = write(tmp_path / "model", config, plain(GLM))
    report = mtpfix.check(made, vllm=["0.23", "0.24"])
    assert [(e.version, e.outcome, e.error) for e in report.engines] == [
        ("0.23.0", "unknown", None),
        ("0.24.0", "load_error", "ValidationError: …Unknown quantization method: gguf."),
    ]
    assert [f.code for f in report.findings] == ["MTP902", "MTP304"]
    assert report.findings[1].releases == ("0.24.0",)
    assert mtpfix.check(made, vllm=["0.99"]).exit_code == 3  # whether it has it is not known


def test_metadata_of_another_engine_is_could_not_judge(tmp_path: Path) -> None:
    made = folder(tmp_path, GLM)
    (made / "quant_model_description.json").write_text('{"model_quant_type": "W8A8"}')
    report = mtpfix.check(made)
    assert (report.exit_code, report.findings[0].code) == (3, "MTP902")
    assert "ModelSlim" in report.findings[0].message
    with pytest.raises(UnknownError, match="only vLLM-Ascend reads"):
        mtpfix.rewrite(made, write=True)


def test_metadata_without_a_method_is_told_and_so_is_a_file_outside_the_index(
    tmp_path: Path,
) -> None:
    mlx = {**GLM, "quantization_config": {"bits": 4, "group_size": 64}}
    stored = tensors(with_list(GLM))
    made = write(tmp_path / "model", mlx, stored)
    index = {"weight_map": dict.fromkeys(stored, "model.safetensors")}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    sample.write_shard(made / "mtp.safetensors", {"model.layers.2.new.weight": ("BF16", (8, 8))})
    report = mtpfix.check(made)
    assert (report.exit_code, [f.code for f in report.findings]) == (1, ["MTP902", "MTP004"])
    assert "looks like that of MLX" in report.findings[0].message


def test_a_model_without_mtp_layers_has_no_draft(tmp_path: Path) -> None:
    report = mtpfix.check(folder(tmp_path, with_list({**GLM, "num_nextn_predict_layers": 0})))
    assert report.engines[0].outcome == "no_mtp"
    assert report.exit_code == 0
    assert report.notes == ("config.json declares no MTP layers: there is no draft to judge",)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"architectures": ["Unheard"]}, "MTP901"),
        ({"quantization_config": {}}, "MTP902"),
        ({"num_hidden_layers": -1}, "MTP904"),
    ],
)
def test_what_is_not_known_is_could_not_judge(
    tmp_path: Path, fields: dict[str, Any], code: str
) -> None:
    report = mtpfix.check(folder(tmp_path, with_list(GLM), **fields))
    assert (report.exit_code, [f.code for f in report.findings]) == (3, [code])


def test_a_release_that_is_not_covered_is_could_not_judge(v4: Path) -> None:
    report = mtpfix.check(v4, vllm=["0.19"])
    assert (report.exit_code, report.findings[0].code) == (3, "MTP903")


def test_a_newer_release_is_judged_by_the_newest_known_and_never_passes(tmp_path: Path) -> None:
    good, bad = with_list(GLM, (BLOCK,)), with_list(GLM)
    for name, config, code in (("good", good, 3), ("bad", bad, 1)):
        report = mtpfix.check(write(tmp_path / name, config, tensors(bad)), vllm=["0.99"])
        assert report.exit_code == code
        assert {f.confidence for f in report.findings} == {"assumed"}
        assert "MTP903" in [f.code for f in report.findings]


def test_a_release_that_is_none_is_a_mistake(v4: Path) -> None:
    with pytest.raises(UsageError):
        mtpfix.check(v4, vllm=["lastest"])


def test_a_folder_that_is_not_there_is_a_target_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        mtpfix.check(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_nextn_predict_layers", -1),
        ("num_nextn_predict_layers", True),
        ("num_nextn_predict_layers", 1.0),
        ("n_routed_experts", 10**9),
        ("n_routed_experts", "2"),
        ("n_routed_experts", 0),
        ("first_k_dense_replace", "1"),
        ("num_nextn_predict_layers", "1"),
        ("num_nextn_predict_layers", [1]),
        ("num_hidden_layers", "61"),
        ("num_hidden_layers", None),
        ("num_hidden_layers", True),
        ("num_hidden_layers", [61]),
    ],
)
def test_a_field_that_does_not_fit_is_could_not_judge(
    tmp_path: Path, field: str, value: Any
) -> None:
    report = mtpfix.check(folder(tmp_path, with_list(GLM), **{field: value}))
    assert (report.exit_code, report.findings[0].code) == (3, "MTP904")


def test_a_field_of_another_type_is_could_not_judge_without_a_draft(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 0, "mtp_num_hidden_layers": 0, "num_experts": "8"}
    config = {"architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": text}
    model = write(tmp_path / "model", with_list(config), {"a.weight": ("BF16", (1, 1))})
    assert mtpfix.check(model).exit_code == 3


def test_a_count_of_a_billion_is_could_not_judge_at_once(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM), num_nextn_predict_layers=10**9)
    with at_most(1):
        assert mtpfix.check(model).exit_code == 3


@pytest.mark.parametrize("weights", [{"weights": None}, {}])
def test_a_group_without_weights_is_no_traceback(tmp_path: Path, weights: dict[str, Any]) -> None:
    groups = {"g": {"targets": ["Linear"], **weights}}
    report = mtpfix.check(folder(tmp_path, with_list(GLM, (BLOCK,), config_groups=groups)))
    assert report.exit_code != 0


def test_a_list_of_null_does_not_pass(tmp_path: Path) -> None:
    config = with_list(GLM, None)
    model = write(tmp_path / "model", config, tensors(config, ("_proj",)))
    assert mtpfix.check(model).exit_code != 0


def test_groups_of_null_do_not_pass(tmp_path: Path) -> None:
    config = with_list(GLM, (BLOCK,), config_groups=None)
    found = {n: ("BF16", s) for n, (_, s) in tensors(config).items() if n.endswith(".weight")}
    assert mtpfix.check(write(tmp_path / "model", config, found)).exit_code != 0


def test_metadata_of_another_type_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(BrokenFileError):
        mtpfix.check(folder(tmp_path, GLM, quantization_config=["x"]))


def test_a_model_of_absurd_size_is_judged_or_refused_soon(tmp_path: Path) -> None:
    config = {**with_list(GLM), "num_hidden_layers": 4096, "n_routed_experts": 1 << 16}
    model = write(tmp_path / "model", config, {"a.weight": ("BF16", (1, 1))})
    with at_most(2):
        assert mtpfix.check(model).exit_code != 0


# --- plan --------------------------------------------------------------------


def test_the_repair_of_the_sample_is_proved(v4: Path) -> None:
    made = mtpfix.plan(v4, vllm=[">=0.30"], platforms=["cuda"])
    assert made.before.exit_code == 1
    assert made.after.exit_code == 0
    assert {engine.outcome for engine in made.after.engines} == {"clean"}
    assert made.plan.added == (SAMPLE_BLOCK, r"re:^mtp\.0\..*")
    assert made.plan.unresolved == ()


def test_a_plan_writes_nothing(v4: Path) -> None:
    before = (v4 / "config.json").read_bytes()
    made = mtpfix.plan(v4, vllm=["newest"], platforms=["cuda"])
    assert (v4 / "config.json").read_bytes() == before == made.files["config.json"][0]


def test_the_difference_shows_the_new_entries(v4: Path) -> None:
    added = [
        line for line in mtpfix.plan(v4, vllm=["newest"]).diff.splitlines() if line.startswith("+ ")
    ]
    assert any(r"re:^model\\.layers\\.43\\..*" in line for line in added)


def test_older_releases_keep_their_fault_after_the_repair(v4: Path) -> None:
    made = mtpfix.plan(v4, vllm=["0.29"], platforms=["cuda"])
    assert [f.code for f in made.after.findings if f.severity == "error"] == ["MTP301"]


def test_a_clean_model_needs_no_repair(tmp_path: Path) -> None:
    made = mtpfix.plan(folder(tmp_path, with_list(GLM, ("lm_head", BLOCK, DECODER))))
    assert (made.files, made.diff, made.before) == ({}, "", made.after)


def test_a_model_without_metadata_needs_no_repair(tmp_path: Path) -> None:
    made = mtpfix.plan(folder(tmp_path, GLM))
    assert (made.files, made.diff) == ({}, "")


def test_a_plan_for_an_unknown_family_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownError) as caught:
        mtpfix.plan(folder(tmp_path, with_list(GLM), architectures=["Unheard"]))
    assert caught.value.code == "MTP901"


def test_a_plan_for_a_release_that_is_not_covered_is_an_error(v4: Path) -> None:
    with pytest.raises(UnknownError):
        mtpfix.plan(v4, vllm=["0.19"])


@pytest.mark.parametrize("config", [GLM, MIMO, DEEPSEEK, QWEN_NEXT])
def test_every_family_is_clean_after_its_repair_in_every_release(
    tmp_path: Path, config: Config
) -> None:
    made = mtpfix.plan(folder(tmp_path, with_list(config, ("lm_head",))), platforms=["cuda"])
    ours = [each for each in made.after.engines if each.engine == "vllm"]
    assert {(each.version, each.outcome) for each in ours} == {(r, "clean") for r in ALL}
    theirs = {each.outcome for each in made.after.engines if each.engine == "sglang"}
    assert theirs == ({"silent_garbage"} if config is QWEN_NEXT else {"clean"})  # see its page


# --- rewrite -----------------------------------------------------------------


def test_the_file_is_rewritten_and_only_the_list(tmp_path: Path) -> None:
    config = with_list(GLM, ("lm_head",))
    model = folder(tmp_path, config)
    mtpfix.rewrite(model, options=ENGINE_ONLY, write=True)
    assert ignore_of(model) == ["lm_head", BLOCK, DECODER]
    written = json.loads((model / "config.json").read_text(encoding="utf-8"))
    written["quantization_config"]["ignore"] = ["lm_head"]
    assert written == config


def test_a_second_rewrite_changes_nothing(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM, ("lm_head",)))
    mtpfix.rewrite(model, write=True)
    before = (model / "config.json").read_bytes()
    assert mtpfix.rewrite(model, write=True).files == {}
    assert (model / "config.json").read_bytes() == before


def test_the_old_file_is_kept_beside_the_new(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM, ("lm_head",)))
    old = (model / "config.json").read_bytes()
    mtpfix.rewrite(model, write=True)
    backups = [path for path in model.iterdir() if path.name.startswith("config.json.")]
    assert [path.read_bytes() for path in backups] == [old]


def test_no_backup_is_kept_unasked(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM, ("lm_head",)))
    mtpfix.rewrite(model, backup=False, write=True)
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "model.safetensors"]


def test_a_new_folder_leaves_the_old_one_alone(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM, ("lm_head",)))
    old = (model / "config.json").read_bytes()
    mtpfix.rewrite(model, output=tmp_path / "new", options=ENGINE_ONLY)
    assert (model / "config.json").read_bytes() == old
    assert ignore_of(tmp_path / "new") == ["lm_head", BLOCK, DECODER]
    assert mtpfix.check(tmp_path / "new").exit_code == 0


def test_a_list_that_is_missing_is_made(tmp_path: Path) -> None:
    config = with_list(GLM)
    del config["quantization_config"]["ignore"]
    model = folder(tmp_path, config)
    mtpfix.rewrite(model, options=ENGINE_ONLY, write=True)
    assert ignore_of(model) == [BLOCK, DECODER]


def test_a_list_of_null_is_replaced(tmp_path: Path) -> None:
    model = folder(tmp_path, with_list(GLM, None))
    mtpfix.rewrite(model, options=ENGINE_ONLY, write=True)
    assert ignore_of(model) == [BLOCK, DECODER]


def test_a_repair_that_would_do_harm_is_refused(tmp_path: Path) -> None:
    config = with_list(DEEPSEEK_V4, (BLOCK, "re:^$"))
    model = write(tmp_path / "model", config, tensors(config, ("e_proj",)))
    old = (model / "config.json").read_bytes()
    with pytest.raises(RefusedError):
        mtpfix.rewrite(model, vllm=["0.23"], options=ENGINE_ONLY, write=True)
    assert (model / "config.json").read_bytes() == old


def test_metadata_that_compressed_tensors_reads_is_told_from_what_it_does_not() -> None:
    good = json.dumps(with_list(GLM)).encode()
    assert guard.accepts(good, "config.json")
    bad = json.dumps(with_list(GLM, (), config_groups={"g": {"targets": 3}})).encode()
    assert not guard.accepts(bad, "config.json")
    assert not guard.accepts(json.dumps(GLM).encode(), "config.json")


def test_nothing_is_written_that_compressed_tensors_could_not_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compressed_tensors", "compressed_tensors.quantization"):
        monkeypatch.setitem(sys.modules, name, None)
    model = folder(tmp_path, with_list(GLM, ("lm_head",)))
    with pytest.raises(MissingPackageError, match="compressed-tensors is not installed") as caught:
        mtpfix.rewrite(model, options=ENGINE_ONLY, write=True)
    assert (caught.value.exit_code, caught.value.remedy) == (2, "pip install 'mtpfix[full]'")
    assert ignore_of(model) == ["lm_head"]


# --- what decides ----------------------------------------------------------------


def test_without_a_selection_the_newest_release_decides(v4: Path) -> None:
    made = mtpfix.plan(v4)
    assert len({engine.version for engine in made.after.engines}) > 10
    assert [(e.version, e.platform) for e in made.checked.engines] == [("0.34.0", "cuda")]
    assert (made.exit_code, made.after.exit_code, made.checked_before.exit_code) == (0, 1, 1)
    assert not made.selection.explicit
    assert mtpfix.plan(v4, vllm=["all"], platforms=["cuda"]).exit_code == 1


def test_a_plan_that_is_refused_for_old_releases_alone_is_no_failure(v4: Path) -> None:
    made = mtpfix.plan(v4)
    refused = replace(made, plan=replace(made.plan, refused="an old release would break"))
    assert refused.refused is None
    wrong = replace(refused, new=replace(made.new, gating=replace(made.checked, exit_code=1)))
    assert wrong.refused == "an old release would break"


def test_a_selection_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    for call in (mtpfix.plan, mtpfix.rewrite, mtpfix.override, mtpfix.names_of, mtpfix.push):
        for given in ({"vllm": []}, {"platforms": ["tpu"]}, {"vllm": ["garbage"]}):
            with pytest.raises(UsageError):
                call(tmp_path / "no such folder", **given)  # type: ignore[operator]


def test_what_makes_a_release_worse_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    made = mtpfix.plan(folder(tmp_path, with_list(GLM, ("lm_head",))), platforms=["cuda"])
    broken = replace(made.checked.engines[0], outcome="load_error")
    garbage = replace(made.checked.engines[0], outcome="silent_garbage")
    worse = replace(
        made,
        old=replace(made.old, gating=replace(made.checked_before, engines=(garbage,))),
        new=replace(made.new, gating=replace(made.checked, engines=(broken,), exit_code=1)),
    )
    with pytest.raises(
        RefusedError, match=r"would make it worse on vLLM 0\.34\.0; nothing was written"
    ):
        guard.require_harmless(worse, allow_partial=True)


# --- layers that no file declares ---------------------------------------------


def test_a_layer_that_is_stored_and_not_declared_is_built_all_the_same(tmp_path: Path) -> None:
    whole = with_list(GLM, ("lm_head",))
    bare = {key: value for key, value in whole.items() if key != "num_nextn_predict_layers"}
    report = mtpfix.check(write(tmp_path / "bare", bare, tensors(whole)))
    assert (report.exit_code, report.engines[0].outcome) == (1, "silent_garbage")
    none = {**bare, "num_nextn_predict_layers": 0}
    report = mtpfix.check(write(tmp_path / "none", none, tensors(whole)))
    assert (report.exit_code, report.engines[0].outcome) == (1, "no_mtp")
    assert "Its target model does not load with them" in report.findings[0].message
    trunk = {n: e for n, e in tensors(whole).items() if not n.startswith("model.layers.2.")}
    assert mtpfix.check(write(tmp_path / "lost", bare, trunk)).exit_code == 0


# --- override ----------------------------------------------------------------


def test_the_override_holds_the_whole_repaired_configuration(tmp_path: Path) -> None:
    config = with_list(GLM, ("lm_head",))
    made = mtpfix.override(folder(tmp_path, config), options=ENGINE_ONLY)
    value = json.loads(made.value)
    expected = {**config["quantization_config"], "ignore": ["lm_head", BLOCK]}
    assert value == {"quantization_config": expected}


def test_the_override_is_ascii_on_one_line(tmp_path: Path) -> None:
    config = with_list(GLM, ("schädel",))
    value = mtpfix.override(folder(tmp_path, config)).value
    assert value.isascii()
    assert "\n" not in value


def test_there_is_no_override_where_nothing_is_wrong(tmp_path: Path) -> None:
    assert mtpfix.override(folder(tmp_path, with_list(GLM, (BLOCK,)))).value == ""


def test_an_override_does_not_reach_a_draft_with_its_own_configuration(tmp_path: Path) -> None:
    path = folder(tmp_path, with_list(STEP, ("lm_head",)))
    with pytest.raises(OverrideError, match=r"vLLM 0\.32\.0, which reads") as caught:
        mtpfix.override(path, vllm=["0.31.0", "0.32.0"])
    assert caught.value.exit_code == 3
    assert "--output" in caught.value.remedy
    assert mtpfix.override(path, vllm=["0.31.0"]).value


@pytest.mark.parametrize("keys", [["compression_config"], ["text_config", "quantization_config"]])
def test_the_override_stands_at_the_top_whatever_key_the_file_has(
    keys: list[str], tmp_path: Path
) -> None:
    config = with_list(GLM, ("lm_head",))
    stated = config.pop("quantization_config")
    value: Any = stated
    for key in reversed(keys):
        value = {key: value}
    made = mtpfix.override(folder(tmp_path, {**config, **value}), options=ENGINE_ONLY)
    expected = {**stated, "ignore": ["lm_head", BLOCK]}
    assert json.loads(made.value) == {"quantization_config": expected}


# --- what is imported --------------------------------------------------------


def test_neither_torch_nor_compressed_tensors_is_imported_to_check(v4: Path) -> None:
    program = (
        "import sys; import mtpfix; mtpfix.plan(sys.argv[1], vllm=['newest']);"
        "print([m for m in ('torch', 'compressed_tensors', 'rich', 'typer') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(v4)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- what is asked for -------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [{"platforms": ["tpu"]}, {"platforms": "tpu"}, {"platforms": []}, {"vllm": []}, {"vllm": "x"}],
)
def test_what_no_release_or_platform_is_called_is_refused(tmp_path: Path, asked: Any) -> None:
    model = folder(tmp_path, with_list(GLM, (BLOCK,)))
    for call in (mtpfix.check, mtpfix.plan):
        with pytest.raises(UsageError):
            call(model, **asked)


def test_a_single_word_is_one_release_or_platform(tmp_path: Path) -> None:
    report = mtpfix.check(
        folder(tmp_path, with_list(GLM, (BLOCK,))), vllm="0.32.0", platforms="rocm"
    )  # type: ignore[arg-type]
    assert [(e.version, e.platform) for e in report.engines] == [("0.32.0", "rocm")]


def test_a_file_that_changed_meanwhile_is_not_made_into_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path, with_list(GLM))
    prove = guard.prove

    def meanwhile(repair: Repair) -> None:
        prove(repair)
        (model / "config.json").write_bytes((model / "config.json").read_bytes() + b"\n")

    monkeypatch.setattr(guard, "prove", meanwhile)
    with pytest.raises(ConflictError):
        mtpfix.rewrite(model, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_only_the_command_line_has_read_is_told(tmp_path: Path) -> None:
    write(tmp_path, GLM, tensors(GLM))
    config = {key: value for key, value in GLM.items() if key != "quantization_config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "quantize_config.json").write_text('{"bits": 4}')
    notes = mtpfix.inspect(tmp_path).notes
    assert any("vLLM reads quantize_config.json only with `--quantization`" in n for n in notes)
