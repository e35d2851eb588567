"""`names`, `verify`, `explain` and `families`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

import mtpfix
from mtpfix import calls
from mtpfix.engines.verification import Verification, Verified
from mtpfix.findings import kinds
from mtpfix.model import Precision, State
from mtpfix.symptoms import symptoms
from tests.unit.report import schemas

from .conftest import Folder, Run

DRAFT = r"re:^model\.layers\.2\..*"
DISK = r"re:^model\.mtp_layers\.0\..*"
SGLANG = (r"re:^self_attn\..*", r"re:^mlp\..*")
BOTH = "ignore:\n" + "".join(f"  - '{entry}'\n" for entry in (DRAFT, *SGLANG, DISK))
PACKAGE = Path(mtpfix.__file__).parent


# --- names -------------------------------------------------------------------


def test_names_end_with_entries_to_paste(run: Run, folder: Folder) -> None:
    (folder.path / "model.safetensors").unlink()  # no weights are needed
    for target in (folder.path, folder.path / "config.json"):
        ran = run("names", target)
        assert ran.code == 0
        assert ran.out.endswith(BOTH)
        assert "model.layers.2.*  on disk model.mtp_layers.0.*" in ran.out
        assert "self_attn.{q_proj,k_proj,v_proj}" in ran.out
        assert "never: always unquantized" in ran.out


def test_names_for_programs(run: Run, folder: Folder) -> None:
    assert run("names", folder, "--format", "yaml").out == BOTH
    ours = run("names", folder, "--format", "yaml", "--engine", "vllm").out
    assert ours == f"ignore:\n  - '{DRAFT}'\n  - '{DISK}'\n"
    found = run("names", folder, "--format", "json", "--vllm", "0.32").json
    assert found["schema"] == "mtpfix.names/1"
    assert found["entries"] == [DRAFT, DISK]
    (group,) = found["groups"]
    assert group["releases"] == ["0.32.0"]
    fused = next(m for m in group["modules"] if m["name"].endswith("qkv_proj"))
    assert fused["members"] == [f"model.mtp_layers.0.self_attn.{x}_proj" for x in "qkv"]
    assert fused["asked"] == [f"model.layers.2.self_attn.{x}_proj" for x in ("qkv", *"qkv")]


def test_older_releases_say_only_what_differs(run: Run, folder: Folder) -> None:
    folder.save(
        architectures=["DeepseekV4ForCausalLM"],
        model_type="deepseek_v4",
        n_routed_experts=2,
        n_shared_experts=1,
    )
    ran = run("names", folder, "--engine", "vllm")
    assert ran.code == 0, ran.err
    newest, *olders = re.split(r"\n\n(?=vLLM )", ran.out)
    assert "e_proj" in newest
    assert '"" (e_proj)' in olders[-1]
    assert "wq_b" not in "".join(olders)


def test_names_wants_a_config(run: Run, folder: Folder) -> None:
    ran = run("names", folder.path / "model.safetensors")
    assert ran.code == 2
    folder.save(num_nextn_predict_layers=0)
    assert run("names", folder).code == 3


def test_names_of_a_newer_release_are_assumed(run: Run, folder: Folder) -> None:
    ran = run("names", folder, "--vllm", "0.99")
    assert ran.code == 3
    assert "as far as is known" in ran.out
    assert "MTP903" in ran.err
    assert run("names", folder, "--vllm", "0.99", "--format", "json").json["assumed"] == ["0.99.0"]


def test_names_for_a_tool_paste(run: Run, folder: Folder) -> None:
    ran = run("names", folder, "--for", "GPTQModel", "--engine", "vllm")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("# for QuantizeConfig(..., dynamic=dynamic)\n")
    assert r'    r"-:^model\.layers\.2\..*": {},' in ran.out
    yaml = run("names", folder, "--for", "modelopt", "--engine", "vllm", "--format", "yaml").out
    assert "    - quantizer_name: 'model.mtp_layers.0.*'\n      enable: false\n" in yaml
    found = run("names", folder, "--for", "autoawq", "--engine", "vllm", "--format", "json").json
    assert found == {"modules_to_not_convert": ["model.layers.2.", "model.mtp_layers.0."]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for", "bitsandbytes"), "does not know the tool"),
        (("--for", "gptqmodel", "--format", "cli"), "takes no exclusions as cli"),
        (("--for", "gptqmodel", "--method", "awq"), "does not write the method"),
        (("--for", "llm-compressor", "--stored", "fp8-block"), "--stored is of a quantized block"),
        (("--format", "python"), "add --for TOOL"),
    ],
)
def test_what_a_tool_has_not_is_a_usage_error(
    run: Run, folder: Folder, options: tuple[str, ...], said: str
) -> None:
    ran = run("names", folder, *options)
    assert ran.code == 2
    assert said in ran.err


def test_a_tool_may_stand_for_its_method(run: Run, folder: Folder) -> None:
    asked = ("names", folder, "--engine", "vllm", "--format", "yaml", "--method")
    assert run(*asked, "GPTQModel").out == run(*asked, "gptq").out
    assert run(*asked, "llm-compressor").out == run(*asked, "compressed-tensors").out


# --- verify ------------------------------------------------------------------


def verified(name: str, **changes: object) -> Verified:
    row = {
        "module": f"model.layers.2.{name}",
        "part": "draft",
        "disk": Precision(State.UNQUANTIZED, "bf16"),
        "built": "unquantized",
        "scheme": None,
        "error": None,
        "predicted": "unquantized",
        "agrees": True,
        "foreseen": True,
    }
    return Verified(**{**row, **changes})  # type: ignore[arg-type]


def answered(monkeypatch: pytest.MonkeyPatch, *rows: Verified, code: int) -> None:
    answer = Verification("0.32.0", "x.y.MiMoMTP", rows, (), ("no gpu: a CPU is enough",), code)
    monkeypatch.setattr(calls, "verify", lambda *_, **__: answer)


def test_verify_that_agrees(run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, verified("mlp.down_proj"), code=0)
    ran = run("verify", folder)
    assert ran.code == 0
    assert "vLLM 0.32.0, drafted by MiMoMTP" in ran.out
    assert "predicted all 1 decision" in ran.out
    assert "MTPFIX IS WRONG" not in ran.err


def test_verify_is_loud_where_the_prediction_was_wrong(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = verified(
        "mlp.down_proj",
        built="quantized",
        scheme="CompressedTensorsW8A8Fp8",
        agrees=False,
        foreseen=False,
    )
    answered(monkeypatch, wrong, verified("mlp.gate_up_proj"), code=1)
    ran = run("verify", folder)
    assert ran.code == 1
    assert "W8A8Fp8" in ran.out
    assert "✗ unquantized" in ran.out
    assert "MTPFIX IS WRONG" in ran.err
    found = run("verify", folder, "--format", "json").json
    assert found["foreseen"] is False
    assert [m["on_disk"] for m in found["modules"]] == ["unquantized", "unquantized"]


def test_verify_is_calm_where_mtpfix_could_not_judge(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, verified("a", predicted="unknown", foreseen=None), code=0)
    ran = run("verify", folder)
    assert "? could not judge" in ran.out
    assert "MTPFIX IS WRONG" not in ran.err
    assert "predicted all" not in ran.out


def test_verify_without_vllm_could_not_judge(run: Run, folder: Folder) -> None:
    ran = run("verify", folder, "--python", folder.path / "no-such-python")
    assert ran.code == 3
    assert "hint: " in ran.err
    assert not ran.out


def test_a_hostile_answer_is_inert(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, verified("a\x1b[31m", error="ValueError: \x1b[2J"), code=1)
    ran = run("verify", folder, "--verbose")
    assert "\x1b" not in ran.out


# --- explain -----------------------------------------------------------------


def test_every_code_is_explained_and_no_other() -> None:
    sources = (
        path
        for path in PACKAGE.rglob("*.py")
        if not {"cli", "report", "data"} & set(path.relative_to(PACKAGE).parts)
    )
    used = {code for path in sources for code in re.findall(r"MTP\d{3}", path.read_text("utf-8"))}
    assert used == set(kinds())


def test_explanations_are_whole() -> None:
    for one in kinds().values():
        assert len(one.title) < 70
        assert all(text.endswith(".") for text in (one.meaning, one.example, one.remedy)), one.code


def test_explain_one_and_all(run: Run) -> None:
    one = run("explain", "mtp201")
    assert one.code == 0
    assert "what to do" in one.out
    assert run("explain", "MTP201", "--format", "json").json["code"] == "MTP201"
    listed = run("explain")
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == list(kinds())


def test_explain_an_unknown_code(run: Run) -> None:
    ran = run("explain", "MTP999")
    assert ran.code == 2
    assert "MTP201" in ran.err


def test_explain_a_message_and_a_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("explain", "ValueError: Downcasting not allowed: target.dtype=torch.float8_e4m3fn")
    assert ran.code == 0
    assert ran.out.startswith("SGLang built the draft in FP8")
    assert "foretold by  MTP201" in ran.out
    monkeypatch.setattr("sys.stdin", io.StringIO(f"INFO\n{symptoms()[0].shown}\n"))
    found = run("explain", "-", "--format", "json").json
    schemas.validator("mtpfix.symptoms/1").validate(found)
    assert [one["name"] for one in found["symptoms"]] == [symptoms()[0].name]


def test_explain_what_nobody_says(run: Run) -> None:
    ran = run("explain", "it does not\x1b[31m work")
    assert (ran.code, ran.out) == (2, "")
    assert "\x1b" not in ran.err
    assert "mtpfix does not know a message like" in ran.err


# --- families ----------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_families_fit_the_width(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ran = run("families")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= width
    assert "DeepSeekV4MTP" in ran.out


def test_families_for_programs(run: Run) -> None:
    found = run("families", "--format", "json").json
    by_name = {family["family"]: family for family in found["families"]}
    assert by_name["mimo"]["architectures"] == ["MiMoForCausalLM"]
    assert by_name["mimo"]["draft_classes"] == ["MiMoMTP"]
    assert {"release": "0.32.0", "platform": "cuda", "grade": "run"} in by_name["mimo"]["cells"]


def test_this_interpreter_is_asked_by_default(
    run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def ask(*_: object, **options: object) -> Verification:
        asked.update(options)
        return Verification("0.32.0", None, (), (), (), 3)

    monkeypatch.setattr(calls, "verify", ask)
    assert run("verify", folder, "--timeout", "5").code == 3
    assert (asked["python"], asked["timeout"]) == (None, 5.0)
    assert run("verify", folder, "--python", sys.executable).code == 3
    assert asked["python"] == sys.executable
