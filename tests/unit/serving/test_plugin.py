"""The plugin in a vLLM of a few lines: what it says, and what it changes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mtpfix
from mtpfix.cli import main
from mtpfix.engines.vllm.policy import covered_releases
from mtpfix.serving import engine, plugin
from tests.unit.serving.conftest import FakeConfig, Stage

NEWEST = covered_releases()[-1]
NEW = ["re:^model\\.layers\\.43\\..*", "re:^mtp\\.0\\..*"]


def ignored(config: Any) -> list[str]:
    found: list[str] = config.quant_config["ignore"]
    return found


def planted(*_: object) -> None:
    """A fault of ours."""
    raise RuntimeError("planted \x1b[31m\n")


@pytest.mark.parametrize("value", [None, "", "0"])
def test_off_it_leaves_vllm_alone(stage: Stage, value: str | None) -> None:
    hook = stage.vllm.__post_init__
    stage.register(value)
    assert (stage.vllm.__post_init__, stage.lines()) == (hook, [])


@pytest.mark.parametrize("value", ["yes", "force", "0.32.0", "\x1b[2J\n", "2" * 999])
def test_another_value_is_one_warning(stage: Stage, value: str) -> None:
    stage.register(value)
    assert stage.lines() == []  # vLLM could not show it yet
    made = stage.start()
    stage.start()
    (line,) = stage.lines()
    assert not set(NEW) & set(ignored(made))
    assert line.startswith("WARNING")
    assert "choose from 1, report." in line
    assert line.isprintable()
    assert len(line) < 300


def test_it_repairs_in_memory_what_rewrite_repairs_on_disk(stage: Stage) -> None:
    stage.register("1")
    before = (stage.folder / "config.json").read_bytes()
    made = stage.start()
    (line,) = stage.lines()
    assert (stage.folder / "config.json").read_bytes() == before
    mtpfix.rewrite(stage.folder, vllm=["0.32.0"], platforms=["cuda"], write=True)
    written = json.loads((stage.folder / "config.json").read_text())["quantization_config"]
    assert made.quant_config == written
    assert made.speculative_config.draft_model_config.hf_config.quantization_config == written
    assert ignored(made)[-2:] == NEW
    assert line == (
        "INFO mtpfix: repaired in memory: 9 modules fixed, 2 entries added "
        f"({', '.join(NEW)}). To repair it for good: "
        f"mtpfix rewrite {stage.folder} --vllm 0.32.0 --platform cuda --write"
    )


def test_report_changes_nothing(stage: Stage) -> None:
    stage.register("report")
    made = stage.start()
    (line,) = stage.lines()
    assert line.startswith("INFO mtpfix: would repair in memory, and has changed nothing: 9 modu")
    assert not set(NEW) & set(ignored(made))


def test_it_looks_once_and_changes_once(stage: Stage) -> None:
    for _ in range(2):
        stage.register("1")
    first = stage.start()
    first.__post_init__()  # it carries what was resolved, as every copy does
    again = stage.vllm(first.model_config, first.speculative_config)
    assert ignored(again) == ignored(first)
    assert ignored(first).count(NEW[0]) == 1
    assert [line.partition(":")[2][:18] for line in stage.lines()] == [
        " repaired in memor", " nothing to change",
    ]  # fmt: skip


def test_nothing_wrong(stage: Stage) -> None:
    mtpfix.rewrite(stage.folder, vllm=["0.32.0"], platforms=["cuda"], write=True)
    stage.register("1")
    target = stage.model()
    old = target.hf_config.quantization_config
    stage.vllm(target, stage.mtp())
    assert target.hf_config.quantization_config is old
    assert stage.lines() == [
        "INFO mtpfix: nothing to change: the draft is clean on vLLM 0.32.0 (cuda)"
    ]


def test_the_page_shows_what_is_said(stage: Stage, tmp_path: Path) -> None:
    """The lines of docs/howto/plugin.md, made again."""
    stage.patch.chdir(tmp_path)
    stage.folder = Path("model")
    stage.register("1")
    stage.vllm(stage.model())
    stage.start()
    again = stage.start()
    stage.vllm(again.model_config, again.speculative_config)
    stage.patch.setattr("vllm.__version__", "0.99.0")
    stage.start()
    stage.patch.setattr("vllm.__version__", "0.32.0")
    stage.patch.setattr(stage.vllm, "__post_init__", FakeConfig.__post_init__)
    stage.register("report")
    stage.start()
    stage.patch.setattr(engine, "judged", planted)
    stage.start()
    said = {line.partition(" ")[2] for line in stage.lines()}
    page = (Path(__file__).parents[3] / "docs" / "howto" / "plugin.md").read_text("utf-8")
    shown = [line for line in page.splitlines() if line.startswith("mtpfix: ")]
    assert len(shown) == 6
    assert said == set(shown)


@pytest.mark.parametrize("value", plugin.WAYS)
def test_the_old_name_of_the_switch_is_understood_with_a_warning(stage: Stage, value: str) -> None:
    stage.patch.setenv(plugin.FORMER, value)
    stage.register(None)
    stage.start()
    stage.start()
    warning, line = stage.lines()[:2]
    assert warning == (
        f"WARNING mtpfix: MTPFIX_VLLM is the old name of this switch: set MTPFIX_PLUGIN={value}."
    )
    assert line.startswith("INFO mtpfix: ")
    assert stage.lines().count(warning) == 1


@pytest.mark.parametrize("value", ["0.32.0", "force", ">=0.30", "newest", "0", ""])
def test_any_other_value_of_the_old_name_is_for_the_command_line(stage: Stage, value: str) -> None:
    hook = stage.vllm.__post_init__
    stage.patch.setenv(plugin.FORMER, value)
    stage.register(None)
    assert (stage.vllm.__post_init__, stage.lines()) == (hook, [])


def test_the_new_name_goes_before_the_old_one(stage: Stage) -> None:
    hook = stage.vllm.__post_init__
    stage.patch.setenv(plugin.FORMER, "1")
    stage.register("0")
    assert (stage.vllm.__post_init__, stage.lines()) == (hook, [])


def test_speculation_off_or_of_another_kind(stage: Stage) -> None:
    stage.register("1")
    stage.vllm(None)
    stage.vllm(stage.model())
    stage.vllm(stage.model(), stage.mtp("eagle3"))
    assert stage.lines() == [
        "INFO mtpfix: speculation is off, so there is no draft to judge",
        "INFO mtpfix: the draft is eagle3, not an MTP block, so it is not judged",
    ]


CANNOT = {
    "a function": ({"hf_overrides": lambda config: config}, {}, "hf_overrides is a function"),
    "another format": ({"config_format": "mistral"}, {}, "config format mistral"),
    "elsewhere": ({"hf_config_path": "other"}, {}, "hf_config_path"),
    "streamed": ({"model_weights": "s3://bucket/model"}, {}, "streamed"),
    "online": ({"quantization_config": {}}, {}, "--quantization-config"),
    "another method": ({"quantization": "moe_wna16"}, {}, "read it as moe_wna16"),
    "dummy": ({}, {"load": "dummy"}, "load format dummy"),
    "no such place": ({"model": "s3://x\x1b[2J"}, {}, "could not judge"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_it_could_not_judge(stage: Stage, case: str) -> None:
    fields, how, said = CANNOT[case]
    stage.register("1")
    made = stage.start(**how, **fields)
    (line,) = stage.lines()
    assert line.startswith("INFO mtpfix: could not judge: ")
    assert said in line
    assert line.isprintable()
    assert not set(NEW) & set(ignored(made))


@pytest.mark.parametrize("release", ["0.99.0", "0.98.0.dev3+gabc"])
def test_a_newer_release_is_repaired_by_the_newest_facts_and_it_is_said_so(
    stage: Stage, release: str
) -> None:
    stage.patch.setattr("vllm.__version__", release)
    stage.register("1")
    made = stage.start()
    (line,) = stage.lines()
    assert line.startswith("INFO mtpfix: repaired in memory: ")
    base = release.partition(".dev")[0]
    assert f"This is assumed: vLLM {base} is newer than {NEWEST}, the newest that" in line
    assert set(NEW) <= set(ignored(made))


def test_a_release_that_is_older_than_all_that_is_known(stage: Stage) -> None:
    stage.patch.setattr("vllm.__version__", "0.1.0")
    stage.register("1")
    made = stage.start()
    (line,) = stage.lines()
    assert line.startswith("INFO mtpfix: could not judge: vLLM ")
    assert not set(NEW) & set(ignored(made))


def test_another_platform(stage: Stage) -> None:
    nowhere = SimpleNamespace(**{f"is_{n}": lambda: False for n in ("cuda", "rocm", "xpu", "cpu")})
    stage.patch.setattr("vllm.platforms.current_platform", nowhere)
    stage.register("1")
    stage.start()
    assert "a platform that mtpfix does not know" in stage.lines()[0]


def test_a_planted_exception_is_one_warning(stage: Stage) -> None:
    stage.patch.setattr(engine, "judged", planted)
    stage.register("1")
    made = stage.start()
    (line,) = stage.lines()
    assert line == (
        "WARNING mtpfix: failed, and has changed nothing: 'RuntimeError: planted \\x1b[31m\\n'"
    )
    assert not set(NEW) & set(ignored(made))


def test_a_vllm_of_another_shape_is_one_warning(stage: Stage) -> None:
    stage.patch.delattr("vllm.config.VllmConfig")
    stage.register("1")
    (line,) = stage.lines()
    assert line.startswith("WARNING mtpfix: failed, and has changed nothing: ")


def test_metadata_that_vllm_cannot_read_is_put_nowhere(stage: Stage) -> None:
    def refuses(config: Any) -> None:
        raise ValueError("it cannot be read")

    reader = SimpleNamespace(from_config=refuses)
    name = "vllm.model_executor.layers.quantization.get_quantization_config"
    stage.patch.setattr(name, lambda _: reader)
    stage.register("1")
    made = stage.start()
    (line,) = stage.lines()
    assert line.startswith("WARNING")
    assert "it cannot be read" in line
    assert not set(NEW) & set(ignored(made))


def test_hostile_names_cannot_act(stage: Stage) -> None:
    stage.folder = stage.folder.rename(stage.folder.with_name("a\n\x1b]0;x\x07 %s; rm -rf $HOME"))
    stage.register("1")
    stage.start()
    (line,) = stage.lines()
    assert line.isprintable()
    assert "repaired in memory" in line
    assert "'" in line.partition("rewrite ")[2]


@pytest.mark.parametrize("value", [*plugin.WAYS, "0"])
def test_the_command_line_goes_on_where_the_plugin_is_on(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv(plugin.SWITCH, value)
    monkeypatch.setenv(plugin.FORMER, value)
    assert main(["check", str(folder), "--platform", "cuda"]) == 1
    assert "could not judge" not in capsys.readouterr().out
