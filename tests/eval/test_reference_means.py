import pytest

from freelm.eval.references import GROUPS, load_references, means, published_means
from freelm.eval.results import Result
from freelm.eval.sections import Findings
from freelm.report.summary import summary

GLUE, DECISIONS = GROUPS


def accuracy(task, value, suite=None, metric="accuracy"):
    return Result(task, "x", "s", metric, value, 100, value - 0.1, value + 0.1, 0.5, suite)


def test_the_mean_has_the_interval_of_independent_tasks():
    values = [0.6, 0.7, 0.7, 0.8, 0.8, 0.7, 0.6]
    results = [accuracy(t, v, "seen") for t, v in zip(GLUE.tasks, values, strict=True)]
    (found,) = means([*results, accuracy("cola", 0.1, "seen", "mcc")])
    assert found.value == pytest.approx(0.7)
    assert found.high - found.value == pytest.approx(0.1 / 7**0.5)
    assert found.constant == 0.5


def test_a_mean_needs_every_task_in_a_suite_of_its_own():
    results = [accuracy(task, 0.7, "decisions") for task in DECISIONS.tasks]
    assert [found.group for found in means(results)] == [DECISIONS]
    assert means(results[1:]) == []
    assert means([accuracy(task, 0.7, "robust") for task in GLUE.tasks]) == []


def test_published_means_are_of_all_tasks():
    found = published_means(GLUE, load_references())
    assert ("GPT-2 124M", "fine-tuned", pytest.approx(0.82, abs=5e-4)) in found
    decisions = published_means(DECISIONS, load_references())
    expected = [0.8225, 0.782, 0.7455]
    assert [value for _, _, value in decisions] == pytest.approx(expected, abs=5e-4)


def first_sentence(results, record):
    return summary(Findings(results, {"record": record}, (), load_references()))[0]


def test_the_first_sentence_of_a_summary_is_the_mean():
    results = [accuracy(task, 0.7) for task in GLUE.tasks]
    record = {"tasks": {task: {} for task in GLUE.tasks}}
    first = first_sentence(results, record)
    assert first.startswith("Mean accuracy of the seven GLUE tasks")
    assert "70.0 (66.2 to 73.8); without the text 50.0" in first
    assert "GPT-2 124M (fine-tuned) 82.0; ours was trained on the training splits of 7 of" in first


def test_a_published_mean_of_another_setting_is_said_to_be():
    results = [accuracy(task, 0.7, "decisions") for task in DECISIONS.tasks]
    taught = first_sentence(results, {"tasks": {"ag_news": {}, "boolq": {}}})
    assert "Published on other items (at most 200 per set): Jev 1.13 (hosted) (zero-shot)" in taught
    assert "another setting: ours was trained on the training splits of 2 of these 6" in taught
    untaught = first_sentence(results, {})
    assert "another setting" not in untaught
    assert untaught.endswith("ours was trained on the training splits of none of these 6 tasks.")
