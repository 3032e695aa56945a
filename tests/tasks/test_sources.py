import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import freelm.tasks.sources as sources_module
from freelm.errors import DataError
from freelm.tasks.sources import Rows, available_splits, load_rows, overlapping_rows, read_table
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


# -- CSV ------------------------------------------------------------------------------------------


def test_csv_cells_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n007,1\n1e5,0\ntrue,1\n2020-01-01,0\nNA,1\n,0\n")
    assert read_table(path).to_pydict() == {
        "text": ["007", "1e5", "true", "2020-01-01", "NA", ""],
        "label": ["1", "0", "1", "0", "1", "0"],
    }


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufefftext,label\nä語,1\n")
    assert read_table(path).to_pydict() == {"text": ["ä語"], "label": ["1"]}


def test_quoted_cells_may_hold_newlines_commas_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\n\ntwo, ""three""",1\nfour,0\n')
    assert read_table(path)["text"].to_pylist() == ['one\n\ntwo, "three"', "four"]


def test_quoted_newlines_may_stand_where_the_reader_cuts_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "_block_size", lambda path: 500)
    texts = [f"{n}\n" * (1 + n % 40) for n in range(300)]
    content = "text,label\n" + "".join(f'"{text}",1\n' for text in texts)
    assert read_table(write(tmp_path / "a.csv", content))["text"].to_pylist() == texts


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\r\none,1\r\n")
    assert read_table(path).to_pydict() == {"text": ["one"], "label": ["1"]}


def test_csv_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nsüß,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv: cannot be read as CSV: is not UTF-8 text"):
        read_table(path)


def test_a_header_without_rows_says_so(tmp_path: Path) -> None:
    task = user_task(tmp_path, {"train": "a.csv"})
    write(tmp_path / "a.csv", "text,label\n")
    with pytest.raises(DataError, match=r"a\.csv: has no rows"):
        load_rows(task, "train")


def test_a_row_with_too_few_cells_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\none,1\ntwo\n")
    with pytest.raises(
        DataError, match=r"a\.csv: cannot be read as CSV: .*Expected 2 columns, got 1"
    ):
        read_table(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_of_some_megabytes_is_read(tmp_path: Path, kind: str) -> None:
    novel = "a cat sleeps; " * 300_000
    rows = [("one", 1), (novel, 0), ("two", 1)]
    if kind == "csv":
        content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    else:
        content = "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows)
    found = read_table(write(tmp_path / f"a.{kind}", content))
    assert found["text"].to_pylist() == ["one", novel, "two"]


# -- JSON lines and Parquet -----------------------------------------------------------------------


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    rows = [{"text": "007", "label": 1, "more": {"deep": ["x"]}}, {"text": "ä\n", "label": 0}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).to_pylist() == [rows[0], {**rows[1], "more": None}]


def test_json_text_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "2020-01-01", "options": ["2020-01-01"], "more": {"day": "2021-01-01"}, "n": 1},
        {"text": "2021-05-05 10:00:00", "options": [], "more": {"day": "2021-01-02"}, "n": 2},
    ]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).to_pylist() == rows


@pytest.mark.parametrize(
    "content", ['{"text": "one"\n', "not json\n", '[{"text": "one"}]\n', '{"text": "\xff"}\n']
)
def test_broken_json_lines_are_named(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.jsonl", content.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be read as JSON lines"):
        read_table(path)


def test_parquet_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["007"], "label": [1]}), path)
    assert read_table(path).to_pydict() == {"text": ["007"], "label": [1]}


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for bad in (content[:100], b"text,label\n"):
        path = write(tmp_path / "a.parquet", bad)
        with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
            read_table(path)


# -- files in general -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_an_empty_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no such file"):
        read_table(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: is empty"):
        read_table(write(tmp_path / name, b""))


@pytest.mark.parametrize("name", ["a.xlsx", "a.txt", "a.pkl", "a"])
def test_an_unknown_kind_of_file_names_those_that_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"unknown file type; available: \.csv, .*\.parquet"):
        read_table(write(tmp_path / name, b"x"))


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
    table = read_table(save_dataset(tmp_path / "saved", shards))
    assert table.to_pydict() == {"text": ["a", "b", "c"], "label": [0, 1, 1]}


def test_what_datasets_itself_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]})
    whole.select([2, 0]).save_to_disk(str(tmp_path / "saved"))
    assert read_table(tmp_path / "saved").to_pydict() == {"text": ["c", "a"], "label": [1, 0]}


def test_a_folder_that_is_no_saved_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"state\.json is missing"):
        read_table(tmp_path)
    for state in ("{", "{}", "[]"):
        write(tmp_path / "state.json", state)
        with pytest.raises(DataError, match=r"state\.json"):
            read_table(tmp_path)


def test_a_saved_dataset_with_a_lost_or_broken_shard_says_so(tmp_path: Path) -> None:
    folder = save_dataset(tmp_path / "saved", [{"text": ["a"]}])
    (shard,) = folder.glob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match="saved: cannot be read"):
        read_table(folder)
    shard.unlink()
    with pytest.raises(DataError, match="saved: cannot be read"):
        read_table(folder)


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
    with pytest.raises(DataError, match=r"a\.csv: two columns are called 'text'"):
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
