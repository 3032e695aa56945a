import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from freelm.io.folders import let_others_read, written_whole


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
    with written_whole(place) as beside:
        (beside / "old").touch()
        assert not place.exists()
    with written_whole(place) as beside:
        (beside / "new").touch()
        assert names(place) == ["old"]
    assert names(place) == ["new"]
    assert names(place.parent) == ["place"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with written_whole(place) as beside:
        (beside / "old").touch()
    with suppress(ValueError), written_whole(place) as beside:
        (beside / "new").touch()
        raise ValueError("halfway")
    assert names(tmp_path) == ["place"]
    assert names(place) == ["old"]


@pytest.mark.usefixtures("open_umask")
def test_others_can_read_it(tmp_path: Path) -> None:
    with written_whole(tmp_path / "place") as beside:
        save_file({"x": torch.zeros(2)}, beside / "model.safetensors")
    assert mode(tmp_path / "place") == 0o755
    assert mode(tmp_path / "place" / "model.safetensors") == 0o644


def test_nobody_can_read_more_than_the_user_wants(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    before = os.umask(0o077)
    try:
        let_others_read(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / "model.safetensors") == 0o600
    assert names(tmp_path) == ["model.safetensors"]
