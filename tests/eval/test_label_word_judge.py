import numpy as np
import pytest
import torch

from freelm.data.label_word_form import label_word_form, plain_form
from freelm.data.packing import build_tree
from freelm.errors import InputError
from freelm.eval.items import judge_items, labelled_examples, predictions
from freelm.eval.label_word_judge import LabelWordJudge, parents
from freelm.eval.measure import report_rows
from freelm.judge.requests import Request
from freelm.tasks import default_registry
from freelm.tasks.label_word_task import label_word_task
from tiny_freelm import tiny_network

REQUESTS = [
    Request(("The film is a delight.",), ("bad", "very good", "very bad")),
    Request(("A cat sleeps.", "The dog is not there."), ("true", "false")),
    Request(("There were 42 houses in the village. " * 3,), ("a", "a house", "a house there")),
]
SHOTS = "The film is long.\nAnswer: bad\n\n"


@pytest.fixture(scope="module")
def network():
    return tiny_network()


def stock_log(network, before, words):
    """Log-likelihood of words after tokens by a stock forward pass over one sequence."""
    ids = [*before, *words]
    with torch.no_grad():
        logits = network.causal(torch.tensor([ids])).logits[0]
    logs = logits.double().log_softmax(-1)
    return float(sum(logs[i - 1, ids[i]] for i in range(len(before), len(ids))))


@pytest.mark.parametrize("make", [label_word_form, plain_form])
@pytest.mark.parametrize("shots", ["", SHOTS])
def test_likelihoods_are_those_of_the_stock_model(network, make, shots):
    form, shown = make(network.form), network.tokenizer.encode(shots)
    judge = LabelWordJudge(network, form, 100, shown)
    for request, found in zip(REQUESTS, judge.judge_requests(REQUESTS), strict=True):
        before = [*shown, *form.context(request.context).ids]
        expected = [stock_log(network, before, form.claim(c)) for c in request.claims]
        assert found.margins == pytest.approx(expected, abs=1e-4)
        assert not found.truncated


def test_neighbours_and_the_order_of_labels_do_not_matter(network):
    judge = LabelWordJudge(network, label_word_form(network.form), 100)
    together = judge.judge_requests(REQUESTS * 9)
    for number, request in enumerate(REQUESTS):
        turned = Request(request.context, request.claims[::-1])
        (alone,) = judge.judge_requests([turned])
        assert alone.margins[::-1] == pytest.approx(together[number].margins, abs=1e-4)


def test_a_task_is_answered_by_the_likeliest_words(network, world):
    task = label_word_task(default_registry().get("miniworld_topic"))
    rows = report_rows(task, world)
    examples = labelled_examples(rows, task.phrasings[0], None)
    form = label_word_form(network.form)
    items = judge_items(LabelWordJudge(network, form, 100), examples)
    answered = predictions(task, items)["accuracy"]
    for place, example in enumerate(examples):
        before = form.context(example.context).ids
        logs = np.array([stock_log(network, before, form.claim(c)) for c in example.claims])
        assert answered.predicted[place] == logs.argmax()
        shares = np.exp(logs) / np.exp(logs).sum()
        assert answered.probabilities[place] == pytest.approx(shares, abs=1e-4)


def test_a_long_text_is_cut_and_long_words_are_refused(network):
    judge = LabelWordJudge(network, label_word_form(network.form), 10)
    (found,) = judge.judge_requests(REQUESTS[2:])
    assert found.truncated
    with pytest.raises(InputError, match="leave no room for a text"):
        judge.judge_requests([Request(("A cat.",), ("house " * 600, "dog"))])


def test_demonstrations_that_fill_the_window_are_refused(network):
    with pytest.raises(InputError, match="fill the model's window of 512"):
        LabelWordJudge(network, plain_form(network.form), 10, [5] * 510)


def test_parents_are_the_tokens_before_on_the_same_path():
    tree = build_tree([7, 8], [[1, 2], [1, 3, 4], [5]])
    assert tree.ids == (7, 8, 1, 2, 3, 4, 5)
    assert parents(tree) == [-1, 0, 1, 2, 2, 4, 1]
