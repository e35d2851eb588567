"""Paths and URIs of a target's files."""

from __future__ import annotations

import pytest

from mtpfix.model import Target
from mtpfix.report import file_paths


@pytest.mark.parametrize(
    ("folder", "path", "uri"),
    [
        (".", "config.json", "config.json"),
        ("./a/../b/", "b/config.json", "b/config.json"),
        ("../b", "../b/config.json", "../b/config.json"),
        ("/srv/model", "/srv/model/config.json", "file:///srv/model/config.json"),
        ("a b#c?d%", "a b#c?d%/config.json", "a%20b%23c%3Fd%25/config.json"),
        ("c:d", "c:d/config.json", "./c:d/config.json"),
        ("é\n", "é\n/config.json", "%C3%A9%0A/config.json"),
        ("\udc80", "\udc80/config.json", "%80/config.json"),
        ("\ud800", "\ud800/config.json", "%EF%BF%BD/config.json"),
    ],
)
def test_a_folder(folder: str, path: str, uri: str) -> None:
    found = file_paths.path(Target("local", folder), "config.json")
    assert found == path
    assert file_paths.uri(path) == uri


def test_a_repository_has_no_path() -> None:
    target = Target("hub", "acme/x", "refs/pr/1")
    assert file_paths.path(target, "config.json") is None
    assert file_paths.base(target) == "hf://acme/x@refs%2Fpr%2F1/"
