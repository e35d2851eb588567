"""`[[ignore]]`, `--baseline` and `--write-baseline`: what a run says and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Folder, Run

ONE = ("--vllm", "0.32")


@pytest.fixture(name="work", autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def settings(text: str) -> None:
    Path("mtpfix.toml").write_text(text, encoding="utf-8")


IGNORE = '[[ignore]]\ncode = "MTP201"\nreason = "waiting for vLLM 0.34"\n'


@pytest.mark.parametrize("name", ["mtpfix.toml", "pyproject.toml"])
def test_what_is_ignored_for_a_reason_is_shown_and_passes(
    run: Run, folder: Folder, name: str
) -> None:
    text = IGNORE if name == "mtpfix.toml" else IGNORE.replace("[[ignore", "[[tool.mtpfix.ignore")
    Path(name).write_text(text, encoding="utf-8")
    ran = run("check", folder, *ONE)
    assert ran.code == 0
    assert ran.err == f"defaults from {name}: ignore\n"
    assert "MTP201 ignored  " in ran.out
    assert f"[ignored: waiting for vLLM 0.34 ({name})]" in " ".join(ran.out.split())
    assert "not counted as a failure here (ignored: MTP201)" in " ".join(ran.out.split())
    assert run("--isolated", "check", folder, *ONE).code == 1
    (row,) = run("check", folder, *ONE, "--json").json["accepted"]
    assert row["finding"]["code"] == "MTP201"
    assert row["acceptance"]["reason"] == "waiting for vLLM 0.34"
    ran = run("inspect", folder, *ONE)
    assert (ran.code, "because   waiting for vLLM 0.34" in ran.out) == (0, True)
    assert run("rewrite", folder, *ONE, "--json").json["before"]["exit_code"] == 0


def test_codes_and_tables_stand_in_one_list(run: Run, folder: Folder) -> None:
    settings('ignore = ["MTP1", {code = "MTP201", reason = "known"}]')
    assert run("check", folder, *ONE).code == 0
    assert run("check", folder, *ONE, "--ignore", "MTP3").code == 0  # takes the place of the codes


def test_an_ignore_that_ended_counts_no_more_and_is_told(run: Run, folder: Folder) -> None:
    settings(f"{IGNORE}until = 2026-01-31")
    ran = run("check", folder, *ONE)
    assert ran.code == 1
    assert "ended on 2026-01-31: the finding counts" in " ".join(ran.out.split())
    settings(f"{IGNORE}until = 9999-12-31")
    assert run("check", folder, *ONE).code == 0


def test_an_ignore_that_matches_nothing_is_told_once_a_run(run: Run, folder: Folder) -> None:
    settings(f'{IGNORE}[[ignore]]\ncode = "MTP202"\nreason = "long gone"')
    said = "the ignore of MTP202 (long gone) matched nothing: take it out"
    ran = run("check", folder, *ONE)
    assert said in " ".join(ran.out.split())
    ran = run("check", folder, folder.path / "none", *ONE)
    assert ran.err.count(said) == 1
    assert "MTP201 (" not in ran.err
    found = run("check", folder, folder.path / "none", *ONE, "--json").json
    assert [said in note for note in found["notes"]] == [True]


def test_unknown_does_not_pass_where_a_finding_is_ignored(run: Run, folder: Folder) -> None:
    folder.save(architectures=["UnheardOfForCausalLM"])
    settings(IGNORE.replace("MTP201", "MTP901"))
    ran = run("check", folder)
    assert ran.code == 0  # ignored by its own code
    assert ran.out.splitlines()[-1].startswith("? ")
    settings(IGNORE)
    assert run("check", folder).code == 3


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('code = "MTP201"', "reason"),
        ('reason = "x"', "code"),
        ('code = "MTP2"\nreason = "x"', "code"),
        ('code = 3\nreason = "x"', "code"),
        ('code = "MTP201"\nreason = " "', "reason"),
        ('code = "MTP201"\nreason = ["x"]', "reason"),
        ('code = "MTP201"\nreason = "x"\nuntil = "2027-01-31"', "until"),
        ('code = "MTP201"\nreason = "x"\nuntil = 2027-01-31T00:00:00', "until"),
        ('code = "MTP201"\nreason = "x"\nrepo = ""', "repo"),
        ('code = "MTP201"\nreason = "x"\nmodule = "a"\nentry = "b"', "module"),
        ('code = "MTP201"\nreason = "x"\n"a\\u202e\\u001b" = 1', "a"),
    ],
)
def test_a_wrong_table_is_one_line_with_the_key(
    run: Run, folder: Folder, table: str, key: str
) -> None:
    settings(f"{IGNORE}[[ignore]]\n{table}")
    ran = run("check", folder)
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: mtpfix.toml: `ignore` table 2: ")
    assert f"`{key}" in error
    assert hint.startswith("hint: ")
    assert ran.err.replace("\n", "").isprintable()


# --- baselines -------------------------------------------------------------------


def test_only_what_is_new_fails(run: Run, folder: Folder) -> None:
    ran = run("check", folder, *ONE, "--write-baseline", "b.json")
    assert ran.code == 0
    assert ran.err == "wrote b.json: 1 finding\n"
    before = Path("b.json").read_bytes()
    ran = run("check", folder, *ONE, "--baseline", "b.json")
    assert ran.code == 0
    assert "[known: it was there before (b.json)]" in " ".join(ran.out.split())
    document = json.loads(before)
    kept = document["findings"][0]["modules"].pop()
    Path("b.json").write_text(json.dumps(document), encoding="utf-8")
    ran = run("check", folder, *ONE, "--baseline", "b.json")
    assert (ran.code, kept in ran.out, "known" in ran.out) == (1, True, False)
    run("check", folder, *ONE, "--write-baseline", "b.json")
    assert Path("b.json").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["b.json"]


def test_what_is_gone_is_told(run: Run, folder: Folder) -> None:
    run("check", folder, *ONE, "--write-baseline", "b.json")
    assert run("rewrite", folder, "--write").code == 0
    ran = run("check", folder, *ONE, "--baseline", "b.json")
    assert ran.code == 0
    assert "b.json names what is not found any more: MTP201 `" in " ".join(ran.out.split())


def test_an_audit_takes_a_baseline_too(run: Run) -> None:
    folder, other = Folder(Path("a")), Folder(Path("b"))
    assert run("check", folder, *ONE, "--write-baseline", "b.json").code == 0
    ran = run("check", folder, other, *ONE, "--baseline", "b.json")
    assert ran.code == 1
    rows = {line.split()[0]: line for line in ran.out.splitlines() if "MTP201" in line}
    assert "known: MTP201" in rows[str(folder)]
    assert "known" not in rows[str(other)]
    ran = run("check", folder, other, *ONE, "--write-baseline", "b.json")
    assert (ran.code, ran.err) == (0, "wrote b.json: 2 findings\n")
    assert "2 targets: 2 may pass" in ran.out
    assert run("rewrite", other, "--write").code == 0
    ran = run("check", folder, other, *ONE, "--baseline", "b.json")
    assert f"note: {other}: b.json names what is not found any more: MTP201" in ran.err


def test_what_could_not_be_judged_is_in_no_baseline_and_told(run: Run, folder: Folder) -> None:
    folder.save(architectures=["UnheardOfForCausalLM"])
    ran = run("check", folder, "--write-baseline", "b.json")
    assert ran.code == 3
    assert "what could not be judged is in no baseline: MTP901" in ran.err
    assert run("check", folder, "--baseline", "b.json").code == 3


def test_an_ignore_goes_before_the_baseline(run: Run, folder: Folder) -> None:
    settings(f'baseline = "b.json"\n{IGNORE}')
    assert run("--isolated", "check", folder, *ONE, "--write-baseline", "b.json").code == 0
    ran = run("check", folder, *ONE, "--json")
    assert ran.err == "defaults from mtpfix.toml: ignore, baseline\n"
    assert [row["acceptance"]["by"] for row in ran.json["accepted"]] == ["ignore"]
    assert run("check", folder, *ONE, "--write-baseline", "c.json").code == 0
    assert json.loads(Path("c.json").read_text(encoding="utf-8"))["findings"] == []


@pytest.mark.parametrize("option", ["--baseline", "--write-baseline"])
def test_a_file_that_is_no_baseline_is_refused_and_stays(
    run: Run, folder: Folder, option: str
) -> None:
    for content in (b"{}", b"\xff"):
        Path("x.json").write_bytes(content)
        ran = run("check", folder, option, "x.json")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: x.json: ")
        assert ran.err.count("\n") == 2
        assert Path("x.json").read_bytes() == content
    config = folder.path / "config.json"
    before = config.read_bytes()
    assert run("check", folder, option, config).code == 2
    assert config.read_bytes() == before


def test_a_baseline_that_is_not_there(run: Run, folder: Folder) -> None:
    ran = run("check", folder, "--baseline", "none.json")
    assert ran.code == 2
    assert "hint: write it with `mtpfix check --write-baseline none.json`" in ran.err
    ran = run("check", folder, "--write-baseline", "no/folder.json")
    assert ran.code == 2
    assert "no/folder.json: cannot be written" in ran.err
