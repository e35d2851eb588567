"""Which base a graft takes: the one that is named, at one commit, or that of the model cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from mtpfix import calls
from mtpfix.cli import main
from mtpfix.errors import UsageError
from mtpfix.repair import publish
from mtpfix.targets import Reference
from tests.cases.materialise import CASES, materialise
from tests.hub import pairs, server
from tests.hub.conftest import Graft
from tests.hub.pairs import BASE, MANIFEST, TARGET, Pair, Shape
from tests.hub.repos import Repo, sparse
from tests.hub.server import GOOD_TOKEN, Hub
from tests.hub.test_secrets import echo
from tests.hub.traffic import base_regions, traffic

pytestmark = [
    pytest.mark.usefixtures("uploads"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
PUSH = ("--push-to-hub", "--token", GOOD_TOKEN)


def assert_refused(said: tuple[int, str, str], code: int, *parts: str) -> None:
    """One line with a remedy below it, and nothing on stdout."""
    exit_code, out, err = said
    assert (exit_code, out) == (code, "")
    assert err.count("\n") == 2
    assert err.startswith("error: ")
    assert "\nhint: " in err
    assert [part for part in parts if part not in err] == []


def card(repo: Repo, base: str) -> None:
    """A model card that names a base."""
    files = repo.commits[repo.branches["main"]]
    repo.commit(files | {"README.md": sparse(f"---\nbase_model: {base}\n---\n".encode())})


def tune(hub: Hub, name: str, base: str) -> Repo:
    """A fine-tune that has lost the block, too."""
    files = pairs.base_files(Shape(), {})
    index = json.loads(files[pairs.INDEX].head)
    shards = index["weight_map"] = {n: f for n, f in index["weight_map"].items() if "mtp." not in n}
    repo = hub.repos[name] = Repo()
    used = {n: f for n, f in files.items() if n in shards.values() or n == "config.json"}
    repo.commit(used | {pairs.INDEX: pairs.document(index)})
    card(repo, base)
    return repo


# --- one commit ----------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["next", "main"])
def test_a_branch_that_moves_meanwhile_is_read_at_one_commit(
    hub: Hub, both: Pair, graft: Graft, revision: str
) -> None:
    judged = both.base.branches["next"] = both.base.branches["main"]
    other = pairs.base_files(Shape(), {name: bytes(len(d)) for name, d in both.block.items()})

    def moves(_: object) -> bool:
        both.base.commit(other, revision)
        return False

    hub.faults[f"/cdn/{BASE}/"] = [moves]
    assert graft(*PUSH, base=f"{BASE}@{revision}")[0] == 0
    assert both.base.branches[revision] != judged
    read = [path for _, path, _ in hub.requests if BASE in path and "/resolve/" in path]
    assert read
    assert [path for path in read if f"/{BASE}/resolve/{judged}/" not in path] == []
    assert pairs.tensors_of(both.files()[pairs.SHARD]) == both.block
    assert json.loads(both.files()[MANIFEST].head)["base"]["revision"] == judged
    assert f"`{judged}`" in both.target.messages[0]["description"]


def test_a_commit_is_a_revision(both: Pair, graft: Graft) -> None:
    old = both.base.branches["main"]
    both.base.commit({"config.json": sparse(b"{}")})
    assert graft(*PUSH, base=f"{BASE}@{old}")[0] == 0
    assert pairs.tensors_of(both.files()[pairs.SHARD]) == both.block


def test_a_revision_that_is_not_there(both: Pair, graft: Graft) -> None:
    assert_refused(graft(base=f"{BASE}@none"), 2, f"{BASE}: has no revision 'none'", "/refs")


# --- of the model card -----------------------------------------------------------------------


def test_the_base_of_the_model_card_is_planned_with(both: Pair, graft: Graft) -> None:
    card(both.target, BASE)
    code, out, err = graft(base=None)
    assert code == 1
    assert err == f"base by the model card: {BASE}\n"
    assert f"base    {BASE} at {both.base.branches['main'][:12]}: same weights" in out


def test_a_chain_of_fine_tunes_is_followed_to_the_first_with_a_block(
    hub: Hub, both: Pair, graft: Graft
) -> None:
    card(both.target, "org/tune")
    tune(hub, "org/tune", "org/older-tune")
    tune(hub, "org/older-tune", BASE)
    code, out, err = graft(base=None)
    assert code == 1
    assert err == f"base by the model card: {BASE}\n"
    assert f"base    {BASE} at" in out
    assert calls.base_of(Reference(TARGET)) == BASE
    for name in ("org/tune", "org/older-tune"):
        seen = traffic(hub, name, base_regions(hub.repos[name]))
        assert (seen["header"].requests, seen["slice"].requests) == (0, 0)


@pytest.mark.parametrize(
    "extra", [("--push-to-hub",), ("--write",), ("--output", "new"), ("--push-to-hub", "--dry-run")]
)
def test_what_writes_wants_the_base_named(both: Pair, graft: Graft, extra: tuple[str, ...]) -> None:
    card(both.target, BASE)
    before = dict(both.target.branches)
    said = graft(*extra, base=None)
    assert_refused(said, 2, "--from names the base", f"by the model card: --from {BASE}")
    assert both.target.branches == before
    assert not Path("new").exists()


def test_no_model_card(both: Pair, graft: Graft) -> None:
    said = graft(base=None)
    assert_refused(said, 2, f"({TARGET}: it has no model card)", "--from org/name")


@pytest.mark.parametrize(
    ("how", "told"), [("gated", "gated, and this login"), ("private", "or a private one")]
)
def test_a_base_that_may_not_be_read(
    hub: Hub, both: Pair, graft: Graft, how: str, told: str
) -> None:
    card(both.target, "org/tune")
    setattr(tune(hub, "org/tune", BASE), how, True)
    assert_refused(graft(base=None), 2, told, "org/tune", "--from org/name")


def test_a_base_that_vanished(both: Pair, graft: Graft) -> None:
    card(both.target, "org/gone")
    said = graft(base=None)
    assert_refused(said, 2, "org/gone: no such repo, or a private one", "--from org/name")


def test_cards_that_lead_in_a_circle(hub: Hub, both: Pair) -> None:
    card(both.target, "org/tune")
    tune(hub, "org/tune", TARGET)
    with pytest.raises(UsageError, match=f"lead back to {TARGET}"):
        calls.base_of(Reference(TARGET))


def test_a_finding_names_the_command(both: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    card(both.target, BASE)
    assert main(["inspect", TARGET, "--vllm", "0.32.0", "--platform", "cuda"]) == 0
    said = "".join(capsys.readouterr())
    assert f"mtpfix graft {TARGET} --from {BASE}" in " ".join(said.split())


# --- a base that is none ---------------------------------------------------------------------


def test_a_gated_base(both: Pair, graft: Graft) -> None:
    both.base.gated = True
    said = graft()
    assert_refused(
        said, 2, f"base: {BASE}", "gated, and this login has no access", "ask for access"
    )


def test_a_vanished_base(hub: Hub, both: Pair, graft: Graft) -> None:
    del hub.repos[BASE]
    assert_refused(graft(), 2, f"{BASE}: no such repo, or a private one", "check the name")


def test_a_base_that_vanishes_meanwhile(hub: Hub, both: Pair, graft: Graft) -> None:
    def vanishes(handler: object) -> bool:
        handler.error(404, "RepoNotFound", "Repository not found")  # type: ignore[attr-defined]
        return True

    regions = base_regions(both.base)

    def fault(handler: object) -> bool:
        path = handler.path.partition("?")[0]  # type: ignore[attr-defined]
        asked = handler.headers["Range"]  # type: ignore[attr-defined]
        return regions.use(path, asked) == "block" and vanishes(handler)

    hub.faults[f"/cdn/{BASE}/"] = [fault] * 100
    assert_refused(graft(*PUSH), 2, f"base: {BASE}: 'model-0000", "no such repo")
    assert both.target.messages == []


def test_a_vanished_target(hub: Hub, both: Pair, graft: Graft) -> None:
    del hub.repos[TARGET]
    assert_refused(graft(), 2, f"{TARGET}: no such repo, or a private one", "check the name")


def test_a_gated_target(hub: Hub, both: Pair, graft: Graft) -> None:
    both.target.gated = True
    assert_refused(graft(), 2, f"{TARGET}: ", "gated, and this login has no access")


def test_a_wrong_token(both: Pair, graft: Graft) -> None:
    said = graft("--push-to-hub", "--token", "hf_" + "wrong" * 6)
    assert_refused(said, 2, "the token was refused", "hf auth login")
    assert "wrongwrong" not in said[2]


def test_the_base_is_the_target(both: Pair, graft: Graft) -> None:
    said = graft(base=TARGET)
    assert_refused(said, 2, "the base is the target itself", "give the model that it was made from")


def test_a_base_without_a_block(hub: Hub, both: Pair, graft: Graft) -> None:
    tune(hub, "org/tune", BASE)
    said = graft(base="org/tune")
    assert_refused(said, 1, "base: 'org/tune': it has no tensor of an MTP block", "--drop")


def test_a_base_of_another_family(hub: Hub, both: Pair, graft: Graft, tmp_path: Path) -> None:
    folder = materialise(CASES / "glm5-nvfp4-missing-layer" / "grafted", tmp_path / "glm")
    other = hub.repos["org/glm"] = Repo()
    other.commit({path.name: sparse(path.read_bytes()) for path in folder.iterdir()})
    said = graft(base="org/glm")
    assert_refused(said, 1, "the base is of another family", "not DeepSeek-V4", "made from")


def test_a_base_of_another_size(both: Pair, graft: Graft) -> None:
    config = pairs.config_of(Shape()) | {"hidden_size": 512}
    del config["quantization_config"]
    files = both.base.commits[both.base.branches["main"]]
    both.base.commit(files | {"config.json": pairs.document(config)})
    said = graft()
    assert_refused(said, 1, "hidden_size is 256 here and 512 in the base", "made from")


# --- offline -----------------------------------------------------------------------------------


def test_offline_the_cache_gives_the_block(
    hub: Hub, both: Pair, graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publish.quiet():
        snapshot_download(BASE)
    folder = pairs.write(tmp_path / "quantized", both.files())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    code, _, err = graft("--write", target=str(folder))
    assert (code, err) == (0, "")
    assert hub.requests == []
    made = folder / pairs.SHARD
    assert pairs.tensors_of(sparse(made.read_bytes())) == both.block


def test_offline_without_a_cache(
    both: Pair, graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pairs.write(tmp_path / "quantized", both.files())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = graft(target=str(folder))
    assert_refused(said, 2, f"{BASE}: not in the cache, and HF_HUB_OFFLINE is set", "unset")


def test_offline_nothing_is_pushed(
    hub: Hub, both: Pair, graft: Graft, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publish.quiet():
        for name in (BASE, TARGET):
            snapshot_download(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = graft(*PUSH)
    assert_refused(said, 2, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    assert both.target.messages == []


def test_a_hub_that_is_down(hub: Hub, both: Pair, graft: Graft) -> None:
    hub.faults["/api/models/"] = [server.status(503)] * 50
    assert_refused(graft(), 2, f"{TARGET}: ", "gave no answer", "try again later")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500])
@pytest.mark.parametrize("part", ["/api/", "/cdn/", "/lfs/", "/batch", "/preupload/", "/commit/"])
def test_no_error_of_the_hub_brings_the_token_back(
    hub: Hub, both: Pair, graft: Graft, part: str, status: int
) -> None:
    hub.faults[part] = [echo(status)] * 50
    code, _, err = graft(*PUSH)  # which looks for the token
    assert code in (2, 4)
    assert err.count("\n") == 2
    assert "internal error" not in err
    assert both.target.messages == []
