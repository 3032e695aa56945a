import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from freelm.io import atomic
from freelm.io.atomic import apply_umask, atomic_file, atomic_folder, atomic_write


@pytest.fixture
def open_umask():
    """Files are made readable for all, as on most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    with atomic_folder(place) as new:
        (new / "old").touch()
        assert not place.exists()
    with atomic_folder(place) as new:
        (new / "new").touch()
        assert names(place) == ["old"]
    assert names(place) == ["new"]
    assert names(place.parent) == ["place"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with atomic_folder(place) as new:
        (new / "old").touch()
    with suppress(ValueError), atomic_folder(place) as new:
        (new / "new").touch()
        raise ValueError("halfway")
    assert names(tmp_path) == ["place"]
    assert names(place) == ["old"]


@pytest.mark.usefixtures("open_umask")
def test_others_can_read_it(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "place") as new:
        save_file({"x": torch.zeros(2)}, new / "model.safetensors")
    assert mode(tmp_path / "place") == 0o755
    assert mode(tmp_path / "place" / "model.safetensors") == 0o644


def test_nobody_can_read_more_than_the_user_wants(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    before = os.umask(0o077)
    try:
        apply_umask(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / "model.safetensors") == 0o600
    assert names(tmp_path) == ["model.safetensors"]


# -- files ----------------------------------------------------------------------------------------


def test_a_file_is_created_with_its_folder_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    atomic_write(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert names(path.parent) == ["file"]


def test_the_longest_file_name_works(tmp_path: Path) -> None:
    atomic_write(tmp_path / ("x" * 255), "1")
    assert names(tmp_path) == ["x" * 255]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic_write(tmp_path / "file", "old")
    with suppress(ValueError), atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ValueError("halfway")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_content_is_on_disk_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    own_fsync, own_replace = atomic.fsync, os.replace

    def fsync(path: Path) -> None:
        events.append("folder" if path == tmp_path else "file")
        own_fsync(path)

    def replace(source: Path, target: Path) -> None:
        events.append("rename")
        own_replace(source, target)

    monkeypatch.setattr(atomic, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write(tmp_path / "file", "1")
    assert events == ["file", "rename", "folder"]


# -- a rename that fails --------------------------------------------------------------------------


def fail_renames(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Let the n-th calls of `os.replace` from now on fail."""
    own, calls = os.replace, iter(range(1, 99))

    def replace(source: Path, target: Path) -> None:
        if next(calls) in numbers:
            raise OSError(errno.EIO, "Input/output error", str(source))
        own(source, target)

    monkeypatch.setattr(os, "replace", replace)


def replaced(place: Path) -> None:
    with atomic_folder(place) as new:
        (new / "new").touch()


@pytest.mark.parametrize("number", [1, 2])
def test_the_old_folder_survives_a_failed_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    fail_renames(monkeypatch, number)
    with pytest.raises(OSError, match="Input/output error"):
        replaced(place)
    assert names(tmp_path) == ["place"]
    assert names(place) == ["old"]


def test_the_old_folder_is_not_deleted_even_if_it_cannot_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    fail_renames(monkeypatch, 2, 3)
    with pytest.raises(OSError, match="Input/output error") as caught:
        replaced(place)
    assert names(Path(caught.value.filename)) == ["old"]
