import numpy as np
import pytest

from freelm.compare.config import Evaluation
from freelm.compare.measure import (
    Evaluator,
    SeedResult,
    TaskAnswers,
    TextAnswers,
    load_result,
    save_result,
)
from freelm.data.label_word_form import label_word_form
from freelm.errors import DataError
from freelm.eval.label_word_judge import LabelWordJudge
from freelm.eval.measure import Setting, evaluate_tasks
from freelm.tasks import default_registry
from tiny_compare import TASKS, UNSEEN
from tiny_freelm import freelm_folder, model

__all__ = ["freelm_folder", "model"]

CHOSEN = default_registry().get_all([*TASKS, UNSEEN])


@pytest.fixture
def measurer(world):
    return Evaluator(Evaluation(limit=8, corpus="miniworld", windows=3, window=32), world, print)


def test_verdicts_are_those_of_the_evaluation(measurer, model, world, tmp_path):
    answers, prompts = measurer.verdicts(model, CHOSEN, tmp_path)
    usual = evaluate_tasks(model, CHOSEN, Setting(world, limit=8))
    firsts = {r.task: r for r in reversed(usual) if r.metric == "accuracy"}
    assert prompts == {}
    for found in answers:
        assert found.value == firsts[found.task].value
        assert found.majority == firsts[found.task].majority
        assert (len(found), found.split) == (8, "test")


def test_label_words_are_asked_of_the_same_rows(measurer, model, tmp_path):
    network = model.model.network
    judge = LabelWordJudge(network, label_word_form(network.form), 64)
    for task in CHOSEN:
        answers = measurer.label_words(judge, task, tmp_path, model, {})
        verdicts = measurer.verdicts(model, [task], tmp_path)[0][0]
        assert (answers.task, answers.metric, len(answers)) == (task.name, "accuracy", 8)
        assert answers.majority == verdicts.majority
        kept = (tmp_path / "items" / f"{task.name}.test.label_words.jsonl").read_text()
        usual = (
            tmp_path / "items" / f"{task.name}.test.{task.training_phrasings[0].name}.jsonl"
        ).read_text()
        ids = [[line.split('"')[3] for line in t.splitlines()[1:]] for t in (kept, usual)]
        assert ids[0] == ids[1]


def test_text_is_measured_where_a_corpus_is_named(measurer, model, world):
    (text,) = measurer.text(model.model.network)
    assert (text.corpus, len(text.nats), len(text.targets)) == ("miniworld", 3, 3)
    assert Evaluator(Evaluation(), world, print).text(model.model.network) == []
    with pytest.raises(DataError, match="perplexity needs a data root"):
        Evaluator(Evaluation(corpus="miniworld"), None, print).text(model.model.network)


def measured():
    columns = (np.array([1.0, 0.0]), np.array([3, 4]))
    text = TextAnswers("c", np.array([1.5, 2.5]), np.array([7, 8]), 3.5)
    constant = (np.array([True, True]), np.array([3, 4]))
    tasks = [TaskAnswers("a", "f", "test", "mcc", columns, constant)]
    return SeedResult(tasks, [text], 10, 20, 1.5, 3, ["a note"], [{"commit": "abc", "torch": None}])


def test_results_are_saved_and_loaded(tmp_path):
    save_result(measured(), "key", tmp_path / "new")
    found = load_result(tmp_path / "new", "key")
    for name in ("columns", "constant"):
        there, then = (getattr(m.tasks[0], name) for m in (found, measured()))
        for one, other in zip(there, then, strict=True):
            assert one.dtype == other.dtype
            assert one.tolist() == other.tolist()
    assert found.code == [{"commit": "abc", "torch": None}]
    assert found.text[0].nats.tolist() == [1.5, 2.5]
    assert (found.tokens, found.seconds, found.steps, found.notes) == (30, 1.5, 3, ["a note"])


def test_what_depends_on_something_else_or_is_damaged_is_measured_again(tmp_path):
    assert load_result(tmp_path, "key") is None
    save_result(measured(), "key", tmp_path)
    assert load_result(tmp_path, "other") is None
    path = tmp_path / "measured.json"
    path.write_text(path.read_text()[:-30])
    assert load_result(tmp_path, "key") is None
