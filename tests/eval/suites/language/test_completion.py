import numpy as np
import pytest

from freelm.eval.cache import read_cache
from freelm.eval.items import JudgedRow
from freelm.eval.likelihood import continuation_likelihoods
from freelm.eval.measure import Setting
from freelm.eval.suites.language.completion import completion_tasks, evaluate_completion
from freelm.tasks import default_registry, load_rows

QA = default_registry().get("miniworld_qa")


def test_the_likeliest_ending_is_the_answer(model, world):
    found = {r.metric: r for r in evaluate_completion(model, [QA], Setting(world))}
    assert set(found) == {"completion_accuracy", "completion_accuracy_norm"}
    rows = load_rows(QA, "test", world)
    right = {"completion_accuracy": [], "completion_accuracy_norm": []}
    for number in range(len(rows)):
        row = rows.row(number)
        options, target = row["options"], row["answer"]
        context = " ".join(rows.example(number, QA.phrasings[0]).context)
        pairs = [(context, f" {option}") for option in options]
        logs = [f.log for f in continuation_likelihoods(model.model.network, pairs)]
        norms = [log / len(o.encode()) for log, o in zip(logs, options, strict=True)]
        right["completion_accuracy"].append(np.argmax(logs) == int(target))
        right["completion_accuracy_norm"].append(np.argmax(norms) == int(target))
    for metric, hits in right.items():
        assert found[metric].value == pytest.approx(np.mean(hits))
        assert found[metric].suite == "language"


def test_only_tasks_with_data_that_continue_a_text_are_chosen(world, tmp_path):
    assert completion_tasks(Setting(world)) == []
    assert completion_tasks(Setting(None)) == []
    folder = tmp_path / "teacher" / "hellaswag"
    folder.mkdir(parents=True)
    (folder / "validation.parquet").touch()
    assert [task.name for task in completion_tasks(Setting(tmp_path))] == ["hellaswag"]


def test_task_without_options_is_reported(model, world):
    said = []
    task = default_registry().get("miniworld_topic")
    assert evaluate_completion(model, [task], Setting(world, skip=said.append)) == []
    assert "has no options" in said[0]


def test_likelihoods_of_endings_are_cached(model, world, tmp_path, monkeypatch):
    told = []
    setting = Setting(world, limit=4, out=tmp_path, progress=lambda *step: told.append(step))
    first = evaluate_completion(model, [QA], setting)
    assert first == evaluate_completion(model, [QA], Setting(world, limit=4))
    monkeypatch.setattr("freelm.eval.suites.language.completion.continuation_likelihoods", None)
    assert evaluate_completion(model, [QA], setting) == first
    assert told[-1] == ("miniworld_qa (by likelihood)", 4, 4)
    newer = QA.model_copy(update={"version": QA.version + 1})
    with pytest.raises(TypeError):  # judged again
        evaluate_completion(model, [newer], setting)


def test_likelihoods_per_byte_are_cached_with_the_summed_ones(model, world, tmp_path):
    evaluate_completion(model, [QA], Setting(world, limit=4, out=tmp_path))
    path = tmp_path / "texts" / f"{QA.name}.test.endings.jsonl"
    key, items = read_cache(path, lambda line: JudgedRow(**line))
    assert key["margins"] == "of endings, then per byte"
    options = {load_rows(QA, "test", world).example(n, QA.phrasings[0]).id: n for n in range(12)}
    for item in items:
        endings = load_rows(QA, "test", world).row(options[item.id])["options"]
        logs, norms = np.reshape(item.margins, (2, -1))
        assert norms == pytest.approx(logs / [len(ending.encode()) for ending in endings])
