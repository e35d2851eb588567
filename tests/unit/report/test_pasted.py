"""What pastes into a quantizer, held to what real quantizers were seen to do with it."""

from __future__ import annotations

import ast
import json
import shlex
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import mtpfix
from mtpfix.errors import UsageError
from mtpfix.quant import tools
from mtpfix.recipe import Names
from mtpfix.report import names as renderer
from mtpfix.report.pasted import WIDTH, pasted
from tools import recipe_record, tiny
from tools.prove_recipes import SCRIPTS, environments
from tools.recipe_page import PAGE, page
from tools.recipe_record import ASKED, Proof

PROOFS = recipe_record.kept()


@cache
def names(family: str, method: str) -> Names:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(tiny.config(family)), encoding="utf-8")
        return mtpfix.names_of(path, method=method)


def answer(tool: str, form: str, family: str = "glm4_moe") -> str:
    found = tools.tool(tool)
    return pasted(names(family, tools.method_for(found, None)), found, form)


def uncommented(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if not line.startswith("# "))


# --- the recording -----------------------------------------------------------


def test_every_run_was_made() -> None:
    assert [proof.asked for proof in PROOFS] == list(ASKED)


def test_every_tool_was_run() -> None:
    assert {proof.asked.tool for proof in PROOFS} == set(tools.names()) == set(environments())


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: "-".join(proof.asked))
def test_what_was_pasted_is_what_is_answered(proof: Proof) -> None:
    asked = proof.asked
    script = (SCRIPTS / f"{asked.tool}.{asked.script}.txt").read_text(encoding="utf-8")
    assert ("<pasted>" in script) == bool(asked.form)
    if asked.form:
        assert uncommented(answer(asked.tool, asked.form, asked.family)) == proof.pasted


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: "-".join(proof.asked))
def test_what_was_saved_is_right_in_the_end(proof: Proof) -> None:
    assert proof.failed == ""
    assert proof.after == () or not proof.asked.form, "only what was written by hand may stay wrong"
    assert bool(proof.before) == bool(proof.step)
    assert (proof.step == "graft") == (proof.kept[0] == 0)


@pytest.mark.parametrize("name", tools.names())
def test_what_is_said_to_remain_was_seen(name: str) -> None:
    """A tool that a proof needed a step after tells of that step, and of no other."""
    found = tools.tool(name)
    proofs = [proof for proof in PROOFS if proof.asked.tool == name]
    said = {
        step for step in ("graft", "rewrite") if any(f"`mtpfix {step}`" in s for s in found.after)
    }
    assert said == {proof.step for proof in proofs if proof.step}
    versions = {f"{environments()[name]['package']} {proof.version}" for proof in proofs}
    assert found.after
    assert {found.evidence} == {f"run {version}" for version in versions}


@pytest.mark.parametrize("name", tools.names())
def test_every_form_was_pasted(name: str) -> None:
    pastes = {proof.asked.form for proof in PROOFS if proof.asked.tool == name} - {""}
    assert pastes == set(tools.tool(name).forms)


# --- the forms ---------------------------------------------------------------

FORMS = [(name, form) for name in tools.names() for form in tools.tool(name).forms]


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("family", ["glm4_moe", "qwen3_next", "mimo", "deepseek_v4"])
def test_every_answer_is_of_its_language(name: str, form: str, family: str) -> None:
    found = tools.tool(name)
    text = answer(name, form, family)
    wanted = found.exclusions(names(family, found.methods[0]).entries)
    around = found.forms[form]
    value: Any
    if form == "python":
        (statement,) = ast.parse(text).body
        value = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    elif form == "cli":
        option, value = shlex.split(text, comments=True)
        assert str(around).startswith(option)
        value = json.loads(value)
    else:
        value = json.loads(text) if form == "json" else yaml.safe_load(text)
        for key in around:
            value = value[key]
    assert value == wanted


def test_comments_say_where_it_goes_and_what_remains() -> None:
    text = answer("gptqmodel", "text")
    assert text.startswith("# for QuantizeConfig(..., dynamic=dynamic)\n")
    assert "`mtpfix graft`" in text.replace("\n#  ", "")
    assert max(map(len, answer("auto-round", "cli").split("\n--")[0].splitlines())) <= WIDTH
    assert answer("gptqmodel", "python") == text
    assert "#" not in answer("gptqmodel", "json")


def test_a_form_that_a_tool_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="GPTQModel takes no exclusions as yaml"):
        answer("gptqmodel", "yaml")


# --- nothing to name ---------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "method", "reason"),
    [
        ("glm4_moe", "modelopt_mixed", "builds the MTP block unquantized without one"),
        ("nemotron_parse", "awq", "no module of the MTP block is ever quantized"),
        ("dots3_note", "fp8", "No entry of fp8 is right for vLLM"),
    ],
)
def test_an_empty_answer_says_why(family: str, method: str, reason: str) -> None:
    found = names(family, method)
    assert found.entries == ()
    assert reason in renderer.why_empty(found)
    assert reason in renderer.yaml(found)
    text = renderer.text(found, 200, color=False, ascii=True)
    assert text.count(reason) == 1
    assert "right for every release above" not in text


def test_an_empty_answer_for_a_tool_says_why() -> None:
    text = pasted(names("glm4_moe", "modelopt_mixed"), tools.tool("modelopt"), "python")
    assert "without one" in text
    assert text.endswith('quant_cfg["quant_cfg"] += []\n')


def test_an_answer_that_is_not_empty_gives_no_reason() -> None:
    assert renderer.why_empty(names("glm4_moe", "awq")) == ""


def test_auto_round_quantizes_a_block_whose_entry_is_spelled_as_vllm_reads_it() -> None:
    (proof,) = (proof for proof in PROOFS if proof.asked.script == "escaped")
    assert proof.asked.family == "glm4_moe"
    assert names("glm4_moe", "auto-round").entries[0] in proof.entries
    assert "MTP202" in proof.before
    assert "MTP202" in proof.after, "a rewrite cannot mend it"


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, PROOFS) == text
    assert all(f"--for {name}" in text for name in tools.names())
