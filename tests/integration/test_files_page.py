"""The questions in docs/FILES.md can be asked, and their columns are those that the page names."""

import re
from pathlib import Path

import yaml

from freelm.files.columns import AnswerColumns
from freelm.judge.questions import parse_questions

PAGE = (Path(__file__).parents[2] / "docs" / "FILES.md").read_text(encoding="utf-8")


def test_the_page_names_the_columns_of_its_questions() -> None:
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block
    asked = parse_questions(yaml.safe_load(block[1]))
    assert list(asked) == ["angry", "topic", "urgency"]
    columns = AnswerColumns.of_named(asked, "").columns
    for name, question in asked.items():
        options = getattr(question, "labels", ()) or getattr(question, "levels", ())
        own = [column for column in columns if column.startswith(f"{name}_")]
        assert own
        for column in own:
            shown = re.sub(f"_({'|'.join(options)})$", "_<", column) if options else column
            assert f"`{shown.removeprefix(f'{name}_')}" in PAGE, column
