import numpy as np
import pytest

from freelm.eval.comparison import Comparison
from freelm.eval.measure import Setting
from freelm.eval.references import load_references
from freelm.eval.results import LOWER_IS_BETTER, Result
from freelm.eval.sections import MAX_CURVES, Findings, beats_constant, first_metrics
from freelm.eval.suites.calibration import evaluate_calibration
from freelm.report import plots
from freelm.report.evaluation import Evaluation, report, write_report
from freelm.report.page import Plot, as_html, as_markdown
from freelm.report.summary import summary
from freelm.tasks import default_registry


def figure(task, value, metric="accuracy", low=None, high=None, majority=0.5, suite="seen", **more):
    low, high = (value - 0.03 if low is None else low), (value + 0.03 if high is None else high)
    split = more.pop("split", "validation")
    if majority is not None:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        ends = sorted(sign * (end - majority) for end in (low, high))
        more = dict(zip(("gain_low", "gain_high"), ends, strict=True)) | more
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
RUN = {
    "name": "x",
    "steps": 9,
    "teacher_tokens": 1500,
    "language_tokens": 200,
    "seconds": 60.0,
    "seed": 3,
    "code": "abc123",
}
EARLIER = {**RUN, "name": "w", "seed": 2, "tasks": {"rte": {"rows": 7}}}
FACTS = {
    "model": "runs/x/model",
    "record": {"tasks": {"rte": {}, "sst2": {}, "wnli": {}}, **RUN, "went_on_from": EARLIER},
    "temperature": 1.7,
    "command": "freelm eval runs/x/model --suite all",
    "code": {"freelm": "0.1.0", "commit": "abc123"},
}


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Pages without their plots, which take longer than everything else."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(plots, "draw", lambda name, *about: Plot(name, "", "<svg/>"))


@pytest.fixture
def drawn():
    """A test that takes this draws its plots."""


def sentences(results, references, record):
    return summary(Findings(results, {"record": record}, (), references))


@pytest.fixture(scope="module")
def references():
    return load_references()


@pytest.fixture(scope="module")
def page(references):
    return report(Evaluation(RESULTS, FACTS, left_out=["qnli: left out: no rows"]), references)


# -- the first screen ------------------------------------------------------------------------------


def test_summary_states_strengths_and_weaknesses(references):
    text = "\n".join(sentences(RESULTS, references, FACTS["record"]))
    assert "Tasks it was trained on: significantly better than the best answer that ignores" in text
    assert "Furthest above that answer: sst2 (90), rte (66)." in text
    assert "Not significantly better than it: wnli (51)" in text
    assert "Not significantly better than it: cb (49)" in text
    assert "typos-20 costs most: -6.0 points on average over 1 task, at most 277 rows" in text
    assert "in random order: -14.0 points, from a mean of 66.0 to 52.0." in text
    assert (
        "0.040 on average over 1 task (0.120 before temperature scaling), at worst 0.040 (rte)"
        in text
    )
    assert "ag_news 42 ms" in text
    assert "novels 22.50 (0.980 bits per byte)" in text
    assert "Perplexity on test texts that this training did not use: novels" in text


def test_the_summary_is_the_first_thing_on_the_page(page):
    lines = as_markdown(page).splitlines()
    assert lines[0] == "# Evaluation of runs/x/model"
    assert lines[2].startswith("- Tasks it was trained on")


def test_weak_tasks_are_listed_under_their_suite(references):
    (unseen,) = (
        s
        for s in sentences(RESULTS, references, FACTS["record"])
        if s.startswith("Tasks of families")
    )
    assert "on 0 of 1" in unseen
    assert unseen.endswith("Not significantly better than it: cb (49).")


def test_errors_do_not_count_among_the_points_that_a_change_costs(references):
    """A mean absolute error rises where a share falls, and is in other units."""
    errors = [
        figure("stsb", 0.6, "mae", suite="robust", variant="original"),
        figure("stsb", 2.6, "mae", suite="robust", variant="typos-20"),
    ]
    text = "\n".join(sentences([*RESULTS, *errors], references, {}))
    assert "typos-20 costs most: -6.0 points on average over 1 task" in text


def test_summary_states_language_results(references):
    language = {"suite": "language", "low": 0.0, "high": 1.0}
    found = [
        figure("lambada", 0.362, "last_word_accuracy", majority=None, **language),
        figure("hellaswag", 0.41, "completion_accuracy_norm", majority=0.256, **language),
        *(
            figure("novels", value, "repetition", majority=None, variant=variant, **language)
            for variant, value in (
                ("what really followed", 0.01),
                ("greedy", 0.45),
                ("sampled", 0.04),
            )
        ),
    ]
    text = "\n".join(sentences(found, references, {}))
    assert "percent right: lambada 36.2, hellaswag 41.0 (without the text 25.6)." in text
    assert "45% in greedy text, 4% in sampled text, 1% in human text" in text


def test_summary_states_the_rows_and_what_was_not_measured(references):
    evaluation = Evaluation(RESULTS, {**FACTS, "rows_per_task": 300}, left_out=["a: left out: b"])
    screen = as_markdown(report(evaluation, references)).split("##")[0]
    assert "- Measured on at most 300 rows per task, drawn at random." in screen
    assert "- Not measured: 1; see the end of the page." in screen
    whole = as_markdown(report(Evaluation(RESULTS, FACTS), references)).split("##")[0]
    assert "Not measured" not in whole
    assert "drawn at random" not in whole


def test_better_requires_the_entire_gain_interval_above_zero():
    assert beats_constant(figure("a", 0.56))
    assert not beats_constant(figure("a", 0.52))
    assert beats_constant(figure("a", 0.2, "brier", majority=0.25))
    assert not beats_constant(figure("a", 0.3, "brier", majority=0.25))
    assert not beats_constant(figure("a", 0.9, majority=None))
    # The answer without the text is uncertain too: the figure's own interval does not decide.
    assert not beats_constant(figure("a", 0.56, gain_low=-0.01, gain_high=0.13))


def test_the_first_metric_of_each_task_counts():
    assert [r.metric for r in first_metrics(RESULTS, "seen")] == ["accuracy"] * 3


def test_suites_without_results_have_no_section_and_no_summary():
    page = report(Evaluation([], {"model": "m", "command": "freelm eval m"}), [])
    assert [section.title for section in page.sections] == ["Reproduce"]
    assert page.summary == []


def test_suite_without_results_is_not_mentioned(references):
    assert sentences([figure("mine", 0.8, suite=None)], references, {}) == [
        "Requested tasks: significantly better than the best answer that ignores the text on 1 of "
        "1; mean accuracy over the 1 task measured in accuracy 80.0, of that answer 50.0. Furthest "
        "above that answer: mine (80).",
    ]


def test_when_nothing_is_bad_the_least_good_is_named(references):
    many = [figure(f"t{i}", 0.6 + 0.02 * i, suite="seen") for i in range(8)]
    text = "\n".join(sentences(many, references, {}))
    assert "Furthest above that answer: t7 (74), t6 (72)" in text
    assert "Closest to it: t1 (62), t0 (60)." in text


def test_figures_without_a_constant_answer_are_called_neither_good_nor_bad(references):
    theirs = figure("freelm_rte", 0.7, "acc", suite="lm-eval", majority=None)
    text = as_markdown(report(Evaluation([theirs], {"model": "m"}), references))
    assert "## lm-evaluation-harness" in text
    assert "| freelm_rte | entailment | validation | acc | 70.0 |" in text
    assert "without the text:" not in text


def test_a_published_figure_that_was_reached_in_another_setting_is_said_to_be(references):
    results = [
        figure("rte", 0.66),
        figure("cb", 0.40, suite="unseen"),
        figure("mnli", 0.70, suite=None),
    ]
    found = sentences(results, references, {"tasks": {"rte": {}}})
    assert (
        "Against GPT-3 175B (zero-shot). Where ours was trained on the training split (another "
        "setting): not significantly different on rte. Where ours was not trained on the "
        "training split: not significantly different on cb."
    ) in found
    assert (
        "Against BERT-base-cased (fine-tuned). Where ours was trained on the training split: not "
        "significantly different on rte. Where ours was not trained on the training split (another "
        "setting): significantly below on mnli."
    ) in found
    few = [s for s in found if "few-shot" in s]
    assert [s.count("(another setting)") for s in few] == [2]


def test_changes_count_tasks_and_not_phrasings(references):
    robust = {"suite": "robust"}
    found = [
        figure("rte", 0.66, variant="original", **robust),
        figure("cola", 0.30, "mcc", variant="original", majority=0.0, **robust),
        figure("rte", 0.60, variant="held-out phrasing a", **robust),
        figure("rte", 0.56, variant="held-out phrasing b", **robust),
        figure("cola", 0.28, "mcc", variant="held-out phrasing c", majority=0.0, **robust),
        figure("rte", 0.02, "disagreement", variant="opposites", majority=None, **robust),
        figure("cola", 0.10, "disagreement", variant="opposites", majority=None, **robust),
    ]
    text = "\n".join(sentences(found, references, {}))
    # 8 points on average over the two phrasings of RTE, 2 on CoLA.
    assert "a held-out phrasing costs most: -5.0 points on average over 2 tasks" in text
    assert "are both judged true, or both false, 6.0% of the time" in text
    assert "(2 tasks; at worst 10.0%, cola)" in text


def test_means_over_trained_models_explain_their_spread(references):
    results = [figure("rte", 0.66, spread=0.02, seeds=3)]
    compared = [Comparison("rte", "validation", "accuracy", 0.7, 0.6, 0.1, 0.02, 0.2, 0.003, 277)]
    facts = {**FACTS, "averaged_with": ["seed-1", "seed-2"]}
    text = as_markdown(
        report(Evaluation(results, facts, comparisons={"other": compared}), references)
    )
    screen, *sections = text.split("##")
    assert "- Every score is the mean over 3 trained models" in screen
    assert "- Against other, on the same items, this seed alone: significantly better" in screen
    assert "Values: mean ± standard deviation over 3 trained models." in sections[0]
    assert "| 66.0 ± 2.0 |" in sections[0]
    assert "Paired tests of this seed alone" in text


# -- the sections ----------------------------------------------------------------------------------


def test_published_scores_are_listed_with_their_setting(page):
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
        "training: resumed from | run w: 9 steps,",
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
    screen = text.split("##")[0]
    assert "- Against other, on the same items: significantly better on rte." in screen


def test_comparisons_on_the_first_screen_are_of_each_tasks_first_metric(references):
    def compared(task, metric, low, high, variant=None):
        middle = (low + high) / 2
        values = (0.6 + middle, 0.6, middle, low, high)
        return Comparison(task, "validation", metric, *values, None, 277, variant)

    evaluation = Evaluation(
        RESULTS,
        FACTS,
        comparisons={
            "other": [
                compared("rte", "accuracy", 0.01, 0.1),
                compared("rte", "brier", 0.01, 0.1),
                compared("sst2", "accuracy", -0.1, -0.01),
                compared("sst2", "accuracy", 0.01, 0.1, "typos-5"),
                compared("wnli", "accuracy", -0.1, 0.1),
            ]
        },
    )
    screen = as_markdown(report(evaluation, references)).split("##")[0]
    assert (
        "- Against other, on the same items: significantly better on rte; significantly worse on "
        "sst2; no significant difference on wnli."
    ) in screen


def test_omitted_curves_are_noted(references):
    curve = {
        "kind": "calibration", "variant": "after temperature", "coverage": [1.0], "risk": [0.1],
        "reliability": [{"count": 1, "confidence": 0.5, "accuracy": 0.5}],
    }  # fmt: skip
    rows = [r for r in RESULTS if r.suite == "calibration"]
    for count, told in ((MAX_CURVES, False), (MAX_CURVES + 1, True)):
        details = [{**curve, "task": f"t{i}"} for i in range(count)]
        text = as_markdown(report(Evaluation(rows, FACTS, details), references))
        assert (f"The plots show the first {MAX_CURVES} of {count} tasks." in text) == told


def test_an_evaluation_of_one_task_has_a_report(references):
    found = report(Evaluation([figure("mine", 0.5, suite=None)], {"model": "m"}), references)
    assert "## Tasks" in as_markdown(found)
    assert "## Robustness" not in as_markdown(found)


def test_a_score_task_without_shares_has_a_table_and_no_plot(references):
    found = report(Evaluation([figure("mine", 1.2, "mae", suite=None)], {"model": "m"}), references)
    assert "| mine |" in as_markdown(found)
    assert "svg" not in as_markdown(found)


def test_curves_of_a_real_suite_are_drawn_and_the_page_opens_without_network(
    drawn, model, world, tmp_path, references
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
