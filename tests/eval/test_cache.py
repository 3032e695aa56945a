import os

import pytest

from freelm.errors import DataError
from freelm.eval.cache import NO_CACHE, ResultCache, read_cache

KEY = {"model": "m", "window": 8}


def number(line):
    if line["n"] < 0:
        raise ValueError(line)
    return int(line["n"])


@pytest.fixture
def file(tmp_path):
    """A file with three pieces."""
    path = tmp_path / "deep" / "kept.jsonl"
    for n in range(3):
        ResultCache(path, KEY).append([{"n": n}])
    return path


def test_pieces_are_read_back_in_their_order(file):
    before = file.read_bytes()
    assert ResultCache(file, KEY).read(number) == [0, 1, 2]
    assert file.read_bytes() == before


def test_nothing_is_read_without_a_cache(tmp_path):
    assert ResultCache(tmp_path / "none.jsonl", KEY).read(number) == []
    NO_CACHE.append([{"n": 1}])
    assert NO_CACHE.read(number) == []


def test_pieces_under_another_key_are_not_taken_over(file):
    other = ResultCache(file, {**KEY, "window": 9})
    assert other.read(number) == []
    other.append([{"n": 7}])
    assert other.read(number) == [7]
    assert ResultCache(file, KEY).read(number) == []


@pytest.mark.parametrize("lost", [1, 4])
def test_truncated_line_is_rewritten(file, lost):
    content = file.read_bytes()
    os.truncate(file, len(content) - lost)
    kept = ResultCache(file, KEY)
    assert kept.read(number) == [0, 1]
    kept.append([{"n": 2}])
    assert file.read_bytes() == content


def test_truncated_first_line_starts_over(file):
    for left in (0, 5, file.read_bytes().index(b"\n")):
        os.truncate(file, left)
        kept = ResultCache(file, KEY)
        assert kept.read(number) == []
        kept.append([{"n": 5}])
        assert kept.read(number) == [5]


@pytest.mark.parametrize(
    "line", [b"{", b"7", b"[]", b'{"m": 1}', b'{"n": -1}', b'{"n": "x"}', b"\xff\xfe"]
)
def test_a_damaged_line_is_an_error_that_names_the_file(file, line):
    content = file.read_bytes()
    file.write_bytes(content + line + b"\n")
    with pytest.raises(DataError, match=r"kept\.jsonl: has a damaged line; delete it"):
        ResultCache(file, KEY).read(number)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "in-the-way").write_text("")
    with pytest.raises(DataError, match=r"kept\.jsonl: cannot be written"):
        ResultCache(tmp_path / "in-the-way" / "kept.jsonl", KEY).append([{"n": 1}])


def test_the_pieces_of_any_key_can_be_read_and_the_file_stays(file):
    content = file.read_bytes()
    assert read_cache(file, number) == (KEY, [0, 1, 2])
    os.truncate(file, len(content) - 1)
    assert read_cache(file, number) == (KEY, [0, 1])
    assert file.read_bytes() == content[:-1]


@pytest.mark.parametrize("content", [b"", b"7\n", b'{"no": 1}\n', b"\xff\n", b'{"key": 1}\n'])
def test_a_file_that_holds_something_else_is_named(tmp_path, content):
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other\.jsonl: has a damaged line"):
        read_cache(path, number)
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        read_cache(tmp_path / "gone.jsonl", number)
