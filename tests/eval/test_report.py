import numpy as np
import pytest

from freelm.eval.calibration import evaluate_calibration
from freelm.eval.page import as_html, as_markdown
from freelm.eval.paired import Comparison
from freelm.eval.references import load_references
from freelm.eval.report import Evaluation, report, write_report
from freelm.eval.results import Result
from freelm.eval.suites import Setting
from freelm.eval.summary import beats_constant, first_metrics, summary
from freelm.tasks import default_registry


def figure(task, value, metric="accuracy", low=None, high=None, majority=0.5, suite="seen", **more):
    low, high = (value - 0.03 if low is None else low), (value + 0.03 if high is None else high)
    split = more.pop("split", "validation")
    return Result(task, "entailment", split, metric, value, 277, low, high, majority, suite, **more)


RESULTS = [
    figure("rte", 0.66),
    figure("rte", 0.2, "brier"),
    figure("sst2", 0.90, note="first rows"),
    figure("wnli", 0.51),
    figure("cb", 0.49, suite="unseen"),
    figure("ag_news", 0.8, suite="decisions", split="test"),
    figure("ag_news", 41.5, "latency_ms", suite="decisions", split="test", majority=None),
    figure("rte", 0.66, suite="robust", variant="original"),
    figure("rte", 0.60, suite="robust", variant="typos-20", spread=0.01, seeds=3),
    figure("rte", 0.52, suite="robust", variant="words-shuffled", note="control; a change"),
    figure("rte", 0.12, "ece", suite="calibration", variant="before temperature"),
    figure("rte", 0.04, "ece", suite="calibration", variant="after temperature"),
    Result("novels", "language", "test", "perplexity", 22.5, 999, 22.0, 23.0, None, "language"),
    Result("novels", "language", "test", "bits_per_byte", 0.98, 999, 0.9, 1.0, None, "language"),
]
FACTS = {
    "model": "runs/x/model",
    "record": {"tasks": {"rte": {}, "sst2": {}, "wnli": {}}, "seed": 3},
    "temperature": 1.7,
    "command": "freelm eval runs/x/model --suite all",
    "code": {"freelm": "0.1.0", "commit": "abc123"},
}


@pytest.fixture(scope="module")
def references():
    return load_references()


@pytest.fixture(scope="module")
def page(references):
    return report(Evaluation(RESULTS, FACTS, left_out=["qnli: left out: no rows"]), references)


# -- the first screen ------------------------------------------------------------------------------


def test_the_summary_says_how_good_and_at_what_it_is_bad(references):
    text = "\n".join(summary(RESULTS, references))
    assert "Tasks it was trained on: on 2 of 3 significantly better" in text
    assert "Best at sst2 (90), rte (66)." in text
    assert "Bad at wnli (51)" in text
    assert "Bad at cb (49)" in text
    assert "typos-20 costs most: -6.0 points" in text
    assert "in random order: -14.0 points" in text
    assert "0.040 on average over 1 tasks (0.120 before" in text
    assert "ag_news 42 ms" in text
    assert "novels 22.50 (0.980 bits per byte)" in text
    assert "Against GPT-3 175B (zero-shot), tasks seen: not significantly different on rte" in text


def test_the_summary_is_the_first_thing_on_the_page(page):
    lines = as_markdown(page).splitlines()
    assert lines[0] == "# Evaluation of runs/x/model"
    assert lines[2].startswith("- Tasks it was trained on")


def test_better_means_the_whole_interval():
    assert beats_constant(figure("a", 0.56))
    assert not beats_constant(figure("a", 0.52))
    assert beats_constant(figure("a", 0.2, "brier", majority=0.25))
    assert not beats_constant(figure("a", 0.3, "brier", majority=0.25))
    assert not beats_constant(figure("a", 0.9, majority=None))


def test_the_first_metric_of_each_task_counts():
    assert [r.metric for r in first_metrics(RESULTS, "seen")] == ["accuracy"] * 3


def test_nothing_measured_of_a_suite_says_nothing_of_it(references):
    assert summary([figure("mine", 0.8, suite=None)], references) == [
        "Tasks asked for: on 1 of 1 significantly better than the best answer that ignores the "
        "text; mean accuracy of 1 of them 80.0, where that answer has 50.0.",
        "Best at mine (80).",
    ]


def test_when_nothing_is_bad_the_least_good_is_named(references):
    many = [figure(f"t{i}", 0.6 + 0.02 * i, suite="seen") for i in range(8)]
    text = "\n".join(summary(many, references))
    assert "Best at t7 (74), t6 (72)" in text
    assert "Least at t1 (62), t0 (60)." in text


def test_figures_without_a_constant_answer_are_called_neither_good_nor_bad(references):
    theirs = figure("freelm_rte", 0.7, "acc", suite="lm-eval", majority=None)
    text = as_markdown(report(Evaluation([theirs], {"model": "m"}), references))
    assert "## lm-evaluation-harness" in text
    assert "| freelm_rte | entailment | validation | acc | 70.0 |" in text
    assert "without the text:" not in text


# -- the sections ----------------------------------------------------------------------------------


def test_published_figures_stand_beside_ours_with_their_setting(page):
    text = as_markdown(page)
    assert "| rte | accuracy | 66.0 (63.0 - 69.0) | GPT-3 175B | 175B | zero-shot | 63.5 |" in text
    assert "no significant difference from GPT-3 175B (zero-shot, 63.5)" in text
    assert "another setting" in text
    assert "78.3" not in text  # FLAN's RTE was only recalled


def test_the_decision_bench_is_shown_without_a_claim(page):
    text = as_markdown(page)
    assert "no difference is claimed" in text
    assert "| ag_news | accuracy | 80.0 | 77.0 - 83.0 | Jev 1.13 (hosted) | 88.5 |" in text


def test_how_the_figures_were_made_is_there(page):
    text = as_markdown(page)
    for words in (
        "freelm eval runs/x/model --suite all", "commit abc123", "training: seed | 3",
        "rte, sst2, wnli", "qnli: left out: no rows",
    ):  # fmt: skip
        assert words in text


def test_every_figure_is_in_the_tables(page):
    text = as_markdown(page)
    for result in RESULTS:
        assert f"| {result.task} |" in text
    assert "60.0 ± 1.0" in text


def test_comparisons_and_learning_curves(references):
    compared = [Comparison("rte", "validation", "accuracy", 0.7, 0.6, 0.1, 0.02, 0.2, 0.003, 277)]
    learning = [{"tokens": 10, "language_loss": 3.0}, {"tokens": 10, "teacher_loss": 0.7}]
    page = report(
        Evaluation(RESULTS, FACTS, comparisons={"other": compared}, learning=learning), references
    )
    text = as_markdown(page)
    assert "## Against other" in text
    assert "rte, accuracy: significantly better (0.700 against 0.600 on 277 items)" in text
    assert "plots/learning.svg" in text


def test_an_evaluation_of_one_task_has_a_report(references):
    found = report(Evaluation([figure("mine", 0.5, suite=None)], {"model": "m"}), references)
    assert "## Tasks" in as_markdown(found)
    assert "## Robustness" not in as_markdown(found)


def test_a_score_task_without_shares_has_a_table_and_no_plot(references):
    found = report(Evaluation([figure("mine", 1.2, "mae", suite=None)], {"model": "m"}), references)
    assert "| mine |" in as_markdown(found)
    assert "svg" not in as_markdown(found)


def test_curves_of_a_real_suite_are_drawn_and_the_page_opens_without_network(
    model, world, tmp_path, references
):
    details = []
    tasks = [default_registry().get("miniworld_topic")]
    results = evaluate_calibration(model, tasks, Setting(world, detail=details.append))
    write_report(Evaluation(results, FACTS, details), tmp_path, references)
    html = (tmp_path / "report.html").read_text()
    assert html.count("<svg") == 2
    for outside in ('src="', "<link", "<script", "@import"):
        assert outside not in html
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        "reliability.svg",
        "risk-coverage.svg",
    }


def test_equal_evaluations_are_equal_pages(references):
    evaluation = Evaluation(RESULTS, FACTS)
    assert as_html(report(evaluation, references)) == as_html(report(evaluation, references))


def test_a_figure_that_is_no_number_does_not_stop_the_report(references):
    odd = figure("mine", float("nan"), suite=None, low=np.nan, high=np.nan)
    assert "| mine |" in as_markdown(report(Evaluation([odd], {"model": "m"}), references))
