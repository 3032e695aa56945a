import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.api import FreeLM
from freelm.data.prompts import PROMPTS
from freelm.errors import DataError, InputError
from freelm.eval import measure as suites
from freelm.eval.measure import (
    Setting,
    best_prompt,
    evaluate_rows,
    evaluate_tasks,
    gain_interval,
    report_rows,
    seen_tasks,
)
from freelm.eval.metrics import Predictions
from freelm.eval.statistics import bootstrap_interval
from freelm.judge.requests import Judgement
from freelm.tasks import Task, default_registry
from tiny_freelm import SEEN

TASK = """
name: {name}
version: 1
family: weather
question: choice
reference: invented
report_split: {report}
fields: {{text: text}}
context: ["{{text}}"]
label: {{column: label, ids: {{sun: 0, rain: 1, snow: 2}}}}
phrasings:
  - name: first
    claims: {{sun: The sun shines., rain: It rains., snow: It snows.}}
  - name: second
    claims: {{sun: It is bright., rain: It is wet., snow: It is white.}}
metrics: [accuracy, macro_f1]
"""


def make_task(folder, name, labels, report="test"):
    """A task with its file and rows in a data root; `labels`: split -> labels."""
    path = folder / f"{name}.yaml"
    path.write_text(TASK.format(name=name, report=report))
    for split, values in labels.items():
        file = folder / "teacher" / name / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        texts = [f"{split} day number {i}" for i in range(len(values))]
        pq.write_table(pa.table({"text": texts, "label": values}), file)
    return Task.from_file(path)


def results_of(model, tasks, root, **setting):
    said = []
    results = evaluate_tasks(
        model, tasks, Setting(root, say=said.append, skip=said.append, **setting)
    )
    return results, said


@pytest.fixture
def counted(model, monkeypatch):
    """Requests that the shared model was asked to judge."""
    asked = []
    own = model._judge.judge

    def spy(requests):
        asked.extend(requests)
        return own(requests)

    monkeypatch.setattr(model._judge, "judge", spy)
    return asked


# -- figures ---------------------------------------------------------------------------------------


def test_the_figures_of_a_task(model, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0, 0, -1], "train": [0, 1]})
    results, said = results_of(model, [task], tmp_path)
    assert said == []
    assert [r.metric for r in results] == ["accuracy", "macro_f1", "brier", "ece"]
    for result in results:
        line = json.loads(result.as_json())
        assert set(line) - {"note", "gain_low", "gain_high"} == {
            "task", "family", "split", "metric", "value", "n", "low", "high", "majority",
        }  # fmt: skip
        assert (result.task, result.family, result.split, result.n) == (
            "mine", "weather", "test", 5,
        )  # fmt: skip
    accuracy = results[0]
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert accuracy.majority == 3 / 5
    expected = [
        model.classify(
            f"test day number {i}", {"0": "The sun shines", "1": "It rains", "2": "It snows"}, "{}."
        )
        for i in range(5)
    ]
    hits = [int(a.label) == label for a, label in zip(expected, [0, 1, 2, 0, 0], strict=True)]
    assert accuracy.value == np.mean(hits)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mae"])
def test_a_better_answer_than_the_constant_one_is_found_and_the_constant_one_is_not(metric):
    targets = np.array([0.0] * 70 + [1.0] * 20 + [2.0] * 10)
    low, high = gain_interval(Predictions(targets, targets), metric, 3)
    assert 0 < low <= high
    assert gain_interval(Predictions(targets, np.zeros(100)), metric, 3) == (0, 0)
    low, high = gain_interval(Predictions(targets, np.full(100, 2.0)), metric, 3)
    assert low <= high <= 0


def test_the_constant_answer_is_as_uncertain_as_the_answers():
    """104 of 200 labels are 0; 66 answers win an item against that constant and 50 lose one."""
    targets = np.repeat([0.0, 1.0], [104, 96])
    answers = Predictions(targets, np.repeat([0.0, 1.0, 1.0, 0.0], [54, 50, 66, 30]))
    # Its own interval lies above the share of the constant, as if that were known.
    assert bootstrap_interval(answers, "accuracy")[0] > 104 / 200
    low, high = gain_interval(answers, "accuracy", 2)
    assert low < 0 < high


def test_only_the_first_metric_of_a_task_has_an_interval_of_its_gain(model, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0, 0]})
    first, *others = results_of(model, [task], tmp_path)[0]
    assert first.gain_low <= first.value - first.majority <= first.gain_high
    assert {r.gain_low for r in others} == {None}


def test_the_limit_takes_the_beginning_of_all_rows(model, counted, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    results, _ = results_of(model, [task], tmp_path, limit=2)
    assert {r.n for r in results} == {2}
    few = [r.context for r in counted]
    results_of(model, [task], tmp_path)
    assert len(set(few)) == 2
    assert [r.context for r in counted][2:4] == few


def test_a_perfect_model_scores_one(model, monkeypatch, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    right = {f"test day number {day}": label for day, label in enumerate([0, 1, 2, 0])}

    def judge(requests):
        return [Judgement(r.claims, np.eye(3)[right[r.context[0]]] * 50) for r in requests]

    monkeypatch.setattr(model._judge, "judge", judge)
    values = {r.metric: r.value for r in results_of(model, [task], tmp_path)[0]}
    assert values == pytest.approx(
        {"accuracy": 1.0, "macro_f1": 1.0, "brier": 0.0, "ece": 0.0}, abs=1e-9
    )


def test_progress_counts_rows_over_the_cache_too(model, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    told = []
    for _ in range(2):
        setting = Setting(tmp_path, out=tmp_path / "out", progress=lambda *step: told.append(step))
        evaluate_tasks(model, [task], setting)
    assert told == [("mine", 0, 4), ("mine", 4, 4), ("mine", 4, 4)]


@pytest.mark.parametrize(
    ("labels", "answers", "note"),
    [
        ([0, 1, 2, 0], [0, 1, 2, 0], None),
        ([0, 1, 2, 0], [0, 0, 2, 0], "never answered: rain"),
        ([0, 1, 2, 0], [0, 0, 0, 0], "never answered: rain, snow"),
        ([1, 1, 1, 1], [0, 1, 2, 0], "all rows are 'rain'"),
    ],
)
def test_what_an_average_hides_is_noted(model, monkeypatch, tmp_path, labels, answers, note):
    task = make_task(tmp_path, "mine", {"test": labels})
    given = iter(np.eye(3)[answers] * 50)
    monkeypatch.setattr(
        model._judge, "judge", lambda requests: [Judgement(r.claims, next(given)) for r in requests]
    )
    results, said = results_of(model, [task], tmp_path)
    assert said == []
    assert [r.note for r in results] == [note, None, None, None]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_verdicts_skip_one_task_and_are_not_cached(model, monkeypatch, tmp_path, value):
    bad = make_task(tmp_path, "bad", {"test": [0, 1]})
    good = make_task(tmp_path, "good", {"test": [0, 1]})
    given = iter([np.array([value, 0, 0]), np.zeros(3), np.zeros(3), np.zeros(3)])
    monkeypatch.setattr(
        model._judge, "judge", lambda requests: [Judgement(r.claims, next(given)) for r in requests]
    )
    results, said = results_of(model, [bad, good], tmp_path, out=tmp_path / "out")
    assert {r.task for r in results} == {"good"}
    assert "bad: skipped: bad/test/0: the model's verdict is not a finite number" in said[0]
    assert not (tmp_path / "out" / "items" / "bad.test.first.jsonl").exists()


# -- which rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "training"])
def test_figures_never_come_from_a_training_split(model, counted, tmp_path, split):
    task = make_task(tmp_path, "mine", {split: [0, 1], "test": [0, 1]}, report=split)
    with pytest.raises(DataError, match=f"report_split is '{split}', for training"):
        report_rows(task, tmp_path)
    results, said = results_of(model, [task], tmp_path)
    assert results == []
    assert counted == []
    assert "mine: skipped: " in said[0]


@pytest.mark.parametrize("name", default_registry().names())
def test_no_shipped_task_reports_on_training_rows(name):
    assert not default_registry().get(name).report_split.startswith("train")


def test_failing_task_is_reported_and_skipped(model, tmp_path):
    tasks = [
        make_task(tmp_path, "unlabelled", {"test": [-1, -1]}),
        make_task(tmp_path, "elsewhere", {"train": [0, 1]}),
        make_task(tmp_path, "wrong", {"test": [0, 7]}),
        make_task(tmp_path, "good", {"test": [0, 1]}),
    ]
    results, said = results_of(model, tasks, tmp_path)
    assert {r.task for r in results} == {"good"}
    assert len(said) == 3
    assert "unlabelled: skipped: " in said[0]
    assert "split 'test' has no labels" in said[0]
    assert "elsewhere: skipped: " in said[1]
    assert "no split 'test'; available: train" in said[1]
    assert "wrong/test/1: label 7" in said[2]


def test_a_claim_that_does_not_fit_the_model_loses_one_task_only(model, tmp_path):
    long = make_task(tmp_path, "long", {"test": [0, 1]})
    phrasing = long.phrasings[0]
    claims = {**phrasing.claims, "sun": "sun " * 2000}
    long = long.model_copy(update={"phrasings": [phrasing.model_copy(update={"claims": claims})]})
    good = make_task(tmp_path, "good", {"test": [0, 1]})
    results, said = results_of(model, [long, good], tmp_path)
    assert {r.task for r in results} == {"good"}
    assert "long: skipped: a claim of" in said[0]


def test_seen_tasks_are_those_of_the_record(model, tiny_base_folder):
    assert [task.name for task in seen_tasks(model, Setting())] == list(SEEN)
    with pytest.raises(InputError, match="record names no known task"):
        seen_tasks(FreeLM.from_pretrained(tiny_base_folder), Setting())


def test_unknown_task_of_the_record_is_reported(own_model):
    own_model.facts.record["tasks"] = {"mine": {}, "rte": {}}
    said = []
    assert [task.name for task in seen_tasks(own_model, Setting(skip=said.append))] == ["rte"]
    assert said == ["mine: skipped: the model was trained on it, but no such task is known"]


# -- resuming --------------------------------------------------------------------------------------


def test_a_finished_evaluation_judges_nothing_again(model, counted, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    first, _ = results_of(model, [task], tmp_path, out=tmp_path / "out")
    assert len(counted) == 4
    assert (tmp_path / "out" / "items" / "mine.test.first.jsonl").is_file()
    again, _ = results_of(model, [task], tmp_path, out=tmp_path / "out")
    assert len(counted) == 4
    assert again == first


def test_another_phrasing_has_answers_of_its_own(model, counted, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    setting = Setting(tmp_path, out=tmp_path / "out")
    for phrasing in task.phrasings:
        evaluate_rows(model, report_rows(task, tmp_path), phrasing, setting)
    assert len(counted) == 8


def test_another_version_of_the_task_is_judged_again(model, counted, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    results_of(model, [task], tmp_path, out=tmp_path / "out")
    newer = task.model_copy(update={"version": 2})
    results_of(model, [newer], tmp_path, out=tmp_path / "out")
    assert len(counted) == 8


def test_changed_rows_are_not_answered_from_the_cache(model, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1, 2, 0]})
    results_of(model, [task], tmp_path, out=tmp_path / "out")
    make_task(tmp_path, "mine", {"test": [0, 1, 2, 1]})
    results, said = results_of(model, [task], tmp_path, out=tmp_path / "out")
    assert results == []
    assert "holds answers to other rows" in said[0]


# -- untrained bases -------------------------------------------------------------------------------


@pytest.fixture
def base(tiny_base_folder):
    return FreeLM.from_pretrained(tiny_base_folder)


def let_only(monkeypatch, right, right_on):
    """Patched so that one prompt is right on one split and the others on the other one.

    Returns:
        What was judged: (prompt, first word of the context).
    """
    judged = []

    def judge_items(judges, examples, *rest):
        form = judges.model.network.form
        end = form.tokenizer.decode(form.end)
        prompt = next(name for name, p in PROMPTS.items() if p.end == end)
        items = []
        for example in examples:
            split = example.context[0].split()[0]
            judged.append((prompt, split))
            hit = (prompt == right) == (split == right_on)
            answer = (int(example.target) + (not hit)) % len(example.labels)
            margins = [float(i == answer) for i in range(len(example.labels))]
            items.append(suites_item(example, margins))
        return items

    monkeypatch.setattr(suites, "judge_items", judge_items)
    return judged


def suites_item(example, margins):
    from freelm.eval.items import JudgedRow

    return JudgedRow(example.id, example.target, margins, "")


@pytest.mark.parametrize("right", PROMPTS)
def test_the_prompt_is_chosen_on_training_rows_alone(base, monkeypatch, tmp_path, right):
    task = make_task(
        tmp_path, "mine", {"train": [0, 1, 2] * 4, "validation": [0, 1], "test": [0, 1, 2] * 4}
    )
    judged = let_only(monkeypatch, right, "train")
    loaded = []
    own = suites.load_rows
    monkeypatch.setattr(
        suites,
        "load_rows",
        lambda task, split, root: loaded.append(split) or own(task, split, root),
    )
    said = []
    assert best_prompt(base, task, Setting(tmp_path, say=said.append)) == right
    assert loaded == ["train"]
    assert {split for _, split in judged} == {"train"}
    assert f"mine: prompt {right} (accuracy on training rows: " in said[0]
    judged.clear()
    results, _ = results_of(base, [task], tmp_path)
    assert {prompt for prompt, split in judged if split == "test"} == {right}
    assert results[0].value == 0.0  # right on training rows, wrong on these: and yet it is reported


def test_at_most_a_hundred_training_rows_choose_the_prompt(base, monkeypatch, tmp_path):
    task = make_task(tmp_path, "mine", {"train": [0, -1, 2] * 100, "test": [0]})
    judged = let_only(monkeypatch, "yes-or-no", "train")
    best_prompt(base, task, Setting(tmp_path))
    counts = Counter(prompt for prompt, _ in judged)
    assert set(counts) == set(PROMPTS)
    assert all(60 <= count <= suites.PROMPT_ROWS for count in counts.values())


def test_a_prompt_that_was_chosen_is_not_judged_for_again(base, monkeypatch, tmp_path):
    task = make_task(tmp_path, "mine", {"train": [0, 1, 2] * 4, "test": [0]})
    setting = Setting(tmp_path, out=tmp_path / "out")
    chosen = best_prompt(base, task, setting)
    monkeypatch.setattr(FreeLM, "judge_requests", None)
    assert best_prompt(base, task, setting) == chosen


def test_without_training_rows_the_first_prompt_is_taken(base, tmp_path):
    task = make_task(tmp_path, "mine", {"test": [0, 1]})
    assert best_prompt(base, task, Setting(tmp_path)) == next(iter(PROMPTS))


def test_a_base_is_evaluated_end_to_end_and_a_trained_model_asks_for_no_prompt(
    base, model, monkeypatch, tmp_path
):
    task = make_task(tmp_path, "mine", {"train": [0, 1, 2] * 5, "test": [0, 1, 2, 0]})
    results, said = results_of(base, [task], tmp_path, out=tmp_path / "out")
    assert results[0].n == 4
    assert said[0].startswith("mine: prompt ")
    (kept,) = (tmp_path / "out/items").glob("mine.test.first.*.jsonl")
    key = json.loads(kept.read_text().split("\n")[0])
    assert key["key"]["prompt"] in PROMPTS
    assert key["key"]["prompt"] in kept.name
    monkeypatch.setattr(suites, "best_prompt", None)
    assert results_of(model, [task], tmp_path)[1] == []
