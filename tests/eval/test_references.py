from dataclasses import replace

import pytest

from freelm.errors import DataError
from freelm.eval.exposure import TRAINED_ON
from freelm.eval.references import (
    compare_in_words,
    decision_models,
    load_references,
    same_measurement,
    standing,
)
from freelm.eval.results import Result

RTE = Result("rte", "entailment", "validation", "accuracy", 0.66, 277, 0.60, 0.72, 0.53)

ENTRY = """
- model: M
  setting: zero-shot
  split: validation
  verified: found
  source: here
  values: {VALUES}
"""


def read(tmp_path, text):
    path = tmp_path / "references.yaml"
    path.write_text(text)
    return load_references(path)


@pytest.fixture(scope="module")
def shipped():
    return load_references()


# -- what is shipped -------------------------------------------------------------------------------


def test_the_models_that_a_reader_asks_for_are_there(shipped):
    models = " ".join({r.model for r in shipped})
    for name in (
        "GPT-3 350M", "GPT-3 175B", "InstructGPT", "ChatGPT", "GPT-2 124M", "BERT", "RoBERTa",
        "T0", "FLAN", "UniMC", "Statement-Tuning", "zeroshot-v2", "GLiClass", "Jev",
    ):  # fmt: skip
        assert name in models, name


def test_figures_are_fractions_with_source_and_mark(shipped):
    for r in shipped:
        assert 0 < r.value < 1, r
        assert r.source
        assert r.verified in ("found", "derived", "recalled")
        assert r.verified != "derived" or r.note


@pytest.mark.parametrize(
    ("model", "setting", "task", "value"),
    [
        ("GPT-3 350M", "zero-shot", "rte", 0.498),
        ("GPT-3 175B", "zero-shot", "rte", 0.635),
        ("GPT-3 175B", "few-shot", "boolq", 0.775),
        ("T0-3B", "held-out", "rte", 0.646),
        ("BERT-base-cased", "fine-tuned", "mnli", 0.839),
        ("GPT-2 124M", "fine-tuned", "sst2", 0.912),
    ],
)
def test_some_figures(shipped, model, setting, task, value):
    (found,) = (
        r
        for r in shipped
        if (r.model, r.setting, r.task, r.metric) == (model, setting, task, "accuracy")
    )
    assert found.value == pytest.approx(value)


def test_only_the_same_task_split_and_metric_are_compared(shipped):
    found = same_measurement(RTE, shipped)
    assert len(found) > 5
    assert {(r.task, r.split, r.metric) for r in found} == {("rte", "validation", "accuracy")}
    assert [r.value for r in found] == sorted((r.value for r in found), reverse=True)
    test = Result("rte", "entailment", "test", "accuracy", 0.6, 9, 0.5, 0.7, 0.5)
    assert same_measurement(test, shipped) == []


def test_what_was_only_recalled_is_no_fact(shipped):
    assert any(r.verified == "recalled" for r in shipped)
    assert not any(r.model.startswith("FLAN") for r in same_measurement(RTE, shipped))


def test_decision_sets_are_averaged_separately(shipped):
    news = Result("ag_news", "topic", "test", "accuracy", 0.8, 7600, 0.79, 0.81, 0.25)
    assert len(decision_models(news, shipped)) == 3
    assert not {r.model for r in decision_models(news, shipped)} & {
        r.model for r in same_measurement(news, shipped)
    }


# -- in words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.65, "no significant difference"), (0.60, "no significant"), (0.5, "above"), (0.8, "below")],
)
def test_better_is_claimed_outside_the_interval_only(tmp_path, value, words):
    (reference,) = read(tmp_path, ENTRY.replace("VALUES", f"rte: {100 * value}"))
    assert compare_in_words(RTE, reference, TRAINED_ON).startswith(words)


def test_a_published_figure_of_few_items_is_uncertain_too(tmp_path):
    (one,) = read(tmp_path, ENTRY.replace("VALUES", "rte: {value: 57, items: 20000}"))
    (other,) = read(tmp_path, ENTRY.replace("VALUES", "rte: {value: 57, items: 25}"))
    assert standing(RTE, one) == "above"
    assert standing(RTE, other) is None


def test_other_measures_are_uncertain_by_their_number_of_items(tmp_path):
    """25 items of theirs have ten times our error on 2500: 0.15 is within it, 0.5 is not."""
    ours = Result("cola", "acceptability", "validation", "mcc", 0.40, 2500, 0.38, 0.42, 0.0)
    entry = ENTRY.replace("VALUES", "cola: {value: VALUE, metric: mcc, items: ITEMS}")

    def found(value, items):
        text = entry.replace("VALUE", str(value)).replace("ITEMS", str(items))
        return standing(ours, *read(tmp_path, text))

    assert found(25, 25) is None
    assert found(25, 2500) == "above"
    assert found(15, 25) == "above"
    assert found(41.9, 250_000) is None
    assert found(42.5, 250_000) == "below"


def test_likelihood_of_endings_is_another_measure_than_verdicts(shipped):
    ours = Result(
        "hellaswag", "story_completion", "validation", "completion_accuracy_norm", 0.40, 10_000,
        0.39, 0.41, 0.25, "language",
    )  # fmt: skip
    found = {r.model: r for r in same_measurement(ours, shipped)}
    assert found["GPT-2 124M"].value == pytest.approx(0.309)
    assert standing(ours, found["GPT-2 124M"]) == "above"
    assert standing(ours, found["SmolLM2-135M"]) == "below"
    verdicts = same_measurement(replace(ours, metric="accuracy"), shipped)
    assert not {"GPT-2 124M", "SmolLM2-135M"} & {r.model for r in verdicts}


@pytest.mark.parametrize(
    ("setting", "seen", "differs"),
    [
        ("zero-shot", TRAINED_ON, True),
        ("fine-tuned", TRAINED_ON, False),
        ("held-out", None, False),
        ("held-out", "its family 'x' was trained on", False),
        ("fine-tuned", None, True),
        ("few-shot", None, True),
        ("zero-shot", None, False),
    ],
)
def test_another_setting_is_said(tmp_path, setting, seen, differs):
    text = ENTRY.replace("VALUES", "rte: 50").replace("zero-shot", setting)
    (reference,) = read(tmp_path, text)
    assert ("another setting" in compare_in_words(RTE, reference, seen)) == differs


# -- bad files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("VALUES", "rtf: 50"), "entry 1 (M): unknown task 'rtf'; did you mean 'rte'"),
        (
            ENTRY.replace("VALUES", "rte: {value: 50, metric: acuracy}"),
            "rte: unknown metric 'acuracy'; did you mean 'accuracy'",
        ),
        (ENTRY.replace("VALUES", "lambada: 50"), "lambada: unknown metric 'accuracy'"),
        (ENTRY.replace("VALUES", "rte: 500"), "500.0 is not a percentage"),
        (ENTRY.replace("VALUES", "rte: 50").replace("found", "sure"), "entry 1: verified"),
        (ENTRY.replace("VALUES", "rte: 50") * 2, "M, rte, accuracy (zero-shot) is listed twice"),
        ("model: M", "must be a list"),
        ("- [", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "references.yaml" in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_references(tmp_path / "none.yaml")
