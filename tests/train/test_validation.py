import numpy as np
import pytest

from freelm.model.calibration import NO_CHANGE, fit_temperature
from freelm.tasks import Example
from freelm.train import validation as module
from freelm.train.build import build_network
from freelm.train.validation import Validation, validate
from tiny_runs import make_config


@pytest.fixture(scope="module")
def network():
    return build_network(make_config().model, ["some words to begin with"] * 9, 0)[0]


def example(truths, number=0):
    labels = tuple(f"label {i}" for i in range(len(truths)))
    target = truths.index(max(truths))
    return Example(f"t/{number}", ("some words",), labels, labels, (), tuple(truths), target)


@pytest.fixture
def judged(monkeypatch):
    """`judged({...})`: margins of the tasks to come, in order."""

    def plan(margins):
        left = list(margins)

        def judge(network, trees, max_tokens, precision):
            assert not network.training
            assert [len(tree.leaves) for tree in trees] == [len(m) for m in left[0]]
            return [np.array(m) for m in left.pop(0)]

        monkeypatch.setattr(module, "judge_trees", judge)

    return plan


def test_accuracy_is_the_share_of_rows_whose_truest_claim_is_on_top(network, judged):
    judged([[[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], [[0.0, 0.1, 0.0, 0.0]]])
    examples = {
        "one": [example((0, 1)), example((1, 0)), example((0, 1))],
        "graded": [example((0, 0.6, 0.4, 0))],
    }
    found = validate(network, examples, [], 32, 256, "fp32")
    assert found.accuracy == {"one": pytest.approx(2 / 3), "graded": 1.0}
    assert found.mean_accuracy == pytest.approx(5 / 6)
    assert network.training


def test_every_claim_counts_in_the_temperature_as_in_the_loss(network, judged):
    judged([[[1.0, 2.0, -3.0]], [[0.25, 0.5]]])
    examples = {"one": [example((0, 1, 0))], "other": [example((0.25, 0.75))]}
    found = validate(network, examples, [], 32, 256, "fp32")
    margins, truths = [1.0, 2.0, -3.0, 0.25, 0.5], [0, 1, 0, 0.25, 0.75]
    weights = [0.25, 0.5, 0.25, 0.5, 0.5]
    assert found.temperature() == fit_temperature(margins, truths, weights)


def test_temperature_of_overconfident_verdicts_is_above_one(network, judged):
    margins = [[6.0, -6.0]] * 3 + [[-6.0, 6.0]]
    judged([margins])
    found = validate(network, {"one": [example((1, 0), i) for i in range(4)]}, [], 32, 256, "fp32")
    # Three of four are right: P(true) = 3/4 at margin 6 / T.
    assert found.temperature() == pytest.approx(6 / np.log(3), rel=1e-3)


def test_options_have_a_temperature_on_top_of_the_verdicts(network, judged):
    # The options of "one" are right three times in four, at three times the verdicts' margin.
    judged([[[9.0, -9.0]] * 3 + [[-9.0, 9.0]], [[2.0, 2.0]]])
    examples = {
        "one": [example((1, 0), i) for i in range(4)],
        "predicate": [example((0, 1))],
    }
    found = validate(network, examples, ["one"], 32, 256, "fp32")
    # softmax(9 / T / C, -9 / T / C) = 3/4, 1/4
    together = found.temperature() * found.choice_temperature().two
    assert together == pytest.approx(18 / np.log(3), rel=1e-3)


def test_every_task_counts_the_same_in_the_temperature_of_choices(network, judged):
    few, many = [[1.0, -1.0]] * 4, [[1.0, -1.0]] * 8
    truths = [(1, 0), (1, 0), (1, 0), (0, 1)]
    judged([few, many])
    examples = {
        "few": [example(t, i) for i, t in enumerate(truths)],
        "many": [example(t, i) for i, t in enumerate([(1, 0)] * 7 + [(0, 1)])],
    }
    found = validate(network, examples, ["few", "many"], 32, 256, "fp32")
    share = (3 / 4 + 7 / 8) / 2
    together = found.temperature() * found.choice_temperature().two
    assert together == pytest.approx(2 / np.log(share / (1 - share)), rel=1e-3)


def test_a_run_without_choices_has_no_temperature_of_its_own_for_them(network, judged):
    judged([[[1.0, 2.0]]])
    assert (
        validate(network, {"x": [example((0, 1))]}, [], 32, 256, "fp32").choice_temperature()
        == NO_CHANGE
    )


def test_tasks_without_rows_are_left_out(network, judged):
    judged([[[1.0, 2.0]]])
    found = validate(network, {"none": [], "one": [example((0, 1))]}, [], 32, 256, "fp32")
    assert found.accuracy == {"one": 1.0}


def test_long_contexts_are_cut_as_in_training(network, monkeypatch):
    seen = []

    def judge(network, trees, max_tokens, precision):
        seen.extend(len(tree.ids) for tree in trees)
        return [np.zeros(2) for _ in trees]

    monkeypatch.setattr(module, "judge_trees", judge)
    long = Example("t/0", ("word " * 500,), ("a", "b"), ("a", "b"), (), (1.0, 0.0), 0)
    validate(network, {"one": [long]}, [], 32, 256, "fp32")
    assert 32 < seen[0] < 48


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_real_network_is_judged(network, precision):
    listed = [example((0, 1, 0), i) for i in range(5)]
    found = validate(network, {"one": listed}, [], 32, 64, precision)
    margins = np.concatenate([row for _, _, row in found.rows()])
    assert margins.shape == (15,)
    assert np.isfinite(margins).all()


def test_a_split_numbers_the_rows_through_all_tasks():
    examples = {"one": [example((0, 1), i) for i in range(3)], "other": [example((1, 0), 3)]}
    margins = {"one": [np.array([i, 0.0]) for i in range(3)], "other": [np.array([3.0, 0.0])]}
    part, rest = Validation(examples, margins, ["one"]).split(1, 2)
    assert [(task, e.id, m[0]) for task, e, m in part.rows()] == [
        ("one", "t/1", 1.0),
        ("other", "t/3", 3.0),
    ]
    assert [e.id for _, e, _ in rest.rows()] == ["t/0", "t/2"]
    assert rest.examples["other"] == []
    assert rest.competing == ["one"]
