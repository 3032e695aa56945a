import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from freelm.errors import ModelError
from freelm.model import cached
from freelm.model.cached import cached_folder


class Maker:
    """Writes two files and counts how often it was asked to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "weights").write_bytes(b"12345")
        (folder / "words").write_text("words")


@pytest.fixture
def maker() -> Maker:
    return Maker()


def new_process() -> None:
    """What is verified once per process is verified again."""
    cached._verified.clear()


def test_it_is_made_once(maker: Maker, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "place"
    assert cached_folder(place, maker) == cached_folder(place, maker) == place
    assert (maker.times, (place / "weights").read_bytes()) == (1, b"12345")


@pytest.mark.parametrize("content", [None, b"1234", b"", b"12346"])
def test_a_lost_or_changed_file_is_found_by_the_next_process(
    content: bytes | None, maker: Maker, tmp_path: Path
) -> None:
    weights = cached_folder(tmp_path / "place", maker) / "weights"
    if content is None:
        weights.unlink()
    else:
        weights.write_bytes(content)
    new_process()
    cached_folder(tmp_path / "place", maker)
    assert (maker.times, weights.read_bytes()) == (2, b"12345")


@pytest.mark.parametrize("sums", [None, "", "[]", "{"])
def test_a_folder_without_checksums_is_built_again(
    sums: str | None, maker: Maker, tmp_path: Path
) -> None:
    noted = cached_folder(tmp_path / "place", maker) / "checksums.json"
    if sums is None:
        noted.unlink()
    else:
        noted.write_text(sums)
    new_process()
    cached_folder(tmp_path / "place", maker)
    assert maker.times == 2


def test_files_are_hashed_once_per_process(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    own = cached.file_sha256
    cached_folder(tmp_path / "place", maker)
    new_process()
    monkeypatch.setattr(cached, "file_sha256", lambda path: hashed.append(path) or own(path))
    for _ in range(3):
        cached_folder(tmp_path / "place", maker)
    assert sorted(path.name for path in hashed) == ["weights", "words"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_cache_that_others_can_write_to_is_refused(
    mode: int, maker: Maker, own_cache: Path
) -> None:
    own_cache.mkdir()
    own_cache.chmod(mode)
    with pytest.raises(ModelError, match=r"other users can write to it; chmod go-w it, or FREELM"):
        cached_folder(own_cache / "place", maker)
    own_cache.chmod(0o755)
    cached_folder(own_cache / "place", maker)


def test_a_folder_of_the_cache_that_others_can_write_to_is_refused(
    maker: Maker, own_cache: Path
) -> None:
    place = cached_folder(own_cache / "releases" / "place", maker)
    place.parent.chmod(0o777)
    cached_folder(place, maker)  # nobody else gets past the cache folder
    own_cache.chmod(0o755)
    with pytest.raises(ModelError, match=r"releases: other users can write to it"):
        cached_folder(place, maker)


def test_a_cache_of_another_user_is_refused(
    maker: Maker, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_folder(own_cache / "place", maker)
    assert own_cache.stat().st_mode & 0o077 == 0
    owner = own_cache.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        cached_folder(own_cache / "place", maker)  # root is trusted
        os.chown(own_cache, 12345, -1)
    with pytest.raises(ModelError, match="belongs to another user"):
        cached_folder(own_cache / "place", maker)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_bytes(b"123")
        raise error

    with pytest.raises(ModelError, match=r"\(No space left on device\); FREELM_CACHE names"):
        cached_folder(tmp_path / "place", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["place.lock"]


def test_what_cannot_be_made_says_so_itself(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ModelError("checksum differs")

    with pytest.raises(ModelError, match=r"^checksum differs$"):
        cached_folder(tmp_path / "place", fail)
