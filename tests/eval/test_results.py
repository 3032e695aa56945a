import json

import pytest
from rich.console import Console

from freelm.eval.results import (
    COLUMNS,
    Result,
    cells,
    markdown_table,
    shown,
    terminal_table,
    write_results,
)

ACCURACY = Result("rte", "entailment", "validation", "accuracy", 0.61234, 2770, 0.59, 0.631, 0.527)
PERPLEXITY = Result("novels", "language", "test", "perplexity", 21.98765, 12345, 20.5, 23.25, None)
BARE = Result("x", "y", "test", "mae", 1.0, 3, None, None, None)


def test_one_figure_is_one_line_of_json_with_exactly_these_keys():
    line = ACCURACY.as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "task": "rte",
        "family": "entailment",
        "split": "validation",
        "metric": "accuracy",
        "value": 0.61234,
        "n": 2770,
        "low": 0.59,
        "high": 0.631,
        "majority": 0.527,
    }
    assert json.loads(BARE.as_json())["low"] is None


def test_shares_are_shown_in_percent_and_the_rest_as_they_are():
    assert cells(ACCURACY) == (
        "rte", "entailment", "validation", "accuracy", "61.2", "59.0 - 63.1", "52.7", "2,770",
    )  # fmt: skip
    assert cells(PERPLEXITY)[4:] == ("21.988", "20.500 - 23.250", "", "12,345")
    assert cells(BARE)[4:] == ("1.000", "", "", "3")


@pytest.mark.parametrize(
    ("metric", "text"), [("mcc", "50.0"), ("brier", "0.500"), ("ece", "0.500")]
)
def test_which_metrics_are_percentages(metric, text):
    assert shown(Result("t", "f", "s", metric, 0.5, 1, None, None, None), 0.5) == text


def test_markdown_has_a_row_per_figure_and_as_many_cells_as_columns():
    lines = markdown_table([ACCURACY, BARE]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert lines[2] == (
        "| rte | entailment | validation | accuracy | 61.2 | 59.0 - 63.1 | 52.7 | 2,770 |"
    )


def test_the_terminal_table_shows_every_cell():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table([ACCURACY, PERPLEXITY], "some model"))
    text = console.export_text()
    assert "some model" in text
    for cell in (*COLUMNS, *cells(ACCURACY), *cells(PERPLEXITY)):
        assert cell in text


def test_results_are_written_as_lines_and_as_a_table(tmp_path):
    folder = tmp_path / "a" / "b"
    write_results([ACCURACY, BARE], folder, "Evaluation of m", "Model `m`.")
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["task"] for line in lines] == ["rte", "x"]
    page = (folder / "results.md").read_text()
    assert page == f"# Evaluation of m\n\nModel `m`.\n\n{markdown_table([ACCURACY, BARE])}"
