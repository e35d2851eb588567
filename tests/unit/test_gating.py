"""Programs that save and upload: what may not pass raises, and nothing leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtpfix
from tools.forge import forge

VLLM = ("0.32.0",)
RIGHT = ("lm_head", r"re:^model\.mtp_layers\..*", r"re:^model\.layers\.2\..*")


class _SavingError(Exception):
    pass


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "saved"


def save(folder: Path, *, ignore: tuple[str, ...] = ("lm_head",), mtp: str = "bf16") -> None:
    """What `save_pretrained` would do."""
    forge("mimo", folder, "ct-fp8-channel", ignore=ignore, mtp=mtp)  # type: ignore[arg-type]


def test_what_was_saved_broken_raises(folder: Path) -> None:
    with (
        pytest.raises(mtpfix.GateError, match="MTP201") as caught,
        mtpfix.saving(folder, vllm=VLLM),
    ):
        save(folder)
    assert caught.value.exit_code == caught.value.report.exit_code == 1
    assert str(folder) in caught.value.message
    assert f"mtpfix inspect {folder}" in caught.value.remedy
    assert "\n" not in caught.value.message


def test_what_was_saved_broken_is_mended_where_asked(folder: Path) -> None:
    with mtpfix.saving(folder, vllm=VLLM, repair=True):
        save(folder)
    assert mtpfix.check(folder, vllm=VLLM).ok
    assert not list(folder.glob("*.bak"))


def test_what_was_saved_right_passes_untouched(folder: Path) -> None:
    with mtpfix.saving(folder, vllm=VLLM, repair=True):
        save(folder, ignore=RIGHT)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failed_save_is_not_judged(folder: Path) -> None:
    with pytest.raises(_SavingError), mtpfix.saving(folder, vllm=VLLM):
        raise _SavingError


def test_a_wrong_selection_is_told_before_the_work(folder: Path) -> None:
    with pytest.raises(mtpfix.UsageError), mtpfix.saving(folder, vllm=["no release"]):
        pytest.fail("hours of work came before")


def test_what_cannot_be_judged_does_not_pass(folder: Path) -> None:
    save(folder, ignore=RIGHT)
    with pytest.raises(mtpfix.GateError) as caught:
        mtpfix.open(folder, vllm=["0.99.0"]).gate()
    assert caught.value.exit_code == 3


def test_an_upload_is_sent_only_if_it_passes(folder: Path) -> None:
    sent = []

    def upload_folder(repo_id: str, *, folder_path: Path, path_in_repo: str = "") -> str:
        """Sends a folder."""
        sent.append((repo_id, folder_path, path_in_repo))
        return "url"

    gated = mtpfix.gated(upload_folder, vllm=VLLM)
    assert (gated.__name__, gated.__doc__) == ("upload_folder", "Sends a folder.")
    save(folder)
    with pytest.raises(mtpfix.GateError):
        gated("org/name", folder_path=folder)
    assert sent == []
    mtpfix.rewrite(folder, vllm=VLLM, write=True, backup=False)
    assert gated("org/name", folder_path=folder, path_in_repo="a") == "url"
    assert sent == [("org/name", folder, "a")]


def test_an_upload_without_a_folder_cannot_be_gated() -> None:
    with pytest.raises(mtpfix.UsageError, match="folder_path"):
        mtpfix.gated(print)
