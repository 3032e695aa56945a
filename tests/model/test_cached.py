from pathlib import Path

import pytest
from safetensors import SafetensorError

from freelm.errors import ModelError
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


def test_it_is_made_once(maker: Maker, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "place"
    assert cached_folder(place, maker) == cached_folder(place, maker) == place
    assert (maker.times, (place / "weights").read_bytes()) == (1, b"12345")


@pytest.mark.parametrize("content", [None, b"1234", b""])
def test_a_file_that_is_lost_or_cut_short_makes_it_anew(
    content: bytes | None, maker: Maker, tmp_path: Path
) -> None:
    weights = cached_folder(tmp_path / "place", maker) / "weights"
    if content is None:
        weights.unlink()
    else:
        weights.write_bytes(content)
    cached_folder(tmp_path / "place", maker)
    assert (maker.times, weights.read_bytes()) == (2, b"12345")


@pytest.mark.parametrize("sizes", [None, "", "[]", "{"])
def test_a_folder_of_which_nobody_knows_the_sizes_is_made_anew(
    sizes: str | None, maker: Maker, tmp_path: Path
) -> None:
    noted = cached_folder(tmp_path / "place", maker) / "sizes.json"
    if sizes is None:
        noted.unlink()
    else:
        noted.write_text(sizes)
    cached_folder(tmp_path / "place", maker)
    assert maker.times == 2


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
