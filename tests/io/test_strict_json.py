from pathlib import Path

import pytest

from freelm.errors import ConfigError, DataError
from freelm.io.strict_json import parse_json, read_json


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"ä": [1, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: cannot be read \(No such file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ConfigError, match=r"a\.json: cannot be read"):
        read_json(tmp_path / "a.json", ConfigError)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json: is not valid JSON"):
        read_json(tmp_path / "a.json")


def nested(depth: int) -> str:
    return '[{"a": ' * (depth // 2) + "1" + "}]" * (depth // 2)


def test_the_depth_is_bounded() -> None:
    assert parse_json(nested(64)) is not None
    for depth in (66, 900, 100_000):
        with pytest.raises(ValueError, match="nested more than 64 levels deep"):
            parse_json(nested(depth))
    assert parse_json("[" + ", ".join(["[]"] * 1000) + "]") == [[]] * 1000
