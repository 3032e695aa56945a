"""The definitions in docs/TASKS.md are sound, render rows, and the page names every key."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from freelm.tasks.definition import (
    Definition,
    Label,
    Licence,
    Options,
    Phrasing,
    Source,
    Statement,
)

PAGE = (Path(__file__).parents[2] / "docs" / "TASKS.md").read_text(encoding="utf-8")
BLOCKS = {
    re.search(r"name: (\w+)", block)[1]: block  # type: ignore[index]
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
}
ROWS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "tickets": {
        "tickets.csv": [{"subject": "Bill", "body": "Charged twice.", "queue": "billing"}],
        "tickets_test.csv": [{"subject": "", "body": "All is down.", "queue": "outage"}],
    },
    "feedback": {"feedback.csv": [{"message": "Again nothing works!", "mood": "angry"}]},
    "reports": {
        "reports.csv": [
            {"report": "The shop opens at ten.", "claim": "It opens.", "verdict": "yes"}
        ]
    },
    "support_topics": {"topics.jsonl": [{"message": "I lost my card.", "topic": "card"}]},
    "which_answer": {
        "questions.jsonl": [
            {"question": "Who?", "answer_a": "I", "answer_b": "you", "answer_c": "he", "right": 3}
        ]
    },
}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_definition_of_the_page_passes_its_check(cli: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yaml").write_text(BLOCKS[name], encoding="utf-8")
    for file, rows in ROWS[name].items():
        write_rows(tmp_path / file, rows)
    answer = cli("tasks", "check", tmp_path / f"{name}.yaml")
    assert answer.code == 0, answer.out + answer.err
    assert answer.err.count("1 of 1 rows are sound") == len(ROWS[name])


def test_the_page_names_every_key_of_a_definition() -> None:
    for part in (Definition, Label, Licence, Options, Phrasing, Source, Statement):
        for key in part.model_fields:
            if key != "path":  # set by the reader, not by the file
                assert re.search(rf"\b{key}\b", PAGE), f"{part.__name__}.{key}"
