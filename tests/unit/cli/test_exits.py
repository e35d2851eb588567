"""When `check` exits 0, 1, 2 and 3: every row of the table in docs/reference/exit-codes.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtpfix

from .conftest import CONFIG, Folder, Header, Run, header

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md"
ROW = re.compile(r"^\| (.+?) \| ([0-3]) \| .+ \|$", re.MULTILINE)

RIGHT = ("lm_head", r"re:^model\.layers\.2\..*")
FP8 = CONFIG["quantization_config"]
MTP = "mtp_layers"
EAGLE = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"}
UNKNOWN = {"architectures": ["NoSuchModel"], "model_type": "none"}
DRAFT: Header = {"fc.weight": ("BF16", (4, 8)), "midlayer.mlp.up_proj.weight": ("BF16", (4, 4))}

Options = tuple[str, ...]


def plain(*, mtp: bool = True) -> Header:
    """The tensors of the folder, unquantized."""
    return {
        name: ("BF16", shape)
        for name, (_, shape) in header().items()
        if not name.endswith("_scale") and (mtp or MTP not in name)
    }


def quantized(*, mtp: bool = False) -> Header:
    """Those of a quantized target model."""
    return {name: entry for name, entry in header().items() if mtp or MTP not in name}


def right(folder: Folder) -> Options:
    folder.ignore(*RIGHT)
    return ()


def broken(folder: Folder) -> Options:
    return ()


def model(tensors: Header, **config: Any) -> Callable[[Folder], Options]:
    """A checkpoint of some tensors whose `config.json` holds no more than is given."""

    def make(folder: Folder) -> Options:
        folder.config = config
        folder.save()
        folder.tensors(tensors)
        return ()

    return make


def family(tensors: Header | None = None, **changes: Any) -> Callable[[Folder], Options]:
    """A checkpoint of the known family, with some fields changed; None takes a field away."""

    def make(folder: Folder) -> Options:
        folder.ignore(*RIGHT)
        folder.save(**changes)
        if tensors is not None:
            folder.tensors(tensors)
        return ()

    return make


def told(make: Callable[[Folder], Options], *options: str) -> Callable[[Folder], Options]:
    """The same checkpoint, checked with options."""

    def made(folder: Folder) -> Options:
        return (*make(folder), *options)

    return made


def beside(make: Callable[[Folder], Options], name: str, text: str) -> Callable[[Folder], Options]:
    """The same checkpoint, with one more file."""

    def made(folder: Folder) -> Options:
        (folder.path / name).write_text(text, encoding="utf-8")
        return make(folder)

    return made


def only(*names: str) -> Callable[[Folder], Options]:
    """A checkpoint whose weights lie in files of other names."""

    def make(folder: Folder) -> Options:
        weights = (folder.path / "model.safetensors").rename(folder.path / "gone")
        for name in names:
            (folder.path / name).write_bytes(weights.read_bytes())
        weights.unlink()
        return ()

    return make


def other_family(layers: int) -> dict[str, Any]:
    """Fields that make the folder one of DeepSeek's, as far as its MTP block goes."""
    return {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "first_k_dense_replace": 3,
        "n_routed_experts": 2,
        "n_shared_experts": 1,
        "num_nextn_predict_layers": layers,
        "quantization_config": None,
    }


GLM_BLOCK: Header = {
    **plain(mtp=False),
    "model.layers.2.eh_proj.weight": ("BF16", (4, 8)),
    "model.layers.2.enorm.weight": ("BF16", (4,)),
}
DSPARK: Header = {
    **plain(mtp=False),
    "model.layers.2.markov_head.markov_w1.weight": ("BF16", (4, 4)),
}


def of_baseline(make: Callable[[Folder], Options], *codes: str) -> Callable[[Folder], Options]:
    """The same checkpoint beside a baseline: of what is found in it, or of the codes given."""

    def made(folder: Folder) -> Options:
        options = make(folder)
        file = folder.path.parent / "baseline.json"
        report = mtpfix.check(folder.path)
        rows = [
            {
                "code": code,
                "repo": str(folder.path),
                "engine": engine,
                "modules": list(names),
            }
            for code, names in [
                *((f.code, f.modules) for f in report.findings),
                *((code, ()) for code in codes),
            ]
            for engine in ("vllm", None)
        ]
        file.write_text(json.dumps({"schema": "mtpfix.baseline/1", "findings": rows}), "utf-8")
        return (*options, "--baseline", str(file))

    return made


def several(folder: Folder) -> Options:
    other = Folder(folder.path.parent / "unknown")
    model(quantized(), **UNKNOWN)(other)
    return (*right(folder), str(other))


unknown = model(quantized(mtp=True), **UNKNOWN, quantization_config=FP8)
unknown_plain = model(plain(mtp=False), **UNKNOWN)

CASES: dict[str, Callable[[Folder], Options]] = {
    "an MTP block that loads as it is stored": right,
    "the same, where another engine that nobody selected fails": right,
    "a draft with warnings alone": lambda folder: (
        folder.ignore(*RIGHT, r"re:.*mtp_block.*") or ()  # type: ignore[func-returns-value]
    ),
    "a method in which no list has a say": family(
        plain(), quantization_config={"quant_method": "experts_int8"}
    ),
    "no metadata, nothing quantized, and an MTP block of a known family": family(
        plain(), quantization_config=None
    ),
    "no metadata, and a quantized module of a known family": family(quantization_config=None),
    "no MTP layer declared, and none on disk": family(quantized(), num_nextn_predict_layers=0),
    "an MTP block that is not declared, and that the target model drops": family(
        num_nextn_predict_layers=0
    ),
    "an MTP block that is not declared, and that the target model cannot load": family(
        GLM_BLOCK, **other_family(0)
    ),
    "an MTP block that is not declared, where that was not run": told(
        family(num_nextn_predict_layers=0), "--vllm", "0.24.0"
    ),
    "an unknown family: no metadata, nothing quantized, no MTP block": unknown_plain,
    "an unknown family with metadata": unknown,
    "an unknown family with metadata of a part of the model": model(
        plain(mtp=False), **UNKNOWN, thinker_config={"text_config": {"quantization_config": FP8}}
    ),
    "an unknown family with a metadata file beside config.json": beside(
        unknown_plain, "quantize_config.json", '{"bits": 4}'
    ),
    "an unknown family with quantized tensors": model(quantized(), **UNKNOWN),
    "an unknown family with tensors of an MTP block": model(plain(), **UNKNOWN),
    "an unknown family that declares MTP layers": model(
        plain(mtp=False), **UNKNOWN, num_nextn_predict_layers=1
    ),
    "a config.json that names no model": model(plain(mtp=False)),
    "a draft of another kind, and nothing of it is quantized": model(DRAFT, **EAGLE),
    "a draft of another kind that is quantized": model(DRAFT, **EAGLE, quantization_config=FP8),
    "a draft of another kind that its target model quantizes": model(
        DRAFT, architectures=["EagleDeepSeekMTPModel"]
    ),
    "a draft of another kind in the place of the MTP block": family(DSPARK, **other_family(1)),
    "a draft of another kind, in a release that has none": told(
        model(DRAFT, architectures=["K3DSparkModel"]), "--vllm", "0.24.0"
    ),
    "a method that mtpfix does not read": family(quantization_config={"quant_method": "w4afp8"}),
    "metadata that names no method": family(quantization_config={"bits": 4}),
    "a release that is newer than the facts": told(right, "--vllm", "99.1.0"),
    "a specifier that only newer releases match": told(right, "--vllm", ">=99.1"),
    "a release that is older than the facts": told(right, "--vllm", "0.11.0"),
    "several releases, one of which has no draft of the family": told(
        model(
            plain(mtp=False),
            architectures=["BailingMoeV3ForCausalLM"],
            model_type="bailing_hybrid_v3",
            num_hidden_layers=2,
        ),
        *("--vllm", "0.24.0", "--vllm", "0.33.0"),
    ),
    "a specifier that also matches releases without such a draft": told(
        model(DRAFT, architectures=["K3DSparkModel"]), "--vllm", ">=0.24"
    ),
    "weights in a .gguf or .bin file, or none at all": only("model.gguf", "pytorch_model.bin"),
    "an adapter": only("adapter_model.safetensors"),
    "a broken draft with `--fail-on never`": told(broken, "--fail-on", "never"),
    "an unknown one with `--fail-on never`": told(unknown, "--fail-on", "never"),
    "a broken draft with `--ignore`, by its codes": told(broken, "--ignore", "MTP2"),
    "an unknown one with `--ignore MTP`": told(unknown, "--ignore", "MTP"),
    "an unknown one with `--ignore MTP901`": told(unknown, "--ignore", "MTP901"),
    "an unknown one with `--select MTP1`": told(unknown, "--select", "MTP1"),
    "a broken draft that a baseline knows": of_baseline(broken),
    "an unknown one that a baseline names": of_baseline(unknown, "MTP901"),
    "a broken draft in SARIF": told(broken, "--format", "sarif"),
    "an unknown one in SARIF": told(unknown, "--format", "sarif"),
    "several targets, one of them unknown": several,
}
EMPTY = "an empty target"


def rows() -> dict[str, int]:
    """The table of the page."""
    return {name: int(code) for name, code in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_every_row_of_the_page_is_run() -> None:
    assert set(CASES) | {EMPTY} <= rows().keys()
    table = PAGE.read_text(encoding="utf-8").split("| what is checked |")[1].split("\n\n")[0]
    assert len(ROW.findall(table)) == len(CASES) + 1


@pytest.mark.parametrize("what", CASES)
def test_check_exits_as_the_page_says(what: str, run: Run, folder: Folder) -> None:
    options = CASES[what](folder)
    ran = run("check", folder, *options)
    assert ran.code == rows()[what], ran


@pytest.mark.parametrize("target", ["", " "])
def test_an_empty_target_is_none(
    target: str, run: Run, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    right(folder)
    monkeypatch.chdir(folder.path)
    assert run("check").code == 0
    assert run("check", target).code == rows()[EMPTY]


@pytest.mark.parametrize("form", ["json", "junit", "gitlab", "github", "markdown", "html", "sarif"])
def test_no_format_lets_the_unknown_pass(form: str, run: Run, folder: Folder) -> None:
    unknown(folder)
    assert run("check", folder, "--format", form).code == 3


@pytest.mark.parametrize(
    "what", ["a draft of another kind that is quantized", "a release that is newer than the facts"]
)
@pytest.mark.parametrize(
    "command",
    ["inspect", "rewrite", "rewrite --write", "override", "names", "graft --drop --write"],
)
def test_no_command_lets_the_unknown_pass(
    command: str, what: str, run: Run, folder: Folder
) -> None:
    options = CASES[what](folder)
    assert run(*command.split(), folder, *options).code == 3


@pytest.mark.parametrize(
    "what",
    [
        "an unknown family with metadata",
        "an unknown family with quantized tensors",
        "a draft of another kind that is quantized",
        "a config.json that names no model",
        "a method that mtpfix does not read",
    ],
)
def test_no_gate_of_python_lets_the_unknown_pass(what: str, folder: Folder) -> None:
    assert CASES[what](folder) == ()
    with pytest.raises(mtpfix.GateError) as caught, mtpfix.saving(folder.path):
        pass
    assert caught.value.exit_code == 3


def test_a_draft_of_another_kind_says_what_is_not_known(run: Run, folder: Folder) -> None:
    model(DRAFT, **EAGLE, quantization_config=FP8)(folder)
    report = run("check", folder, "--format", "json").json
    assert [finding["code"] for finding in report["findings"]] == ["MTP901", "MTP007"]
    assert "how vLLM builds a quantized EAGLE-3 draft" in report["findings"][0]["message"]
    assert report["exit_code"] == 3


@pytest.mark.parametrize("command", ["check", "inspect", "rewrite", "override", "names"])
@pytest.mark.parametrize(
    ("named", "matched"),
    [
        (("--vllm", "99.1"), ("--vllm", ">=99.1")),
        (("--sglang", "99.1.0"), ("--sglang", ">=99.1")),
        (("--engine", "vllm==99.1.0"), ("--engine", "vllm>=99.1")),
        (("--engine", "sglang==99.1.0"), ("--engine", "sglang~=99.1.0")),
    ],
)
def test_a_newer_release_is_judged_in_one_way_however_it_is_asked_for(
    command: str, named: Options, matched: Options, run: Run, folder: Folder
) -> None:
    folder.ignore(*RIGHT, r"re:^model.decoder\..*")
    one, other = run(command, folder, *named), run(command, folder, *matched)
    assert (one.code, one.out, one.err) == (other.code, other.out, other.err)
    assert one.code != 0


def test_all_that_is_said_of_a_newer_release_is_assumed(run: Run, folder: Folder) -> None:
    report = run("check", folder, "--vllm", ">=99.1", "--format", "json").json
    assert report["exit_code"] == 1  # it fails already
    assert {engine["confidence"] for engine in report["engines"]} == {"assumed"}
    assert {finding["confidence"] for finding in report["findings"]} == {"assumed"}
    assert "as far as is known" in run("check", folder, "--vllm", "99.1").out
    known = run("check", folder, "--format", "json").json
    assert {engine["confidence"] for engine in known["engines"]} == {"run"}


def test_override_says_that_it_is_assumed(run: Run, folder: Folder) -> None:
    ran = run("override", folder, "--vllm", "99.1")
    assert "--hf-overrides" in ran.out
    assert "as far as is known, it is right" in ran.err
    right(folder)
    assert (
        "as far as is known, no override is needed" in run("override", folder, "--vllm", "99.1").err
    )
