"""The way to the base over the Hub: few bytes, and what cannot be read is told."""

from __future__ import annotations

from mtpfix.checkpoint.base_model import Trail, follow
from mtpfix.checkpoint.hub import HubSource
from mtpfix.checkpoint.source import Source
from tests.hub.conftest import NAME
from tests.hub.server import Hub, Repo, sparse


def trail() -> Trail:
    def has_block(source: Source) -> bool:
        return "mtp.safetensors" in source.list()

    return follow(HubSource(NAME), HubSource, has_block)


def add(hub: Hub, name: str, base: str = "", *files: str) -> Repo:
    repo = hub.repos[name] = Repo()
    card = {"README.md": sparse(f"---\nbase_model: {base}\n---\n".encode())} if base else {}
    repo.commit(card | {name: sparse(b"") for name in files})
    return repo


def test_a_chain_is_followed(hub: Hub) -> None:
    add(hub, NAME, "org/tune")
    add(hub, "org/tune", "org/base")
    base = add(hub, "org/base", "", "mtp.safetensors")
    found = trail()
    assert (found.donor, found.revision) == ("org/base", base.branches["main"])
    assert [(visit.name, visit.found) for visit in found.visits] == [
        ("org/tune", "no block"),
        ("org/base", "block"),
    ]
    asked = [path for _, path, _ in hub.requests if "/org/" in path]
    assert len(asked) == 5  # what each of the three holds, and two cards


def test_a_gated_base_that_only_its_card_tells(hub: Hub) -> None:
    add(hub, NAME, "org/tune")
    add(hub, "org/tune", "org/base").gated = True
    found = trail()
    assert found.donor is None
    assert "gated" in found.reason


def test_a_private_base(hub: Hub) -> None:
    add(hub, NAME, "org/tune")
    add(hub, "org/tune").private = True
    found = trail()
    assert (found.donor, found.visits[0].found) == (None, "unreadable")
    assert found.reason == "org/tune: no such repo, or a private one"
