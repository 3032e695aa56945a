import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from freelm.errors import CacheError, ModelError
from freelm.io import cache
from freelm.io.cache import cache_dir, cached_folder


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FREELM_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.setenv("FREELM_CACHE", "")
    assert cache_dir().name == "freelm"


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
    cache._verified.clear()


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
    own = cache.file_sha256
    cached_folder(tmp_path / "place", maker)
    new_process()
    monkeypatch.setattr(cache, "file_sha256", lambda path: hashed.append(path) or own(path))
    for _ in range(3):
        cached_folder(tmp_path / "place", maker)
    assert sorted(path.name for path in hashed) == ["weights", "words"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_cache_that_others_can_write_to_is_refused(
    mode: int, maker: Maker, own_cache: Path
) -> None:
    own_cache.mkdir()
    own_cache.chmod(mode)
    with pytest.raises(CacheError, match=r"other users can write to it; chmod go-w it"):
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
    with pytest.raises(CacheError, match=r"releases: other users can write to it"):
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
    with pytest.raises(CacheError, match="belongs to another user"):
        cached_folder(own_cache / "place", maker)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_bytes(b"123")
        raise error

    with pytest.raises(CacheError, match=r"\(No space left on device\); set FREELM_CACHE"):
        cached_folder(tmp_path / "place", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["place.lock"]


def test_impossible_outputs_raise_a_clear_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ModelError("checksum differs")

    with pytest.raises(ModelError, match=r"^checksum differs$"):
        cached_folder(tmp_path / "place", fail)


# -- several processes ----------------------------------------------------------------------------


def make_slowly(folder: Path, log: Path, barrier: Any) -> None:
    """Ask for a folder together with others; whoever makes it adds a line to the log."""

    def make(new: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        (new / "weights").write_bytes(bytes(10_000_000))

    barrier.wait()
    cached_folder(folder, make)
    assert (folder / "weights").stat().st_size == 10_000_000


def test_of_several_processes_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    arguments = (tmp_path / "place", tmp_path / "log", barrier)
    processes = [context.Process(target=make_slowly, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_a_killed_process_left_is_removed(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / ".writing-place-1234").mkdir()
    (tmp_path / ".writing-other-1234").mkdir()
    cached_folder(tmp_path / "place", maker)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".writing-other-1234",
        "place",
        "place.lock",
    ]


def test_files_in_folders_are_checked_too(tmp_path: Path) -> None:
    def make(new: Path) -> None:
        (new / "a").mkdir()
        (new / "a" / "b").write_text("12")

    inner = cached_folder(tmp_path / "place", make) / "a" / "b"
    inner.unlink()
    cached_folder(tmp_path / "place", make)
    assert inner.read_text() == "12"
