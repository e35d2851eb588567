"""How a real SGLang is asked: a child that answers, breaks, hangs, dies or talks nonsense."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mtpfix.engines import child
from mtpfix.engines.sglang import live
from mtpfix.errors import BrokenFileError, MtpfixError, TargetError, UnknownError

READY = {"sglang": "0.5.23", "python": "3.11.7", "capability": "9.0", "patches": ["cuda: why"]}
DECISION = {
    "part": "draft",
    "name": "",
    "cls": "ParallelLMHead",
    "kind": "lm_head",
    "param": "lm_head",
    "built": "unquantized",
    "scheme": None,
    "method": "UnquantizedEmbeddingMethod",
    "error": None,
}
LOADED = {
    "failure": {"type": "KeyError", "message": "'a.b'", "where": "srt/models/mimo.py:1 in load"},
    "postprocess": None,
    "warnings": ["WARNING something"],
    "uninitialised": {"model.a": [2, 3]},
    "optional": {"model.a.input_scale": [1]},
    "partial": {},
    "casts": ["model.a: float8_e4m3fn->bfloat16"],
    "unused": ["b"],
    "read": 4,
}
ANSWER = {
    "sglang": "0.5.23",
    "capability": "9.0",
    "patches": ["cuda: why", "memory: why"],
    "target_class": "sglang.srt.models.mimo.MiMoForCausalLM",
    "draft_class": "sglang.srt.models.mimo_mtp.MiMoMTP",
    "draft_architectures": ["MiMoMTP"],
    "decisions": [DECISION, {**DECISION, "part": "trunk", "name": "lm_head"}],
    "unasked": {"draft": [{"param": "model.input_proj", "cls": "Linear", "kind": "linear"}]},
    "quantization": {
        "trunk": {"method": None},
        "draft": {
            "method": "fp8",
            "class": "Fp8Config",
            "packed": {"qkv_proj": ["q_proj", "k_proj", "v_proj"]},
            "ignore": ["lm_head", "model.lm_head"],
            "targets": [],
        },
    },
    "parameters": {"draft": {"lm_head.weight": [[512, 256], "bfloat16"]}},
    "load": {"draft": LOADED},
    "failures": [{"phase": "target", "type": "ValueError", "message": "no", "where": "x:1 in y"}],
}
PROGRAM = """#!{python}
import json, os, pathlib, sys, time
print({first!r}, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    said = json.loads((pathlib.Path(request["folder"]) / "config.json").read_text())
    (pathlib.Path({notes!r})).write_text(json.dumps([request, dict(os.environ)]))
    if "hang" in said: time.sleep(60)
    if "die" in said: sys.exit("the last word")
    if "answer" in said: pathlib.Path(request["answer"]).write_text(json.dumps(said["answer"]))
    print(json.dumps({{"id": request["id"], "status": said.get("status", 0)}}), flush=True)
"""


class Fake:
    """A program in the place of an interpreter, which does what `config.json` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.notes = folder / "notes"
        self.target = folder / "target"
        self.target.mkdir()
        self.starts({"ready": READY})

    def starts(self, first: object) -> None:
        """It says this when it starts; text as it is."""
        text = first if isinstance(first, str) else json.dumps(first)
        program = PROGRAM.format(python=sys.executable, first=text, notes=str(self.notes))
        self.python.write_text(program, encoding="utf-8")
        self.python.chmod(0o755)

    def says(self, **config: object) -> Path:
        """The folder to ask about."""
        (self.target / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return self.target

    def server(self, **options: Any) -> live.Server:
        """What asks it."""
        return live.Server(python=str(self.python), **options)

    def asked(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The request that came last, and the environment that it came to."""
        request, environment = json.loads(self.notes.read_text(encoding="utf-8"))
        return request, environment


@pytest.fixture(name="fake")
def _fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_an_answer_becomes_records(fake: Fake) -> None:
    with fake.server() as server:
        assert server.about == {key: READY[key] for key in ("sglang", "python", "capability")}
        assert server.patches == ("cuda: why",)
        answer = server.ask(fake.says(answer=ANSWER))
    assert (answer.version, answer.capability) == ("0.5.23", "9.0")
    assert answer.draft_architectures == ("MiMoMTP",)
    (head,) = answer.of("draft")
    assert (head.name, head.param, head.built) == ("", "lm_head", "unquantized")
    assert [made.name for made in answer.of("trunk")] == ["lm_head"]
    assert answer.unasked["draft"] == (child.Unasked("model.input_proj", "Linear", "linear"),)
    assert answer.unasked["trunk"] == ()
    assert answer.parameters["draft"] == {"lm_head.weight": ((512, 256), "bfloat16")}
    assert [str(failure) for failure in answer.failures] == ["ValueError: no"]


def test_each_part_has_its_own_quantization(fake: Fake) -> None:
    with fake.server() as server:
        found = server.ask(fake.says(answer=ANSWER)).quantization
    assert found["trunk"] == live.Quantization(None, None, {}, None, ())
    assert (found["draft"].method, found["draft"].cls) == ("fp8", "Fp8Config")
    assert found["draft"].packed == {"qkv_proj": ("q_proj", "k_proj", "v_proj")}
    assert found["draft"].ignore == ("lm_head", "model.lm_head")


def test_a_load_becomes_a_record(fake: Fake) -> None:
    with fake.server() as server:
        found = server.ask(fake.says(answer=ANSWER), load=True).load
    assert set(found) == {"draft"}
    draft = found["draft"]
    assert draft.failure is not None
    assert (draft.failure.phase, str(draft.failure)) == ("load", "KeyError: 'a.b'")
    assert draft.postprocess is None
    assert draft.uninitialised == {"model.a": (2, 3)}
    assert draft.optional == {"model.a.input_scale": (1,)}
    assert draft.casts == ("model.a: float8_e4m3fn->bfloat16",)
    assert (draft.unused, draft.read, draft.partial) == (("b",), 4, {})


@pytest.mark.parametrize(
    ("options", "load"),
    [
        ({}, []),
        ({"load": True}, ["draft"]),
        ({"load_target": True}, ["trunk"]),
        ({"load": True, "load_target": True}, ["trunk", "draft"]),
    ],
)
def test_the_parts_to_load_are_named(fake: Fake, options: Any, load: list[str]) -> None:
    with fake.server() as server:
        server.ask(fake.says(answer=ANSWER), **options)
    assert fake.asked()[0]["load"] == load


def test_a_draft_folder_is_an_argument_of_the_server(fake: Fake, tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    with fake.server() as server:
        server.ask(fake.says(answer=ANSWER), draft=draft, arguments={"quantization": "fp8"})
    assert fake.asked()[0]["arguments"] == {
        "speculative_draft_model_path": str(draft),
        "quantization": "fp8",
    }


def test_the_child_is_offline_and_knows_no_token(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", "/before")
    variables = {"SGLANG_FP8_IGNORED_LAYERS": "eh_proj"}
    with fake.server(path=["/a", Path("/b")], capability="10.0", variables=variables) as server:
        server.ask(fake.says(answer=ANSWER))
    environment = fake.asked()[1]
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["PYTHONPATH"] == "/a:/b:/before"
    assert environment["MTPFIX_CAPABILITY"] == "10.0"
    assert environment["SGLANG_FP8_IGNORED_LAYERS"] == "eh_proj"
    assert "hf_secret" not in environment.values()


def test_its_files_are_gone_when_it_ends(fake: Fake) -> None:
    with fake.server() as server:
        server.ask(fake.says(answer=ANSWER))
        scratch = Path(fake.asked()[0]["answer"]).parent
        assert scratch.is_dir()
    assert not scratch.exists()
    with pytest.raises(MtpfixError, match="does not run"):
        server.ask(fake.says(answer=ANSWER))


def test_what_is_broken_is_said(fake: Fake) -> None:
    with (
        fake.server() as server,
        pytest.raises(UnknownError, match="asking SGLang failed: Oops: x"),
    ):
        server.ask(fake.says(answer={"broken": "Oops: x", "trace": ""}))


def test_a_child_of_it_that_dies_is_said_and_the_next_is_answered(fake: Fake) -> None:
    with fake.server() as server:
        with pytest.raises(
            UnknownError, match=r"the process that asked SGLang died \(status -11\)"
        ):
            server.ask(fake.says(status=-11))
        with pytest.raises(UnknownError, match="SGLang gave no answer in 600 s"):
            server.ask(fake.says(status=-14))
        assert server.ask(fake.says(answer=ANSWER)).version == "0.5.23"


def test_one_that_ends_tells_its_last_word(fake: Fake) -> None:
    with fake.server() as server, pytest.raises(UnknownError, match=r"early.*the last word"):
        server.ask(fake.says(die=True))


def test_one_that_hangs_is_killed(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.1)
    with fake.server(timeout=0.5) as server, pytest.raises(UnknownError, match="took too long"):
        server.ask(fake.says(hang=True))


def test_one_without_sglang_says_so(fake: Fake) -> None:
    fake.starts({"failed": "ModuleNotFoundError: No module named 'sglang'", "trace": ""})
    with pytest.raises(UnknownError, match="SGLang cannot be asked: ModuleNotFoundError") as caught:
        live.ask(fake.says(), python=str(fake.python))
    assert "pip install sglang" in str(caught.value.remedy)


def test_what_is_no_python_is_said(fake: Fake, tmp_path: Path) -> None:
    fake.starts("hello")
    with pytest.raises(UnknownError, match="is not a Python interpreter: it answered 'hello'"):
        live.ask(fake.says(), python=str(fake.python))
    with pytest.raises(UnknownError, match="cannot start"):
        live.ask(fake.says(), python=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("text", "error"), [(None, TargetError), ("{", BrokenFileError), ("[]", BrokenFileError)]
)
def test_a_folder_without_a_configuration_is_refused(
    fake: Fake, text: str | None, error: type[Exception]
) -> None:
    if text is not None:
        (fake.target / "config.json").write_text(text, encoding="utf-8")
    with fake.server() as server, pytest.raises(error):
        server.ask(fake.target)
