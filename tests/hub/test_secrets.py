"""A planted token comes out nowhere: every command, every format, every answer of the Hub."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from mtpfix.cli import main
from mtpfix.cli.options import ReportFormat
from mtpfix.delivery import guard
from tests.hub import server
from tests.hub.conftest import NAME
from tests.hub.server import GOOD_TOKEN, Hub, Repo, sparse
from tests.unit.cli.conftest import Folder

PASSWORD = "p4ssw0rd-of-the-proxy"  # noqa: S105 - planted
WRONG = "hf_" + "wr0ng" * 7
SECRETS = (GOOD_TOKEN, WRONG, PASSWORD, GOOD_TOKEN[3:], WRONG[3:])
ONE = ("--vllm", "0.32.0", "--platform", "cuda")
COMMANDS = [
    *(("check", *ONE, "--format", form.value) for form in ReportFormat),
    ("inspect", *ONE, "--verbose"),
    ("check", "org/none", *ONE),
    ("check", "--org", "org", *ONE),
    ("rewrite", *ONE, "--format", "json"),
    ("rewrite", *ONE, "--push-to-hub", "--dry-run"),
    ("rewrite", *ONE, "--push-to-hub", "--create-pr", "--commit-message", "Mend it"),
    ("rewrite", *ONE, "--push-to-hub", "--format", "json"),
    ("rewrite", *ONE, "--push-to-hub", "--format", "markdown"),
    ("override", *ONE),
    ("names", *ONE),
    ("verify",),
    ("check", "--revision", "gone", *ONE),
]


Plant = Callable[[str, str], list[str]]


@pytest.fixture(name="tiny")
def _tiny(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A small repo; whether compressed-tensors reads the result is tested elsewhere."""
    monkeypatch.setattr(guard, "prove", lambda _: None)
    folder = Folder(tmp_path / "model")
    repo = hub.repos[NAME] = Repo()
    repo.commit({name: sparse(data) for name, data in folder.bytes().items()})
    return repo


@pytest.fixture(name="plant")
def _plant(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    """Puts a token where the Hub's client finds it; returns the options that say so."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {PASSWORD}\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))

    def plant(token: str, where: str) -> list[str]:
        if where == "file":  # and a password in the address, which the client sends instead
            url = hub.url.replace("http://", f"http://user:{PASSWORD}@")
            monkeypatch.setattr(constants, "ENDPOINT", url)
            template = url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        if where == "option":
            return ["--token", token]
        if where == "environment":
            monkeypatch.setenv("HF_TOKEN", token)
        else:
            Path(constants.HF_TOKEN_PATH).write_text(token, encoding="utf-8")
        return []

    return plant


def told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    code = main(arguments)
    return code, "".join(capsys.readouterr())


def command(arguments: tuple[str, ...]) -> list[str]:
    name, *rest = arguments
    named = rest[:1] == ["org/none"] or "--org" in rest
    return [name, *([] if named else [NAME]), *rest]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        *((arguments, "option") for arguments in COMMANDS if arguments != ("verify",)),
        *((arguments, "environment") for arguments in COMMANDS),
        *((arguments, "file") for arguments in COMMANDS[::4]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_no_command_tells_the_token(
    tiny: Repo,
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    where: str,
) -> None:
    for token in (GOOD_TOKEN, WRONG):
        _, said = told(capsys, [*command(arguments), *plant(token, where)])
        assert said
        assert not [secret for secret in SECRETS if secret in said]
    pushed = json.dumps([tiny.messages, tiny.prs, [str(c) for c in tiny.commits.values()]])
    assert not [secret for secret in SECRETS if secret in pushed]


def echo(status: int) -> server.Fault:
    """An error that says back whatever the client sent."""

    def fault(handler: server._Handler) -> bool:
        said = f"no: {handler.login} {handler.headers.get('Authorization')} {handler.path}"
        handler.error(status, said=f"{said} user:{PASSWORD}@host", Location=f"/x?token={WRONG}")
        return True

    return fault


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 451, 500, 503])
@pytest.mark.parametrize(
    "arguments", [("check", *ONE), ("rewrite", *ONE, "--push-to-hub"), ("check", "--org", "org")]
)
@pytest.mark.usefixtures("waits", "tiny")
def test_no_error_of_the_hub_brings_it_back(
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits by itself, too
    for part in ("/api/", "/resolve/", "/commit/"):
        hub.faults.clear()
        hub.faults[part] = [echo(status)] * 20
        code, said = told(capsys, [*command(arguments), "--token", GOOD_TOKEN])
        assert code in (0, 1, 2, 4)
        assert not [secret for secret in SECRETS if secret in said]
        assert "internal error" not in said


@pytest.mark.usefixtures("tiny")
def test_no_file_holds_the_token(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    also = [word for form in ("json", "sarif") for word in ("--also", f"{form}={out / form}")]
    options = plant(GOOD_TOKEN, "option")
    main(["check", NAME, *ONE, "--output-file", str(out / "text"), *also, *options])
    written = sorted(out.iterdir())
    assert len(written) == 3
    for path in written:
        assert not [s for s in SECRETS if s.encode() in path.read_bytes()]
