from pathlib import Path

import pytest

from freelm.errors import ConfigError, DataError
from freelm.io.strict_json import read_json


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
