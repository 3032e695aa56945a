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


def test_the_terminal_table_shows_every_cell():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table([ACCURACY, PERPLEXITY], "some model"))
    text = console.export_text()
    assert "some model" in text
    for cell in (*COLUMNS, *cells(ACCURACY), *cells(PERPLEXITY)):
        assert cell in text


def test_results_are_written_as_lines(tmp_path):
    folder = tmp_path / "a" / "b"
    write_results([ACCURACY, BARE], folder)
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["task"] for line in lines] == ["rte", "x"]


def test_facts_beyond_the_stated_keys_are_there_where_there_are_any():
    line = json.loads(replace(ACCURACY, suite="seen", variant="typos-5", note="n").as_json())
    assert list(line)[9:] == ["suite", "variant", "note"]


def test_figures_are_read_back(tmp_path):
    results = [ACCURACY, replace(PERPLEXITY, suite="language", spread=0.5, seeds=3), BARE]
    write_results(results, tmp_path)
    assert read_results(tmp_path) == results


@pytest.mark.parametrize("line", ["{", '{"task": "x"}', "[1]"])
def test_a_line_that_is_no_figure_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_text(f"{ACCURACY.as_json()}\n{line}\n")
    with pytest.raises(DataError, match=r"results\.jsonl, line 2: is not a figure"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "nowhere")


def test_seeds_are_averaged_with_their_spread():
    runs = [[replace(ACCURACY, value=v), BARE] for v in (0.60, 0.62, 0.67)]
    found, _ = average(runs)
    assert found.value == pytest.approx(0.63)
    assert found.spread == pytest.approx(0.0360555)  # sqrt((0.03^2 + 0.01^2 + 0.04^2) / 2)
    assert found.seeds == 3
    assert cells(found)[4] == "63.0 ± 3.6"


def test_the_interval_of_a_mean_is_for_other_items_and_other_seeds():
    runs = [[replace(ACCURACY, value=0.6, low=0.57, high=0.64, gain_low=0.05, gain_high=0.1)]]
    [same] = average([*runs, *runs])
    assert (same.low, same.high) == pytest.approx((0.57, 0.64))
    assert (same.gain_low, same.gain_high) == pytest.approx((0.05, 0.1))
    other = [replace(runs[0][0], value=0.62)]
    [apart] = average([*runs, other])
    # The mean of two values d apart: Student's t of one degree of freedom, 12.706, times d / 2.
    reach = 12.706 * 0.01
    assert apart.low == pytest.approx(0.61 - (0.03**2 + reach**2) ** 0.5, abs=1e-4)
    assert apart.high == pytest.approx(0.61 + (0.04**2 + reach**2) ** 0.5, abs=1e-4)
    assert apart.gain_low < 0


def test_the_gain_of_an_error_moves_against_it():
    mae = replace(BARE, value=1.0, low=0.9, high=1.1, majority=1.5, gain_low=0.4, gain_high=0.6)
    worse = replace(mae, value=1.2)
    [found] = average([[mae], [worse]])
    assert found.gain_low + found.gain_high == pytest.approx(2 * (1.5 - 1.1))


def test_what_not_every_run_measured_is_omitted_and_reported():
    said = []
    assert [r.task for r in average([[ACCURACY, BARE], [ACCURACY]], said.append)] == ["rte"]
    other = replace(ACCURACY, variant="typos-5", suite="robust")
    average([[ACCURACY, other], [ACCURACY]], said.append)
    average([[ACCURACY], [ACCURACY, other]], said.append)  # other suites of the other folder
    assert said == [
        "x: mae omitted: not measured in every evaluation",
        "rte (robust, typos-5): accuracy omitted: not measured in every evaluation",
    ]
    with pytest.raises(DataError, match="no figure in common"):
        average([[ACCURACY], [other]])
    assert average([[ACCURACY]]) == [ACCURACY]


def test_figures_of_unequally_many_rows_are_not_averaged():
    fewer = replace(ACCURACY, n=100)
    with pytest.raises(DataError, match="rte: accuracy cannot be averaged over 2,770 and 100 item"):
        average([[BARE, ACCURACY], [BARE, fewer]])
    with pytest.raises(DataError, match="over 100 and 2,770 items"):
        average([[BARE], [BARE, fewer], [ACCURACY]])
    changed = replace(fewer, variant="typos-5")
    assert [r.task for r in average([[ACCURACY, BARE], [changed, BARE]])] == [BARE.task]
