import json

import numpy as np
import pytest
from scipy.stats import binom

from freelm.errors import DataError
from freelm.eval.items import Item
from freelm.eval.metrics import Predictions
from freelm.eval.paired import (
    Comparison,
    compare_folders,
    compare_predictions,
    mcnemar,
    paired_bootstrap,
)
from freelm.tasks import default_registry

TOPIC = default_registry().get("miniworld_topic")
KEY = {"model": "m", "prompt": None, "task": "miniworld_topic", "version": TOPIC.version}
KEY |= {"split": "test", "phrasing": TOPIC.phrasings[0].name}


def items_of(answers, targets, digest="d"):
    """Items of a four-way task that answer as told."""
    return [
        Item(f"miniworld_topic/test/{i}", float(t), [float(j == a) for j in range(4)], digest)
        for i, (a, t) in enumerate(zip(answers, targets, strict=True))
    ]


def write_items(folder, items, name="a", **changes):
    (folder / "items").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": KEY | changes})]
    lines += [
        json.dumps({"id": i.id, "target": i.target, "margins": i.margins, "digest": i.digest})
        for i in items
    ]
    (folder / "items" / f"{name}.jsonl").write_text("\n".join([*lines, ""]))
    return folder


# -- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_ours", "only_theirs"), [(0, 0), (5, 0), (3, 9), (20, 20), (1, 7)])
def test_mcnemar_is_the_exact_binomial_test_of_the_items_that_differ(only_ours, only_theirs):
    ours = [True] * only_ours + [False] * only_theirs + [True] * 13 + [False] * 4
    theirs = [False] * only_ours + [True] * only_theirs + [True] * 13 + [False] * 4
    n, k = only_ours + only_theirs, min(only_ours, only_theirs)
    expected = min(1.0, 2 * binom.cdf(k, n, 0.5)) if n else 1.0
    assert mcnemar(np.array(ours), np.array(theirs)) == pytest.approx(expected)
    assert mcnemar(np.array(theirs), np.array(ours)) == pytest.approx(expected)


def test_equal_models_are_found_different_as_seldom_as_stated():
    rng = np.random.default_rng(0)
    found = sum(mcnemar(rng.random(80) < 0.7, rng.random(80) < 0.7) < 0.05 for _ in range(400))
    assert found / 400 <= 0.05 + 0.02


def test_the_paired_interval_is_narrower_than_two_separate_ones_on_like_answers():
    rng = np.random.default_rng(1)
    targets = np.zeros(400)
    theirs = (rng.random(400) < 0.3).astype(float)
    ours = theirs.copy()
    ours[np.flatnonzero(theirs)[:20]] = 0.0  # 20 of 400 more are right: 5 points
    low, high = paired_bootstrap(
        Predictions(targets, ours), Predictions(targets, theirs), "accuracy"
    )
    assert 0 < low < 0.05 < high
    assert high - low < 0.05


def test_the_bootstrap_refuses_other_items():
    one, other = Predictions(np.zeros(3), np.zeros(3)), Predictions(np.ones(3), np.zeros(3))
    with pytest.raises(DataError, match="same items"):
        paired_bootstrap(one, other, "accuracy")


def test_a_model_against_itself_differs_by_nothing():
    items = items_of([0, 1, 2, 3, 0], [0, 1, 1, 3, 2])
    for comparison in compare_predictions(TOPIC, "test", items, items):
        assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
        assert not comparison.is_significant
        assert "no significant difference" in comparison.sentence


def test_a_much_better_model_is_found_better_and_a_lower_error_is_better():
    targets = [i % 4 for i in range(60)]
    good, bad = items_of(targets, targets), items_of([0] * 60, targets)
    found = {c.metric: c for c in compare_predictions(TOPIC, "test", good, bad)}
    assert found["accuracy"].p_mcnemar < 1e-6
    assert "significantly better" in found["accuracy"].sentence
    assert found["brier"].difference < 0
    assert "significantly better" in found["brier"].sentence
    back = {c.metric: c for c in compare_predictions(TOPIC, "test", bad, good)}
    assert "significantly worse" in back["accuracy"].sentence
    assert found["macro_f1"].p_mcnemar is None


# -- folders ---------------------------------------------------------------------------------------


def test_folders_are_compared_on_the_rows_that_both_answered(tmp_path):
    targets = [i % 4 for i in range(20)]
    ours = write_items(tmp_path / "ours", items_of(targets, targets))
    theirs = write_items(tmp_path / "theirs", items_of([0] * 12, targets[:12]), model="other")
    found = compare_folders(ours, theirs)
    assert {c.n for c in found} == {12}
    assert {c.against for c in found} == {str(theirs)}
    assert (found[0].ours, found[0].theirs) == (1.0, 3 / 12)


def test_answers_to_other_texts_under_one_name_are_not_compared(tmp_path):
    ours = write_items(tmp_path / "ours", items_of([0], [0]))
    theirs = write_items(tmp_path / "theirs", items_of([0], [0], digest="other"))
    said = []
    with pytest.raises(DataError, match="holds no answers to the rows"):
        compare_folders(ours, theirs, say=said.append)
    assert "judged different texts or claims" in said[0]


@pytest.mark.parametrize(
    "changes", [{"split": "train"}, {"variant": "opposites"}, {"model": "older"}]
)
def test_what_is_no_figure_of_ours_is_passed_over(tmp_path, changes):
    ours = write_items(tmp_path / "ours", items_of([0], [0]))
    write_items(tmp_path / "ours", items_of([0], [0]), "b", **changes)
    theirs = write_items(tmp_path / "theirs", items_of([0], [0]))
    write_items(tmp_path / "theirs", items_of([0], [0]), "b", **{**changes, "model": "x"})
    found = compare_folders(ours, theirs, model="m")
    assert len(found) == len({c.metric for c in found})


def test_changed_rows_are_named_by_their_change(tmp_path):
    for name in ("ours", "theirs"):
        write_items(tmp_path / name, items_of([0], [0]), variant="lower-case")
        write_items(tmp_path / name, items_of([0], [0]), "b", phrasing="decision")
    found = compare_folders(tmp_path / "ours", tmp_path / "theirs")
    assert {c.variant for c in found} == {"lower-case", "phrasing decision"}


def test_a_folder_without_answers_is_named(tmp_path):
    write_items(tmp_path / "ours", items_of([0], [0]))
    with pytest.raises(DataError, match="nowhere: holds no answers"):
        compare_folders(tmp_path / "ours", tmp_path / "nowhere")


def test_as_json():
    one = Comparison("t", "test", "accuracy", 0.5, 0.4, 0.1, 0.02, 0.2, 0.01, 9)
    assert json.loads(one.as_json())["significant"] is True
