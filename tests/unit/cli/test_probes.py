"""`probe`: what a server says of its draft, read twice."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mtpfix.metrics import address_of
from tests.unit.report import schemas

from .conftest import Run

HEAD = "# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.\n"


def vllm(drafts: float, accepted: tuple[float, ...], positions: int = 2) -> str:
    """The metrics of a vLLM that drafts `positions` tokens at a time."""
    rows = {
        "drafts_total": drafts,
        "draft_tokens_total": drafts * positions,
        "accepted_tokens_total": sum(accepted),
        "draft_tokens_created": 1.7e9,
    }
    lines = [f'vllm:spec_decode_num_{name}{{engine="0"}} {value}' for name, value in rows.items()]
    for place, value in enumerate(accepted):
        name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        lines.append(f'{name}{{engine="0",position="{place}"}} {value}')
    return HEAD + "\n".join(lines) + "\nother 1\n"


def sglang(length: float, rate: float) -> str:
    """The metrics of an SGLang of two ranks."""
    return "".join(
        f'sglang:spec_accept_{name}{{tp_rank="{rank}"}} {value}\n'
        for name, value in (("length", length), ("rate", rate))
        for rank in (0, 1)
    )


class Server(HTTPServer):
    """Answers with one text after the other; the last stays."""

    answers: list[str]
    asked: list[str]
    logins: list[str]


class Handler(BaseHTTPRequestHandler):
    """Speaks for a server."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        server.logins += self.headers.get_all("Authorization", [])
        code = 200 if self.path.endswith("/metrics") and server.answers else 404
        self.send_response(code)
        self.end_headers()
        if code == 200:
            text = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.logins = [], [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server: Server, path: str = "") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_a_draft_that_works(run: Run, server: Server) -> None:
    server.answers = [vllm(100, (50, 20)), vllm(200, (130, 50))]
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 0
    assert server.asked == ["/metrics", "/metrics"]
    assert "200 tokens in 100 drafts, between the readings" in ran.out
    assert "accepted      55.0%" in ran.out
    assert "position 1   80.0%" in ran.out
    assert "position 2   30.0%" in ran.out
    assert "mean length   2.10 tokens a step" in ran.out
    assert "✓ The draft works on vLLM: 5% is demanded." in ran.out


def test_a_draft_that_does_nothing(run: Run, server: Server) -> None:
    server.answers = [vllm(100, (50, 20)), vllm(200, (50, 20))]
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 1
    assert "✗ This draft is not doing anything on vLLM" in ran.out
    assert "mtpfix check MODEL --vllm RELEASE" in ran.out
    found = run("probe", url(server), "--seconds", "0", "--format", "json").json
    schemas.validator("mtpfix.probe/1").validate(found)
    assert (found["state"], found["since_start"], found["acceptance"]) == ("works", True, 0.175)


def test_the_least_is_the_user_s(run: Run, server: Server) -> None:
    server.answers = [vllm(0, (0, 0)), vllm(10, (5, 1))]
    assert run("probe", url(server), "--seconds", "0", "--min-acceptance", "0.31").code == 1


def test_a_server_that_started_anew_counts_from_there(run: Run, server: Server) -> None:
    server.answers = [vllm(1000, (900, 800)), vllm(10, (0, 0))]
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 1
    assert "20 tokens in 10 drafts, since the server started" in ran.out


@pytest.mark.parametrize("text", [vllm(0, (0, 0)), sglang(0, 0)])
def test_nothing_drafted_is_unknown(run: Run, server: Server, text: str) -> None:
    server.answers = [text]
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 3
    assert "has drafted nothing yet" in ran.out


def test_sglang_tells_its_own_means(run: Run, server: Server) -> None:
    server.answers = [sglang(0, 0), sglang(1.0, 0.0)]
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 1
    assert "This draft is not doing anything on SGLang" in ran.out
    server.answers = [sglang(2.5, 0.75)]
    assert run("probe", url(server), "--seconds", "0").code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is no page of metrics"),
        ("vllm:spec_decode_num_drafts_total nan\n", "the metrics say nothing of a draft"),
        ("vllm:spec_decode_num_drafts_total -5\n", "the metrics say nothing of a draft"),
        ("\x1b[31m" * 1000 + "{" * 10_000, "this is no page of metrics"),
    ],
)
def test_metrics_of_another_kind(run: Run, server: Server, text: str, words: str) -> None:
    server.answers = [text or "x"]
    ran = run("probe", url(server), "--seconds", "0")
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "\x1b" not in ran.err


def test_a_server_that_is_not_there(run: Run, server: Server) -> None:
    ran = run("probe", url(server), "--seconds", "0")
    assert ran.code == 2
    assert "/metrics answers 404" in ran.err


@pytest.mark.parametrize(
    "given",
    [
        "http://user:secret@127.0.0.1:9",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1:9/?token=secret",
        "http://user:secret@[::1",
        "user:secret@127.0.0.1:9x",
    ],
)
def test_no_secret_of_an_address_comes_out(run: Run, given: str) -> None:
    ran = run("probe", given, "--seconds", "0")
    assert ran.code == 2
    assert "cannot be read" in ran.err or "is not the address" in ran.err
    assert "secret" not in ran.err


def test_a_password_goes_to_the_server_in_a_header(run: Run, server: Server) -> None:
    server.answers = [vllm(0, (0,)), vllm(10, (9, 8))]
    assert run("probe", url(server).replace("//", "//me:p%40ss@"), "--seconds", "0").code == 0
    assert server.logins == ["Basic " + base64.b64encode(b"me:p@ss").decode()] * 2


@pytest.mark.parametrize(
    "given", ["", "file:///etc/passwd", "ftp://x", "http://", "http://x:0", "x:y"]
)
def test_what_is_no_address(run: Run, given: str) -> None:
    ran = run("probe", given, "--seconds", "0")
    assert ran.code == 2
    assert "is not the address of a server" in ran.err


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("localhost:8000", "http://localhost:8000/metrics"),
        ("http://h/", "http://h/metrics"),
        ("http://h:1/v1", "http://h:1/metrics"),
        ("https://h/a/metrics?x=1", "https://h/a/metrics?x=1"),
    ],
)
def test_addresses(given: str, address: str) -> None:
    assert address_of(given) == address
