"""`inspect` and `check`: exit codes, selection, formats, streams."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib import resources

import jsonschema
import pytest

from mtpfix import rules

from .conftest import Folder, Ran, Run, header


def test_inspect_exits_0_where_the_draft_is_wrong(run: Run, folder: Folder) -> None:
    ran = run("inspect", folder)
    assert ran.code == 0
    assert "model.mtp_layers.0.*" in ran.out
    assert "MTP201" in ran.out
    assert "SGLang 0.5.23 on cuda" in ran.out
    assert not ran.err


def test_check_exits_1_and_says_each_finding_in_a_line(run: Run, folder: Folder) -> None:
    ran = run("check", folder)
    assert ran.code == 1
    finding, beside, verdict = ran.out.splitlines()
    assert "MTP201 error" in finding
    assert "SGLang 0.5.23 (cuda) does not count here: the draft" in beside
    assert "config.json:" in finding
    assert "silent garbage" in verdict
    assert not ran.err


def test_check_of_a_right_checkpoint_exits_0(run: Run, folder: Folder) -> None:
    folder.ignore("lm_head", r"re:^model\.layers\.2\..*")
    ran = run("check", folder)
    assert ran.code == 0
    assert "clean" in ran.out


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_json_fits_the_schema(run: Run, folder: Folder, command: str) -> None:
    schema = resources.files("mtpfix") / "data" / "schemas" / "report-1.schema.json"
    report = run(command, folder, "--format", "json", "--vllm", "all").json
    jsonschema.validate(report, json.loads(schema.read_text(encoding="utf-8")))
    assert report["exit_code"] == 1
    assert len(report["engines"]) > 10


def test_trunk_shows_all_trunk_modules(run: Run, folder: Folder) -> None:
    few = run("inspect", folder, "--format", "json").json["engines"][0]["modules"]
    many = run("inspect", folder, "--format", "json", "--trunk").json["engines"][0]["modules"]
    assert "model.layers.0.mlp.down_proj" in {m["name"] for m in many}
    assert "model.layers.0.mlp.down_proj" not in {m["name"] for m in few}


def test_platforms_and_releases_add_up(run: Run, folder: Folder) -> None:
    options = ["--vllm", "0.32", "--vllm", ">=0.33", "--platform", "rocm", "--platform", "cpu"]
    report = run("inspect", folder, "--format", "json", *options).json
    assert [(e["version"], e["platform"]) for e in report["engines"]] == [
        ("0.32.0", "rocm"),
        ("0.32.0", "cpu"),
        ("0.33.0", "rocm"),
        ("0.33.0", "cpu"),
        ("0.34.0", "rocm"),
        ("0.34.0", "cpu"),
    ]


def test_options_come_from_the_environment(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPFIX_VLLM", "0.31 0.32")
    monkeypatch.setenv("MTPFIX_FORMAT", "json")
    monkeypatch.setenv("MTPFIX_FAIL_ON", "never")
    ran = run("check", folder)
    assert ran.code == 0
    assert [engine["version"] for engine in ran.json["engines"]] == ["0.31.0", "0.32.0"]


# --- the gate ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "shown"),
    [
        (["--ignore", "MTP2"], 0, False),
        (["--ignore", "mtp201"], 0, False),
        (["--ignore", "MTP1"], 1, True),
        (["--select", "MTP1,MTP3"], 0, False),
        (["--select", "MTP2"], 1, True),
        (["--select", "MTP2", "--ignore", "MTP201"], 0, False),
        (["--fail-on", "never"], 0, True),
    ],
)
def test_findings_left_out_do_not_count(
    run: Run, folder: Folder, options: list[str], code: int, shown: bool
) -> None:
    ran = run("check", folder, *options)
    assert ran.code == code
    assert ("MTP201 error" in ran.out) is shown
    assert ("left out" in ran.out) is not shown


def test_a_load_that_fails_fails_the_gate_though_no_finding_says_why(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RULES", ())
    assert run("check", folder).code == 1
    assert run("check", folder, "--ignore", "MTP2").code == 1
    assert run("check", folder, "--fail-on", "never").code == 0


def test_a_specifier_with_a_blank_is_one_in_the_environment_too(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPFIX_VLLM", ">=0.28, <0.30")
    assert "vLLM 0.28-0.29" in run("check", folder).out


def test_a_release_that_is_none_is_refused_where_nothing_is_judged(
    run: Run, folder: Folder
) -> None:
    folder.save(
        quantization_config=None, architectures=["LlamaForCausalLM"], num_nextn_predict_layers=0
    )
    folder.tensors({"model.embed_tokens.weight": ("BF16", (4, 4))})
    assert run("check", folder).code == 0
    assert run("check", folder, "--vllm", "garbage").code == 2


@pytest.mark.parametrize(
    ("target", "closed", "code"), [("", ">&-", 1), ("", "2>&-", 1), ("/nosuch", "2>&-", 2)]
)
def test_a_closed_stream_changes_no_exit_code(
    folder: Folder, target: str, closed: str, code: int
) -> None:
    words = [sys.executable, "-m", "mtpfix", "check", f"{folder.path}{target}"]
    command = ["sh", "-c", f"{shlex.join(words)} {closed}"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (code, "")


def test_fail_on_warning_counts_warnings(run: Run, folder: Folder) -> None:
    folder.save(num_nextn_predict_layers=0)
    assert run("check", folder).code == 0
    assert run("check", folder, "--fail-on", "warning").code == 1


def test_what_could_not_be_judged_passes_no_selection_silently(run: Run, folder: Folder) -> None:
    folder.save(architectures=["UnheardOfForCausalLM"])
    for options in ([], ["--select", "MTP1"], ["--fail-on", "never"]):
        ran = run("check", folder, *options)
        assert ran.code == 3
        assert "MTP901" in ran.out
    assert run("check", folder, "--ignore", "MTP9").code == 0
    assert run("inspect", folder).code == 3


def test_a_code_that_does_not_exist_is_refused(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--select", "MTP7")
    assert ran.code == 2
    assert ran.err.startswith("error: MTP7 ")


# --- nothing to judge --------------------------------------------------------


def said(ran: Ran) -> str:
    """Both streams, on one line."""
    return " ".join((ran.out + ran.err).split())


def test_without_quantization_config_everything_is_unquantized(run: Run, folder: Folder) -> None:
    plain = {k: ("BF16", shape) for k, (_, shape) in header().items() if k.endswith(".weight")}
    folder.tensors(plain)
    folder.save(quantization_config=None)
    for command in ("inspect", "check", "rewrite"):
        ran = run(command, folder)
        assert ran.code == 0
        assert "builds everything unquantized" in said(ran)
    assert "vLLM builds everything unquantized" in said(run("inspect", folder, "--engine", "vllm"))
    folder.tensors({k: v for k, v in plain.items() if "mtp" not in k})
    ran = run("check", folder)
    assert ran.code == 1
    assert "MTP001" in ran.out


def test_no_mtp_layers_is_nothing_to_judge(run: Run, folder: Folder) -> None:
    folder.tensors({k: v for k, v in header().items() if "mtp" not in k})
    folder.save(num_nextn_predict_layers=0)
    for command in ("inspect", "check", "rewrite"):
        ran = run(command, folder)
        assert ran.code == 0
        assert "there is no draft to judge" in said(ran)


# --- streams -----------------------------------------------------------------


def test_output_file_takes_the_result(run: Run, folder: Folder) -> None:
    file = folder.path.parent / "report.json"
    ran = run("check", folder, "--format", "json", "--output-file", file)
    assert ran.code == 1
    assert not ran.out
    assert json.loads(file.read_text(encoding="utf-8"))["schema"] == "mtpfix.report/1"


def test_colour_only_where_it_is_asked_for(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in run("inspect", folder).out
    assert "\x1b" in run("inspect", folder, "--color", "always").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("inspect", folder, "--color", "auto").out


def test_foreign_names_are_inert(run: Run, folder: Folder) -> None:
    folder.ignore("re:.*mtp\x1b[31m.*", "model.mtp_layers.0.\u202ex")
    for command in ("inspect", "check", "rewrite", "override", "names"):
        ran = run(command, folder)
        assert "\x1b" not in ran.err
        assert "\u202e" not in ran.err
        if command != "rewrite":  # its diff is for `patch`, byte for byte
            assert "\x1b" not in ran.out
            assert "\u202e" not in ran.out
