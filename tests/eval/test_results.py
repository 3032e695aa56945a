import json
from dataclasses import replace

import pytest
from rich.console import Console

from freelm.errors import DataError
from freelm.eval.results import (
    COLUMNS,
    Result,
    average,
    cells,
    markdown_table,
    read_results,
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


def test_facts_beyond_the_stated_keys_are_there_where_there_are_any():
    line = json.loads(replace(ACCURACY, suite="seen", variant="typos-5", note="n").as_json())
    assert list(line)[9:] == ["suite", "variant", "note"]


def test_figures_are_read_back(tmp_path):
    results = [ACCURACY, replace(PERPLEXITY, suite="language", spread=0.5, seeds=3), BARE]
    write_results(results, tmp_path, "t", "f")
    assert read_results(tmp_path) == results


@pytest.mark.parametrize("line", ["{", '{"task": "x"}', "[1]"])
def test_a_line_that_is_no_figure_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_text(f"{ACCURACY.as_json()}\n{line}\n")
    with pytest.raises(DataError, match=r"results\.jsonl, line 2: is no figure"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "nowhere")


def test_seeds_are_averaged_with_their_spread():
    runs = [[replace(ACCURACY, value=v), BARE] for v in (0.60, 0.62, 0.67)]
    found, _ = average(runs)
    assert found.value == pytest.approx(0.63)
    assert found.spread == pytest.approx(0.0360555)  # sqrt((0.03^2 + 0.01^2 + 0.04^2) / 2)
    assert found.seeds == 3
    assert found.high - found.low == pytest.approx(ACCURACY.high - ACCURACY.low)
    assert cells(found)[4] == "63.0 ± 3.6"


def test_what_not_every_run_measured_is_left_out_of_the_average():
    assert [r.task for r in average([[ACCURACY, BARE], [ACCURACY]])] == ["rte"]
    other = replace(ACCURACY, variant="typos-5")
    assert average([[ACCURACY], [other]]) == []
    assert average([[ACCURACY]]) == [ACCURACY]


def test_figures_of_unequally_many_rows_are_not_averaged():
    fewer = replace(ACCURACY, n=100)
    with pytest.raises(DataError, match="rte: accuracy cannot be averaged over 2,770 and 100 item"):
        average([[BARE, ACCURACY], [BARE, fewer]])
    with pytest.raises(DataError, match="over 100 and 2,770 items"):
        average([[BARE], [BARE, fewer], [ACCURACY]])
    changed = replace(fewer, variant="typos-5")
    assert [r.task for r in average([[ACCURACY, BARE], [changed, BARE]])] == [BARE.task]
