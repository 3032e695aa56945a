import json
from pathlib import Path

import pytest

import freelm.miniworld
from freelm.data.roots import check_root, list_root, resolve_data_root
from freelm.errors import DataError
from freelm.io.checksum import file_sha256


def test_no_root_named_is_no_root() -> None:
    assert resolve_data_root(None) is None


def test_a_named_root_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    named.mkdir()
    other.mkdir()
    monkeypatch.setenv("FREELM_DATA", str(other))
    assert resolve_data_root(None) == other
    assert resolve_data_root(named) == named
    assert resolve_data_root(str(named)) == named


def test_a_root_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        resolve_data_root(tmp_path / "nowhere")
    monkeypatch.setenv("FREELM_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="gone: no such folder"):
        resolve_data_root(None)


def test_miniworld_is_generated_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(root: Path) -> None:
        written.append(root.parent)
        (root / "MANIFEST.json").write_text("{}")

    monkeypatch.setattr(freelm.miniworld, "write_miniworld", write)
    first = resolve_data_root("miniworld")
    assert resolve_data_root("miniworld") == first
    assert first is not None
    assert written == [first.parent]
    assert first.is_relative_to(own_cache)


def test_listing_a_root_names_tasks_corpora_and_splits(tmp_path: Path) -> None:
    for name in ("teacher/b/train", "teacher/a/test", "teacher/a/train", "language/c/train"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "teacher" / "README.md").touch()
    assert list_root(tmp_path) == [
        {"kind": "language", "name": "c", "splits": ["train"]},
        {"kind": "teacher", "name": "a", "splits": ["test", "train"]},
        {"kind": "teacher", "name": "b", "splits": ["train"]},
    ]


def test_checking_a_root_finds_missing_and_changed_files(tmp_path: Path) -> None:
    for name in ("kept", "gone", "changed"):
        (tmp_path / name).write_bytes(name.encode())
    facts = [
        {"file": name, "sha256": file_sha256(tmp_path / name)}
        for name in ("kept", "gone", "changed")
    ]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"files": facts}))
    said: list[str] = []
    assert check_root(tmp_path, said.append) == []
    assert said == [f"{tmp_path}: 3 of 3 files are as the manifest says"]
    (tmp_path / "gone").unlink()
    (tmp_path / "changed").write_bytes(b"Changed")
    problems = check_root(tmp_path, said.append)
    assert problems == [
        f"{tmp_path / 'gone'}: is missing",
        f"{tmp_path / 'changed'}: differs from the manifest (checksum)",
    ]


def test_checking_a_root_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MANIFEST\.json: cannot be read"):
        check_root(tmp_path, print)


def test_a_manifest_that_lists_no_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.json").write_text("{}")
    with pytest.raises(DataError, match=r"MANIFEST\.json: lists no files"):
        check_root(tmp_path, print)
