import shutil

import pyarrow.parquet as pq
import pytest

import tiny_runs
from freelm.data.validation_rows import draw_rows, held_out_rows, unused_split_examples
from freelm.errors import DataError
from freelm.tasks import default_registry, load_rows


@pytest.fixture
def root(tmp_path):
    return tiny_runs.write_root(tmp_path / "root")


def splits(examples):
    return {example.id.split("/")[1] for example in examples}


def unreported(root, task, count=8):
    return unused_split_examples(default_registry().get(task), count, root)


def test_the_split_is_neither_trained_nor_reported_on(root):
    assert splits(unreported(root, "snli")) == {"validation"}  # reported on its test split
    assert splits(unreported(root, "stsb")) == {"test"}  # reported on its validation split
    assert unreported(root, "rte") == []  # has no other split


def test_any_other_split_will_do(root):
    folder = root / "teacher" / "rte"
    shutil.copy(folder / "validation.parquet", folder / "validation_other.parquet")
    assert splits(unreported(root, "rte")) == {"validation_other"}


def test_a_split_without_labels_is_passed_over(root):
    path = root / "teacher" / "snli" / "validation.parquet"
    tiny_runs.write_rows(path, [{**row, "label": -1} for row in pq.read_table(path).to_pylist()])
    assert unreported(root, "snli") == []
    shutil.copy(root / "teacher" / "snli" / "train.parquet", path.with_name("dev.parquet"))
    assert splits(unreported(root, "snli")) == {"dev"}


def test_a_wrong_label_names_its_row(root):
    path = root / "teacher" / "snli" / "validation.parquet"
    tiny_runs.write_rows(path, [{**row, "label": 9} for row in pq.read_table(path).to_pylist()])
    with pytest.raises(DataError, match=r"^snli/validation/\d+: label 9"):
        unreported(root, "snli")


def test_rows_are_drawn_the_same_every_time_and_not_in_the_order_of_the_file():
    drawn = draw_rows("some", 1000, 20)
    assert drawn == draw_rows("some", 1000, 20) == sorted(set(drawn))
    assert drawn != draw_rows("other", 1000, 20)
    assert drawn != list(range(20))
    assert set(drawn) < set(draw_rows("some", 1000, 40))


def test_no_more_than_a_fifth_of_the_training_rows_is_kept(root):
    rows = load_rows(default_registry().get("rte"), "train", root)
    assert len(held_out_rows(rows, 5)) == 5
    assert len(held_out_rows(rows, 1000)) == len(rows) // 5
    assert set(held_out_rows(rows, 5)) < set(held_out_rows(rows, 8))
