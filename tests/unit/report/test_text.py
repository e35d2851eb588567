"""The report for a person: what it says, at every width, and that it is inert."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from mtpfix.model import Acceptance, Accepted, Entry, Finding, Limit, Report, Where
from mtpfix.report import wording
from mtpfix.report.text import render, summary

from . import examples
from .test_json import reports

CASES = pytest.mark.parametrize("case", examples.CASES.values(), ids=examples.CASES)
DASH = "\N{EN DASH}"
PAIR = ("cuda", "rocm")
NAME = r"[\w.{}*-]+"

SILENT_GARBAGE_80 = r"""
acme/DeepSeek-V4-FP8-dynamic @ 5f4dcc3b5aa765d61d8327deb882cf99aa11bb22
  family        deepseek_v4 (DeepseekV4ForCausalLM)
  layers        43 + 1 MTP, drafted by DeepSeekV4MTPModel
  quantization  compressed-tensors in config.json#/quantization_config

✗ vLLM 0.32.0 on cuda: silent garbage
  it loads, but 10 modules stay partly uninitialised: every draft token is
  rejected

  draft module                       on disk  vLLM builds  decided by  verdict
  model.layers.43.*
    e_proj                           bf16     W8A8Fp8      Linear      ✗ differs
    h_proj                           bf16     W8A8Fp8      Linear      ✗ differs
    attn.fused_wqa_wkv               bf16     W8A8Fp8      Linear      ✗ differs
    attn.wq_b                        bf16     W8A8Fp8      Linear      ✗ differs
    attn.wo_a                        bf16     W8A8Fp8      Linear      ✗ differs
    attn.wo_b                        bf16     W8A8Fp8      Linear      ✗ differs
    ffn.shared_experts.gate_up_proj  bf16     W8A8Fp8      Linear      ✗ differs
    ffn.shared_experts.down_proj     bf16     W8A8Fp8      Linear      ✗ differs
    ffn.experts                      bf16     W8A8Fp8 MoE  Linear      ✗ differs
    head                             bf16     W8A8Fp8      Linear      ✗ differs
  decided by  Linear  config.json:812

✗ MTP201 error  10 MTP modules are unquantized on disk, but target `Linear`
  matches them and no ignore entry excludes them: `model.layers.43.e_proj`,
  `model.layers.43.h_proj`, `model.layers.43.attn.fused_wqa_wkv` and 7 more. The
  load succeeds: weights are cast without a scale, scales stay uninitialised,
  and every draft token is rejected.
  where     config.json:812
  fix       exclude the MTP block with one entry of the ignore list
            (`mtpfix rewrite` writes it)

! MTP101 warning  `re:.*mtp_block.*` never matches: it fits the module tree
  (`model.layers.43.mtp_block.ffn.experts`), but vLLM asks about
  `model.layers.43.ffn.experts`, which has no `mtp_block`
  where     config.json:745
  evidence  source: read in the engine's source code, not run

✗ The draft loads as silent garbage on vLLM 0.32.0 (cuda): 1 error, 1 warning.
  Next: mtpfix rewrite acme/DeepSeek-V4-FP8-dynamic
"""


def test_the_page_as_a_whole() -> None:
    assert render(examples.silent_garbage(), width=80) == SILENT_GARBAGE_80.lstrip("\n")


def test_what_does_not_count_is_shown_with_the_reason() -> None:
    text = render(examples.accepted(), width=140)
    assert "\N{EN DASH} MTP201 ignored  10 MTP modules" in text
    assert "because   waiting for vLLM 0.34 (mtpfix.toml, until 2027-01-31)\n" in text
    assert "because   it was there before (baseline.json)\n" in text


def test_what_could_not_be_judged_stays_unknown_where_it_does_not_count() -> None:
    made = examples.unknown_family()
    why = Acceptance("ignore", "ours alone", "mtpfix.toml")
    ignored = tuple(Accepted(finding, why) for finding in made.findings)
    text = render(replace(made, findings=(), accepted=ignored, exit_code=0), width=140)
    assert text.splitlines()[-2].startswith("? Could not judge: no policy for this model")


@CASES
@pytest.mark.parametrize("width", [80, 100, 140])
def test_fits_the_width(case: Any, width: int) -> None:
    for line in render(case(), width=width).splitlines():
        assert len(line) <= width
        assert line == line.rstrip()


@CASES
@pytest.mark.parametrize("verbose", [False, True])
def test_without_colour_there_are_no_escapes(case: Any, verbose: bool) -> None:
    text = render(case(), width=100, verbose=verbose)
    assert text.replace("\n", "").isprintable()
    assert text.endswith("\n")


@CASES
def test_colour_carries_nothing(case: Any) -> None:
    coloured = render(case(), width=100, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(case(), width=100)


@CASES
@pytest.mark.parametrize("verbose", [False, True])
def test_ascii_has_the_same_layout(case: Any, verbose: bool) -> None:
    text = render(case(), width=100, verbose=verbose)
    plain = render(case(), width=100, verbose=verbose, ascii=True)
    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in text.splitlines()]


@CASES
@pytest.mark.parametrize("width", [1, 40, 60, 80])
def test_names_are_never_broken(case: Any, width: int) -> None:
    """Every module name stands whole on one line, below the heading of its section."""
    wide, narrow = (render(case(), width=w) for w in (200, width))
    names = re.findall(rf"^ +({NAME}) .*(?:agrees|differs|absent|unknown)$", wide, re.MULTILINE)
    for name in names:
        assert re.search(rf"^ +{re.escape(name)}( |$)", narrow, re.MULTILINE), name


def test_a_narrow_terminal_gets_two_lines_a_module() -> None:
    text = render(examples.silent_garbage(), width=60)
    shown = "    ffn.experts\n      ✗ differs: bf16 on disk, built W8A8Fp8 MoE, by Linear\n"
    assert shown in text


def test_a_wide_terminal_says_state_format_and_place() -> None:
    row = r"e_proj +unquantized bf16  quantized W8A8Fp8 +Linear  config.json:812  ✗ differs"
    assert re.search(row, render(examples.silent_garbage(), width=140))


def test_an_entry_that_decides_everything_leaves_the_rows() -> None:
    text = render(examples.clean(), width=80)
    assert "  all decided by  " in text
    assert text.count(examples.IGNORED.text) == 1


def test_several_long_entries_are_numbered() -> None:
    modules = tuple(
        examples.judged(
            examples.module(f"model.layers.43.{name}"),
            because=Entry(f"model.layers.43.{name}", "config.json", f"/ignore/{number}"),
        )
        for number, (name, _) in enumerate(examples.MODULES)
    )
    text = render(examples.report(examples.engine(modules)), width=80)
    assert re.search(r"attn\.wq_b +bf16 +unquantized +\[4\] +✓ agrees", text)
    assert "[4]  model.layers.43.attn.wq_b  config.json  /ignore/3\n" in text


def test_no_entry() -> None:
    made = examples.judged(examples.module("mtp.fc"), because=None)
    report = examples.report(examples.engine((made,)))
    assert re.search(r"unquantized  no entry matches  ✓ agrees", render(report, width=80))
    assert re.search(r"unquantized  no entry    ✓ agrees", render(report, width=60))


def test_verdicts_have_a_sign_and_a_word() -> None:
    disk = {"a": examples.MISSING, "b": examples.BF16}
    modules = [
        examples.judged(examples.module(name), disk[name], agrees=None) for name in ("a", "b")
    ]
    text = render(examples.report(examples.engine(tuple(modules))), width=80)
    assert re.search(rf"a +missing .* {DASH} absent", text)
    assert re.search(r"b  .* \? unknown", text)


def test_an_empty_name_is_told_by_its_parameter() -> None:
    made = examples.judged(examples.module("", param="model.layers.43.e_proj"))
    assert '"" (e_proj)' in render(examples.report(examples.engine((made,))), width=80)


def test_a_module_that_never_asks_is_shown_only_where_it_is_wrong() -> None:
    silent = examples.judged(examples.module("b", asks=False), agrees=True)
    wrong = examples.judged(examples.module("c", asks=False), agrees=False)
    text = render(examples.report(examples.engine((silent, wrong))), width=80)
    assert re.search(r"^  c  .*never asked", text, re.MULTILINE)
    assert not re.search(r"^  b  ", text, re.MULTILINE)


def test_a_limit_of_the_engine_is_not_blamed_on_an_entry() -> None:
    limit = Limit("the forward pass reads a scale", "load_error", None, "forward", "0.30.0", "read")
    made = examples.judged(examples.module("wo_a"), agrees=False, limit=limit)
    text = render(examples.report(examples.engine((made,))), width=100, verbose=True)
    assert re.search(r"wo_a .*no entry helps  ✗ differs\n +the forward pass reads", text)


def test_where_the_trunk_is_wrong_it_is_not_the_draft_alone() -> None:
    trunk = examples.judged(examples.module("lm_head", part="trunk"), agrees=False)
    engine = examples.engine((trunk,), outcome="load_error")
    clean = "the draft is clean, but the target model fails to load on vLLM 0.32.0 (cuda)"
    assert clean in summary(examples.report(engine))
    draft = examples.judged(examples.module("wo_a"), agrees=False)
    both = examples.report(examples.engine((trunk, draft), outcome="load_error"))
    assert "the model fails to load on vLLM 0.32.0 (cuda)" in summary(both)


def test_what_is_said_of_the_files_is_said_of_the_draft_too() -> None:
    trunk = examples.judged(examples.module("lm_head", part="trunk"), agrees=False)
    engine = examples.engine((trunk,), outcome="load_error")
    lost = Finding("MTP006", "error", "read", "a tensor has no place")
    assert "the model fails" in summary(examples.report(engine, findings=(lost,)))


def test_releases_that_look_alike_share_a_table() -> None:
    text = render(examples.many_releases(), width=100)
    titles = [line for line in text.splitlines() if "on cuda: " in line]
    assert titles == [
        "✗ vLLM 0.20-0.23 on cuda: silent garbage",
        "✗ vLLM 0.24-0.29 on cuda: load error",
        "✓ vLLM 0.30-0.33 on cuda: clean",
    ]
    assert "  vLLM      0.20-0.23\n" in text
    assert "  vLLM      0.24-0.29\n" in text


def test_rows_that_were_shown_are_not_repeated() -> None:
    first, second = (
        examples.engine(examples.broken_draft(), v, outcome="load_error", error=f"KeyError: {v}")
        for v in ("0.20.2", "0.21.0")
    )
    text = render(examples.report(first, second), width=100)
    assert text.count("verdict") == 1
    assert "  draft modules as for vLLM 0.20 on cuda\n" in text


def test_layers_that_look_alike_share_rows() -> None:
    text = render(examples.with_trunk(), width=100)
    assert "  model.layers.{43-44}.*\n" in text
    assert "  model.layers.{0-2}.*\n" in text
    assert "  model.layers.{3-42}.*\n" in text
    assert text.index("draft module") < text.index("trunk module")


@pytest.mark.parametrize(
    ("case", "last"),
    [
        ("load_error", "✗ The draft fails to load on vLLM 0.32.0 (cuda): 1 error.\n"),
        ("clean", "✓ The draft is clean on vLLM 0.32.0 (cuda).\n"),
        ("no_mtp", f"{DASH} There are no MTP layers, so there is no draft to judge.\n"),
        ("unknown", "? The draft could not be judged on vLLM 0.32.0 (cuda).\n"),
        (
            "many_releases",
            "✗ The draft fails to load on vLLM 0.24-0.29, loads as silent garbage on 0.20-0.23 and "
            "is clean on 0.30-0.33 (cuda): 2 errors.\n",
        ),
    ],
)
def test_ends_with_the_verdict(case: str, last: str) -> None:
    assert last in render(examples.CASES[case](), width=140)


@pytest.mark.parametrize(
    ("case", "command"),
    [
        ("silent_garbage", "mtpfix rewrite acme/DeepSeek-V4-FP8-dynamic"),
        ("clean", "mtpfix verify acme/DeepSeek-V4-FP8-dynamic"),
        ("unknown", "mtpfix verify acme/DeepSeek-V4-FP8-dynamic"),
        ("unknown_family", "mtpfix families"),
    ],
)
def test_ends_with_the_next_command(case: str, command: str) -> None:
    last = render(examples.CASES[case](), width=140).splitlines()[-1]
    assert last.partition("  #")[0] == f"  Next: {command}"


def test_what_no_metadata_can_mend_is_explained() -> None:
    gone = Finding("MTP001", "error", "read", "no MTP tensor is on disk")
    report = replace(examples.load_error(), findings=(gone,))
    assert "Next: mtpfix explain MTP001" in render(report, width=100)


def test_a_target_with_blanks_is_quoted() -> None:
    report = examples.silent_garbage()
    report = replace(report, target=replace(report.target, name="my model; rm -rf"))
    assert "Next: mtpfix rewrite 'my model; rm -rf'" in render(report, width=100)


def test_verbose_shows_the_evidence() -> None:
    text = render(examples.silent_garbage(), width=100, verbose=True)
    for shown in (
        "from mtp.0.ffn.experts.0.w1, mtp.0.ffn.experts.0.w2, and 10 more",
        "built as CompressedTensorsW8A8Fp8MoEMethod",
        "config.json:812  /quantization_config/config_groups/group_0/targets/0",
        'edit      add config.json#/quantization_config/ignore/-  "re:model',
    ):
        assert shown in text


# --- foreign text ------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold red]\u202e\0\n[/]"


def hostile() -> Report:
    entry = Entry(HOSTILE, HOSTILE, f"/{HOSTILE}")
    made = examples.judged(
        examples.module(f"model.layers.1.{HOSTILE}", members=(HOSTILE,)), because=entry
    )
    finding = Finding(
        HOSTILE, "error", "run", HOSTILE, (HOSTILE,), Where(HOSTILE, HOSTILE, 3), None, (HOSTILE,)
    )
    engine = examples.engine((made,), HOSTILE, outcome="load_error", error=HOSTILE)
    report = examples.report(engine, engine, findings=(finding,), notes=(HOSTILE,), method=HOSTILE)
    return replace(report, target=replace(report.target, name=HOSTILE, revision=HOSTILE))


@pytest.mark.parametrize("width", [40, 100, 400])
def test_hostile_names_are_shown_and_do_nothing(width: int) -> None:
    text = render(hostile(), width=width, color=True, verbose=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\n", "").isprintable()
    assert r"\x1b]0;owned\x07\x1b[2J[bold red]\u202e\x00\n[/]" in text
    assert "1;31m" not in text


@settings(max_examples=60, deadline=None)
@given(reports)
def test_any_report_can_be_shown(report: Report) -> None:
    for width in (40, 90):
        text = render(report, width=width, verbose=True)
        assert text.replace("\n", "").isprintable()
    assert render(report, width=80, ascii=True).isascii()
    assert summary(report).isprintable()


# --- one line ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (
            "silent_garbage",
            "✗ acme/DeepSeek-V4-FP8-dynamic: the draft loads as silent garbage on vLLM 0.32.0 "
            "(cuda): 1 error, 1 warning (MTP201, MTP101)",
        ),
        ("clean", "✓ acme/DeepSeek-V4-FP8-dynamic: the draft is clean on vLLM 0.32.0 (cuda)"),
        (
            "no_mtp",
            f"{DASH} acme/DeepSeek-V4-FP8-dynamic: there are no MTP layers, "
            "so there is no draft to judge",
        ),
        (
            "unquantized",
            f"{DASH} acme/DeepSeek-V4-FP8-dynamic: config.json has no quantization_config: "
            "vLLM builds everything unquantized",
        ),
    ],
)
def test_summary(case: str, line: str) -> None:
    assert summary(examples.CASES[case]()) == line


def test_what_passes_the_gate_is_not_shown_as_wrong() -> None:
    """`--ignore` and `--fail-on never`: what is wrong is told, and does not count."""
    wrong = examples.silent_garbage()
    ignored = replace(wrong, findings=(), exit_code=0)
    assert summary(wrong).startswith("✗ ")
    assert summary(ignored).startswith("! ")
    assert summary(ignored).endswith(", which is not counted as a failure here")
    assert "\x1b[31m" not in render(ignored, color=True).splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AssertionError: ", "AssertionError (without a message)"),
        ("AssertionError:", "AssertionError (without a message)"),
        ("AssertionError", "AssertionError (without a message)"),
        ("KeyError: 'x'", "KeyError: 'x'"),
        ("the loader refuses it", "the loader refuses it"),
    ],
)
def test_an_exception_without_a_message_reads_as_one(text: str, shown: str) -> None:
    assert wording.exception(text) == shown


def test_several_platforms_are_named_apart() -> None:
    cuda = examples.engine(examples.draft(quantized=False, because=examples.IGNORED))
    rocm = examples.engine(examples.broken_draft(), platform="rocm", outcome="silent_garbage")
    line = summary(replace(examples.report(cuda, rocm), exit_code=1), ascii=True)
    assert line == (
        "x acme/DeepSeek-V4-FP8-dynamic: the draft loads as silent garbage on vLLM 0.32.0 on rocm "
        "and is clean on 0.32.0 on cuda"
    )


def test_a_finding_names_its_platforms() -> None:
    engines = [examples.engine(version=v, platform=p) for v in ("0.32.0", "0.33.0") for p in PAIR]
    finding = examples.mtp201(("0.32.0 (cuda)", "0.32.0 (rocm)", "0.33.0 (rocm)"))
    text = render(examples.report(*engines, findings=(finding,)), width=100)
    assert "  vLLM      0.32 on cuda; 0.32-0.33 on rocm\n" in text
    assert "vLLM 0.32-0.33 on cuda, rocm: clean" in text


def test_importing_the_renderers_does_not_import_rich() -> None:
    code = (
        "import sys, mtpfix.report, mtpfix.report.text, mtpfix.report.json\n"
        "sys.exit('rich' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
