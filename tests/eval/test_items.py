import json
import os
import signal

import numpy as np
import pyarrow as pa
import pytest

from freelm.errors import DataError
from freelm.eval import items as items_module
from freelm.eval.cache import ResultCache
from freelm.eval.items import JudgedRow, judge_items, labelled_examples, predictions
from freelm.eval.metrics import METRICS
from freelm.judge.requests import Judgement
from freelm.tasks import Example, Rows, Task
from freelm.tasks.soundness import problems

TASK = {
    "name": "mine",
    "version": 1,
    "family": "mine",
    "reference": "none",
    "fields": {"text": "text"},
    "context": ["{text}"],
    "metrics": ["accuracy"],
}
CHOICE = {
    **TASK,
    "question": "choice",
    "label": {"column": "label", "ids": {"a": 0, "b": 1, "c": 2}},
    "phrasings": [{"name": "p", "claims": {"a": "It is a.", "b": "It is b.", "c": "It is c."}}],
}


def make_task(data):
    task = Task.model_validate(data)
    assert problems(task) == []
    return task


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Counting:
    """Judges by the length of the context and counts what it is asked."""

    def __init__(self, dies_after=None):
        self.asked = []
        self.dies_after = dies_after

    def judge_requests(self, requests):
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += requests
        return [
            Judgement(r.claims, np.arange(len(r.claims)) + 0.1 * len(r.context[0]))
            for r in requests
        ]


def examples(count, words="text", claims=("one", "two")):
    return [
        Example(f"t/test/{i}", (f"{words} {'x' * i}",), claims, claims, (), (1.0, 0.0), 0.0)
        for i in range(count)
    ]


KEY = {"model": "m", "phrasing": "p"}


# -- the cache -------------------------------------------------------------------------------------


def test_without_a_cache_everything_is_judged_and_nothing_written(tmp_path):
    judges = Counting()
    items = judge_items(judges, examples(5))
    assert [item.id for item in items] == [f"t/test/{i}" for i in range(5)]
    assert items[3].margins == pytest.approx([0.8, 1.8])
    assert len(judges.asked) == 5
    assert list(tmp_path.iterdir()) == []


def test_finished_cache_is_reused_completely(tmp_path):
    cache = tmp_path / "deep" / "cache.jsonl"
    first = judge_items(Counting(), examples(300), ResultCache(cache, KEY))
    before = cache.read_bytes()
    again = Counting()
    assert judge_items(again, examples(300), ResultCache(cache, KEY)) == first
    assert again.asked == []
    assert cache.read_bytes() == before


@pytest.mark.parametrize("lost", [1, 7, 40, 2000])
def test_a_line_that_was_cut_short_is_judged_again(tmp_path, lost):
    cache = tmp_path / "cache.jsonl"
    whole = judge_items(Counting(), examples(300), ResultCache(cache, KEY))
    content = cache.read_bytes()
    os.truncate(cache, len(content) - lost)
    kept = content[:-lost].count(b"\n") - 1
    again = Counting()
    assert judge_items(again, examples(300), ResultCache(cache, KEY)) == whole
    assert len(again.asked) == 300 - kept
    assert cache.read_bytes() == content


@pytest.mark.parametrize("left", [0, 1, 20])
def test_truncated_first_line_starts_over(tmp_path, left):
    cache = tmp_path / "cache.jsonl"
    whole = judge_items(Counting(), examples(3), ResultCache(cache, KEY))
    content = cache.read_bytes()
    os.truncate(cache, left)
    assert judge_items(Counting(), examples(3), ResultCache(cache, KEY)) == whole
    assert cache.read_bytes() == content


def test_interrupted_evaluation_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(items_module, "CHUNK", 10)
    cache = tmp_path / "cache.jsonl"
    with pytest.raises(KeyboardInterrupt):
        judge_items(Counting(dies_after=20), examples(50), ResultCache(cache, KEY))
    told = []
    again = Counting()
    items = judge_items(again, examples(50), ResultCache(cache, KEY), told.append)
    assert len(again.asked) == 30
    assert told == [20, 10, 10, 10]
    assert items == judge_items(Counting(), examples(50))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_kill_while_writing_loses_no_complete_line(tmp_path, monkeypatch, part):
    monkeypatch.setattr(items_module, "CHUNK", 10)
    cache = tmp_path / "cache.jsonl"
    own = ResultCache.append
    child = os.fork()
    if child == 0:

        def deadly(kept, items):
            size = cache.stat().st_size if cache.exists() else 0
            own(kept, items)
            if items[0]["id"].endswith("/20"):
                os.truncate(cache, size + int(part * (cache.stat().st_size - size)))
                os.kill(os.getpid(), signal.SIGKILL)

        ResultCache.append = deadly
        judge_items(Counting(), examples(50), ResultCache(cache, KEY))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    again = Counting()
    items = judge_items(again, examples(50), ResultCache(cache, KEY))
    assert len(again.asked) == 50 - 20 - int(part * 10)
    assert items == judge_items(Counting(), examples(50))


def test_answers_under_another_key_are_not_taken_over(tmp_path):
    cache = tmp_path / "cache.jsonl"
    judge_items(Counting(), examples(5), ResultCache(cache, KEY))
    again = Counting()
    judge_items(again, examples(5), ResultCache(cache, {**KEY, "model": "other"}))
    assert len(again.asked) == 5
    assert json.loads(cache.read_text().splitlines()[0])["key"]["model"] == "other"
    assert len(cache.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    "other",
    [
        examples(6)[1:],
        examples(5, words="changed"),
        examples(5, claims=("one", "changed")),
    ],
    ids=["shifted", "text", "claims"],
)
def test_answers_to_other_rows_are_an_error_that_names_the_file(tmp_path, other):
    cache = tmp_path / "cache.jsonl"
    judge_items(Counting(), examples(5), ResultCache(cache, KEY))
    with pytest.raises(DataError, match=r"cache\.jsonl: holds answers to other rows"):
        judge_items(Counting(), other, ResultCache(cache, KEY))


def test_a_damaged_line_is_an_error_that_names_the_file(tmp_path):
    cache = tmp_path / "cache.jsonl"
    judge_items(Counting(), examples(5), ResultCache(cache, KEY))
    cache.write_bytes(cache.read_bytes().replace(b'"digest"', b'"digset"', 1))
    with pytest.raises(DataError, match=r"cache\.jsonl: has a damaged line; delete it"):
        judge_items(Counting(), examples(5), ResultCache(cache, KEY))


def test_smaller_limits_reuse_the_cache_and_larger_ones_extend_it(tmp_path):
    cache = tmp_path / "cache.jsonl"
    judge_items(Counting(), examples(5), ResultCache(cache, KEY))
    fewer, more = Counting(), Counting()
    assert len(judge_items(fewer, examples(2), ResultCache(cache, KEY))) == 2
    assert len(judge_items(more, examples(8), ResultCache(cache, KEY))) == 8
    assert fewer.asked == []
    assert len(more.asked) == 3


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cache.*cannot be written"):
        judge_items(Counting(), examples(2), ResultCache(tmp_path / "file" / "cache.jsonl", KEY))


# -- rows ------------------------------------------------------------------------------------------


def rows_of(labels):
    table = pa.table({"text": [f"row {i}" for i in range(len(labels))], "label": labels})
    return Rows(make_task(CHOICE), "test", table, "some.parquet")


def test_rows_without_a_label_are_left_out_and_do_not_count_to_the_limit():
    rows = rows_of([0, -1, 1, None, 2, 0])
    phrasing = rows.task.phrasings[0]
    whole = [e.id for e in labelled_examples(rows, phrasing, None)]
    assert sorted(whole) == ["mine/test/0", "mine/test/2", "mine/test/4", "mine/test/5"]
    for limit in (1, 2, 3):
        assert [e.id for e in labelled_examples(rows, phrasing, limit)] == whole[:limit]
    assert len(labelled_examples(rows, phrasing, 99)) == 4


def test_a_split_that_is_sorted_by_label_is_not_measured_on_one_class():
    rows = rows_of([0] * 300 + [1] * 300 + [2] * 300)
    found = [e.target for e in labelled_examples(rows, rows.task.phrasings[0], 90)]
    assert all(15 < found.count(label) < 50 for label in (0, 1, 2))


def test_a_split_without_labels_is_named():
    rows = rows_of([-1, -1])
    with pytest.raises(DataError, match=r"some\.parquet: split 'test' has no labels"):
        labelled_examples(rows, rows.task.phrasings[0], None)


def test_rows_without_text_are_skipped_and_reported():
    task = make_task(CHOICE)
    table = pa.table({"text": ["one", "  ", "two"], "label": [0, 1, 2]})
    rows, said = Rows(task, "test", table, "some.parquet"), []
    examples = labelled_examples(rows, task.phrasings[0], None, said.append)
    assert sorted(e.id for e in examples) == ["mine/test/0", "mine/test/2"]
    assert said == ["skipped: mine/test/1: the context is empty"]


def test_rows_beyond_the_limit_are_not_looked_at():
    last = int(np.random.default_rng(items_module.ORDER_SEED).permutation(3)[-1])
    rows = rows_of([77 if row == last else row for row in range(3)])
    assert len(labelled_examples(rows, rows.task.phrasings[0], 2)) == 2
    with pytest.raises(DataError, match=f"mine/test/{last}"):
        labelled_examples(rows, rows.task.phrasings[0], None)


# -- predictions, by hand --------------------------------------------------------------------------


def items(*pairs):
    return [JudgedRow(str(i), target, margins, "") for i, (target, margins) in enumerate(pairs)]


@pytest.mark.parametrize("order", [("false", "true"), ("true", "false")])
def test_a_predicate_is_true_when_its_own_claim_is(order):
    task = make_task(
        {
            **TASK,
            "question": "predicate",
            "label": {"column": "label", "ids": {name: i for i, name in enumerate(order)}},
            "phrasings": [{"name": "p", "claims": {"true": "It is.", "false": "It is not."}}],
            "metrics": ["accuracy", "f1"],
        }
    )
    place = order.index("true")

    def margins(true, false):
        return [false, true] if place == 1 else [true, false]

    # The claim of "false" says the opposite in every row, and is not asked.
    found = predictions(
        task,
        items(
            (place, margins(2.0, 9.0)), (1 - place, margins(-1.0, -9.0)), (place, margins(-3.0, 0))
        ),
    )
    assert set(found) == {"accuracy", "f1", "brier", "ece"}
    assert found["accuracy"].predicted.tolist() == [place, 1 - place, 1 - place]
    for row, margin in zip(found["brier"].probabilities, [2.0, -1.0, -3.0], strict=True):
        assert row[place] == pytest.approx(sigmoid(margin))
        assert row[1 - place] == pytest.approx(1 - sigmoid(margin))
    assert METRICS["accuracy"](found["accuracy"]) == pytest.approx(2 / 3)


def test_a_choice_is_the_likeliest_label():
    found = predictions(make_task(CHOICE), items((0, [1.0, 3.0, 2.0]), (2, [-5.0, -9.0, -4.0])))
    assert set(found) == {"accuracy", "brier", "ece"}
    one = found["accuracy"]
    assert one.targets.tolist() == [0, 2]
    assert one.predicted.tolist() == [1, 2]
    odds = np.exp([1.0, 3.0, 2.0])
    assert one.probabilities[0] == pytest.approx(odds / odds.sum())
    assert METRICS["accuracy"](one) == 0.5


def test_options_may_differ_in_number():
    task = make_task(
        {
            **TASK,
            "question": "options",
            "label": {"column": "label"},
            "options": {"column": "options"},
            "phrasings": [{"name": "p", "template": "It is {option}."}],
        }
    )
    found = predictions(task, items((3, [0.0, 0.0, 1.0, 2.0]), (1, [4.0, 3.0])))
    assert found["accuracy"].predicted.tolist() == [3, 0]
    assert [len(row) for row in found["brier"].probabilities] == [4, 2]
    assert METRICS["accuracy"](found["accuracy"]) == 0.5


def test_a_score_is_the_expected_level_on_its_scale_and_the_likeliest_level_for_labels():
    task = make_task(
        {
            **TASK,
            "question": "score",
            "label": {"column": "label", "ids": {"low": 1, "middle": 3, "high": 4.5}},
            "phrasings": [{"name": "p", "claims": {"low": "L.", "middle": "M.", "high": "H."}}],
            "metrics": ["pearson", "mae", "accuracy"],
        }
    )
    found = predictions(task, items((3.0, [0.0, 1.0, 0.0]), (4.5, [0.0, 0.0, 3.0])))
    assert set(found) == {"pearson", "mae", "accuracy"}
    levels = np.array([1, 3, 4.5])
    expected = []
    for margins in ([0.0, 1.0, 0.0], [0.0, 0.0, 3.0]):
        odds = np.exp(margins)
        expected.append(float(levels @ (odds / odds.sum())))
    assert found["mae"].predicted == pytest.approx(expected)
    assert found["pearson"] is found["mae"]
    assert found["accuracy"].predicted.tolist() == [3.0, 4.5]
    assert METRICS["mae"](found["mae"]) == pytest.approx(
        (abs(expected[0] - 3) + abs(expected[1] - 4.5)) / 2
    )
