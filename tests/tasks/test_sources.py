import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from freelm.errors import DataError
from freelm.tasks.sources import Rows, available_splits, load_rows, overlapping_rows, read_source
from freelm.tasks.task import Task

DEFINITION: dict[str, Any] = {
    "name": "toy",
    "version": 1,
    "family": "toys",
    "question": "choice",
    "reference": "invented",
    "fields": {"text": "text"},
    "context": ["{text}"],
    "label": {"column": "label", "ids": {"no": 0, "yes": 1}},
    "phrasings": [{"name": "plain", "claims": {"no": "It is not so.", "yes": "It is so."}}],
    "metrics": ["accuracy"],
}
COLUMNS = {"text": ["one", "two", "three"], "label": [0, 1, 1], "other": [1, 2, 3]}


def task_of(**changes: Any) -> Task:
    return Task.model_validate({**DEFINITION, **changes})


def user_task(folder: Path, files: dict[str, str]) -> Task:
    """A task in a YAML file of the user's, with files named as given."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({**DEFINITION, "source": {"files": files}}))
    return Task.from_file(path)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_root(root: Path, columns: dict[str, Any] = COLUMNS, split: str = "train") -> Path:
    path = root / "teacher" / "toy" / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return root


# -- folders of `datasets` ------------------------------------------------------------------------


def save_dataset(folder: Path, shards: list[dict[str, Any]]) -> Path:
    """What `datasets.Dataset.save_to_disk` writes, by hand."""
    folder.mkdir()
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        table = pa.table(shard)
        with (
            pa.OSFile(str(folder / name), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_a_saved_dataset_is_read_shard_by_shard(tmp_path: Path) -> None:
    shards = [{"text": ["a", "b"], "label": [0, 1]}, {"text": ["c"], "label": [1]}]
    table = read_source(save_dataset(tmp_path / "saved", shards))
    assert table.to_pydict() == {"text": ["a", "b", "c"], "label": [0, 1, 1]}


def test_what_datasets_itself_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]})
    whole.select([2, 0]).save_to_disk(str(tmp_path / "saved"))
    assert read_source(tmp_path / "saved").to_pydict() == {"text": ["c", "a"], "label": [1, 0]}


def test_a_folder_that_is_no_saved_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"state\.json is missing"):
        read_source(tmp_path)
    for state in ("{", "{}", "[]"):
        write(tmp_path / "state.json", state)
        with pytest.raises(DataError, match=r"state\.json"):
            read_source(tmp_path)


def test_a_saved_dataset_with_a_lost_or_broken_shard_says_so(tmp_path: Path) -> None:
    folder = save_dataset(tmp_path / "saved", [{"text": ["a"]}])
    (shard,) = folder.glob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match="saved: cannot be read"):
        read_source(folder)
    shard.unlink()
    with pytest.raises(DataError, match="saved: cannot be read"):
        read_source(folder)


# -- splits and columns ---------------------------------------------------------------------------


def test_rows_hold_the_columns_that_the_task_reads(tmp_path: Path) -> None:
    rows = load_rows(task_of(), "train", write_root(tmp_path))
    assert isinstance(rows, Rows)
    assert len(rows) == 3
    assert rows.row(1) == {"text": "two", "label": 1}
    assert rows.origin == str(tmp_path / "teacher" / "toy" / "train.parquet")
    examples = list(rows.examples(rows.task.phrasings[0]))
    assert [e.id for e in examples] == ["toy/train/0", "toy/train/1", "toy/train/2"]
    assert examples[2] == rows.example(2, rows.task.phrasings[0])
    assert [e.target for e in examples] == [0, 1, 1]


def test_a_missing_column_names_those_that_exist(tmp_path: Path) -> None:
    write_root(tmp_path, {"sentence": ["a"], "label": [0]})
    with pytest.raises(
        DataError,
        match=r"train\.parquet: task 'toy' needs column 'text'; available: label, sentence",
    ):
        load_rows(task_of(), "train", tmp_path)


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    task = user_task(tmp_path, {"train": "a.csv"})
    write(tmp_path / "a.csv", "text,label,text\none,1,two\n")
    with pytest.raises(DataError, match=r"a\.csv: column 'text' appears twice"):
        load_rows(task, "train")


def test_a_missing_split_names_those_that_exist(tmp_path: Path) -> None:
    write_root(write_root(tmp_path), split="test")
    with pytest.raises(DataError, match=r"no split 'validation'; available: test, train"):
        load_rows(task_of(), "validation", tmp_path)
    task = user_task(tmp_path / "mine", {"train": "a.csv"})
    with pytest.raises(DataError, match=r"split 'test' not found .*; available: train"):
        load_rows(task, "test")


def test_a_task_without_data_says_how_to_give_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data root given .*FREELM_DATA.*none available"):
        load_rows(task_of(), "train")
    with pytest.raises(DataError, match=f"data root {tmp_path}"):
        load_rows(task_of(), "train", tmp_path)


def test_a_header_without_rows_says_so(tmp_path: Path) -> None:
    task = user_task(tmp_path, {"train": "a.csv"})
    write(tmp_path / "a.csv", "text,label\n")
    with pytest.raises(DataError, match=r"a\.csv: has no rows"):
        load_rows(task, "train")


def test_an_empty_split_says_so(tmp_path: Path) -> None:
    empty = {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}
    with pytest.raises(DataError, match=r"train\.parquet: has no rows"):
        load_rows(task_of(), "train", write_root(tmp_path, empty))


def test_files_are_found_beside_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = user_task(tmp_path / "mine", {"train": "data/a.csv", "test": "../b.jsonl"})
    (tmp_path / "mine" / "data").mkdir()
    write(tmp_path / "mine" / "data" / "a.csv", "text,label\none,1\n")
    write(tmp_path / "b.jsonl", '{"text": "two", "label": 0}\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_rows(task, "train").row(0) == {"text": "one", "label": "1"}
    assert load_rows(task, "test").row(0) == {"text": "two", "label": 0}
    assert available_splits(task) == ["test", "train"]


def test_a_data_root_comes_before_files_and_files_before_the_hub(tmp_path: Path) -> None:
    task = user_task(tmp_path / "mine", {"train": "a.csv"})
    write(tmp_path / "mine" / "a.csv", "text,label\nfile,1\n")
    assert load_rows(task, "train", tmp_path).row(0)["text"] == "file"
    write_root(tmp_path)
    assert load_rows(task, "train", tmp_path).row(0)["text"] == "one"
    assert available_splits(task, tmp_path) == ["train"]


def test_a_task_may_name_its_folder_in_the_root(tmp_path: Path) -> None:
    write_root(tmp_path)
    task = task_of(name="toy_again", source={"root": "toy"})
    assert len(load_rows(task, "train", tmp_path)) == 3


def test_the_hub_out_of_reach_is_one_line() -> None:
    pytest.importorskip("datasets")
    source = {"hub": {"path": "nobody/nothing", "config": "toy", "splits": {"train": "train"}}}
    task = task_of(source=source)
    assert available_splits(task) == ["train"]
    with pytest.raises(DataError, match="hub:nobody/nothing/toy:train: cannot be loaded") as caught:
        load_rows(task, "train")
    assert "\n" not in str(caught.value)


# -- overlaps -------------------------------------------------------------------------------------


def test_overlaps_of_the_training_file_are_found(tmp_path: Path) -> None:
    listed = [
        {"train_file": "teacher/toy/train.parquet", "train_row_numbers": [5, 2]},
        {"train_file": "teacher/other/train.parquet", "train_row_numbers": [1]},
        {"train_file": "teacher/toy/train.parquet", "train_row_numbers": [2, 9]},
    ]
    write(tmp_path / "overlaps.json", json.dumps({"overlaps": listed}))
    assert overlapping_rows(task_of(), tmp_path) == [2, 5, 9]
    again = task_of(name="toy_again", source={"root": "toy"})
    assert overlapping_rows(again, tmp_path) == [2, 5, 9]
    assert overlapping_rows(task_of(name="third"), tmp_path) == []


def test_without_a_list_nothing_overlaps(tmp_path: Path) -> None:
    assert overlapping_rows(task_of(), None) == []
    assert overlapping_rows(task_of(), tmp_path) == []
