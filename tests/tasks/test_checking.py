from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.tasks.checking import check_data
from freelm.tasks.task import Task

TASK = Task.model_validate(
    {
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
)


def write(root: Path, split: str, **columns: Any) -> None:
    path = root / "teacher" / "toy" / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def said() -> list[str]:
    return []


def test_sound_data_have_no_problems(tmp_path: Path, said: list[str]) -> None:
    write(tmp_path, "train", text=["a", "b"], label=[0, 1])
    write(tmp_path, "test", text=["c"], label=[-1])
    assert check_data(TASK, tmp_path, 100, said.append) == []
    assert said == ["toy/test: 1 of 1 rows are sound", "toy/train: 2 of 2 rows are sound"]


def test_every_bad_row_is_named_with_its_fault(tmp_path: Path, said: list[str]) -> None:
    write(tmp_path, "train", text=["a", "b", "c", "d"], label=[0, 7, 1, 9])
    problems = check_data(TASK, tmp_path, 100, said.append)
    assert [p.split(":")[0] for p in problems] == ["toy/train/1", "toy/train/3"]
    assert all("label" in p for p in problems)
    assert said == ["toy/train: 2 of 4 rows are sound"]


def test_only_as_many_rows_as_asked_for_are_tried(tmp_path: Path, said: list[str]) -> None:
    write(tmp_path, "train", text=["a", "b", "c"], label=[0, 1, 7])
    assert check_data(TASK, tmp_path, 2, said.append) == []
    assert said == ["toy/train: 2 of 2 rows are sound"]


def test_a_bad_split_does_not_hide_the_others(tmp_path: Path, said: list[str]) -> None:
    write(tmp_path, "test", sentence=["a"], label=[0])
    write(tmp_path, "train", text=["c"], label=[1])
    problems = check_data(TASK, tmp_path, 100, said.append)
    assert len(problems) == 1
    assert "needs column 'text'; available: label, sentence" in problems[0]
    assert said == ["toy/train: 1 of 1 rows are sound"]


def test_a_sound_task_without_data_has_no_problem_and_says_so(
    tmp_path: Path, said: list[str]
) -> None:
    for root in (None, tmp_path):
        assert check_data(TASK, root, 100, said.append) == []
    assert said == ["toy: no data to check; give --data or source.files"] * 2
